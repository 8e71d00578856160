"""The test error after few labels, over several draws of them: `python -m benchmarks.few_labels EXPERIMENT`.

Each seed chooses its own labelled pictures, initial weights and batches, is trained by the experiment file alone, and
is measured through the ONNX graph `image_to_class` on every test picture. A seed that is done is not trained again, and
an interrupted one goes on: give the same command once more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from training.__main__ import main as train
from training.config import RunConfig, read_config
from training.data.datasets import DataSplits, load_splits
from training.evaluation.published import PublishedGraphs
from training.export.publish import export_graphs
from training.export.trained import TrainedRun
from training.loops.run_folder import RunFolder

FIRST_SEED = 1
"""Seed 0 is left to whoever chooses a recipe."""
RESULT = "few_labels.json"


@dataclass(frozen=True)
class SeedResult:
    """One run."""

    seed: int
    test_error_percent: float
    validation_error_percent: float
    train_minutes: float


def main() -> int:
    """Train what is missing, measure and print."""
    options = _options()
    config = read_config(options.experiment, options.overrides)
    results = []
    for seed in range(FIRST_SEED, FIRST_SEED + options.seeds):
        result = _result(options, config, seed)
        if result is None:
            return 1
        print(f"seed {seed}: {result.test_error_percent:.2f} % wrong, {result.train_minutes:.1f} minutes", flush=True)
        results.append(result)
    print(report(config, results))
    return 0


def report(config: RunConfig, results: list[SeedResult]) -> str:
    """The table of the seeds, their mean and spread, and the protocol."""
    errors = [result.test_error_percent for result in results]
    spread = f" ± {stdev(errors):.2f}" if len(errors) > 1 else ""
    lines = ["", "| seed | test error | validation error | training |", "| ---: | ---: | ---: | ---: |"]
    for result in results:
        cells = f"{result.test_error_percent:.2f} % | {result.validation_error_percent:.2f} %"
        lines.append(f"| {result.seed} | {cells} | {result.train_minutes:.1f} min |")
    validation = mean(result.validation_error_percent for result in results)
    lines += [
        f"| mean | **{mean(errors):.2f}{spread} %** | {validation:.2f} % | |",
        "",
        _protocol(config, len(results)),
    ]
    return "\n".join(lines)


def _protocol(config: RunConfig, seeds: int) -> str:
    return (
        f"{config.name}: {config.data.labelled_images} labels of {config.data.set}, as many of each class, drawn anew "
        f"by each seed; {seeds} seeds; every test picture, through ONNX; ± is the standard deviation over the seeds. "
        "The weights are the averaged ones of the last step: within a run, no other label is looked at."
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_labels", description=__doc__)
    parser.add_argument("experiment", type=Path, help="such as training/experiments/mnist_m1_m2_100.toml")
    parser.add_argument("--seeds", type=int, default=5, help="how many draws of labels (default: 5)")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="section.key=value")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/few_labels"), help="(default: runs/few_labels)")
    parser.add_argument("--data-dir", type=Path, help="where data sets are kept")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args()


def _result(options: argparse.Namespace, config: RunConfig, seed: int) -> SeedResult | None:
    """This seed's result, trained and measured if it is not there yet; None where the training failed."""
    run = RunFolder(options.runs_dir / f"{config.name}_seed{seed}")
    kept = run.path / RESULT
    if not kept.exists():
        if _train(options, run, seed):
            return None
        kept.write_text(json.dumps(asdict(_measured(options, run, seed))), encoding="utf-8")
    return SeedResult(**json.loads(kept.read_text(encoding="utf-8")))


def _train(options: argparse.Namespace, run: RunFolder, seed: int) -> int:
    changes = [*options.overrides, f"name={run.path.name}", f"seed={seed}", f"data.label_seed={seed}"]
    where = ["--runs-dir", str(options.runs_dir), "--threads", str(options.threads), "--device", "cpu", "--no-progress"]
    if options.data_dir:
        where += ["--data-dir", str(options.data_dir)]
    resume = ["--resume"] if run.checkpoint.exists() else []
    settings = [part for change in changes for part in ("--set", change)]
    return train(["train", str(options.experiment), *settings, *where, *resume])


def _measured(options: argparse.Namespace, run: RunFolder, seed: int) -> SeedResult:
    trained = TrainedRun.load(run.path)
    data = load_splits(trained.config.data, options.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        _, graphs = export_graphs(trained, Path(folder))
        errors = [_error_percent(graphs, data, split) for split in ("test", "validation")]
    return SeedResult(seed, *errors, train_minutes=trained.train_seconds / 60)


def _error_percent(graphs: PublishedGraphs, data: DataSplits, split: str) -> float:
    images = data.test if split == "test" else data.validation
    return 100 * float(np.mean(graphs.most_likely_class(images.pictures) != images.labels))


if __name__ == "__main__":
    sys.exit(main())
