"""Every adversarial recipe in one table: `python -m benchmarks.zoo`, with `--train` what is missing is trained.

A row is measured from a run that its experiment file describes and from nothing else: a folder that was trained by
another configuration, or not to its end, is said to be missing. What was measured is kept beside the run and not
measured again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Self

from pydantic import BaseModel, ConfigDict

from app.manifest import Manifest, Metric
from benchmarks.harness.report import circumstances, publish, table
from training.__main__ import main as train
from training.config import ConfigError, DataConfig, ExportConfig, RunConfig, read_config
from training.data.datasets import load_splits
from training.evaluation.judge import COMMITTED, Judge
from training.evaluation.modes import STACKED_SAMPLES, stacked_modes
from training.evaluation.published import PublishedGraphs, measure, subset
from training.evaluation.quality import Jury, Samples
from training.export.publish import export_graphs
from training.export.trained import TrainedRun
from training.gan_sections import GanConfig
from training.loops.run_folder import RunFolder
from training.loops.schedule import Plan
from training.measuring import known_jury

EXPERIMENTS = Path(__file__).parents[1] / "training" / "experiments"
MEMBERS = (
    *("dense_gan", "dcgan", "lsgan", "wgan", "wgan_gp", "bgan", "relativistic_gan", "gan"),
    *("cgan", "acgan", "infogan", "sgan_100", "cogan", "bigan", "aae"),
)
STACKED = "stacked_mnist_gan"
DIGITS = COMMITTED / "mnist.json"
ROW = "zoo.json"
EVEN = (0.05, 0.15)
"""The share that each of ten classes may have where they count as evenly covered."""
CLOSENESS = ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage")
COLUMNS = (
    *("", "game", "besides", "FD", "10⁻³ KID", "precision", "recall", "density", "coverage"),
    *("classes", "minutes", "parameters"),
)
BESIDES = {
    "label_agreement": "{:.1%} as asked for",
    "classifier_error": "{:.2%} test error",
    "discovery_error": "{:.1%} of digits not with their own",
    "coupling": "{:.3f} coupled",
    "reconstruction_mse": "reconstructs to {:.4f}",
}
"""What only some members can do."""


class Row(BaseModel):
    """What was measured of one finished run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str
    """Of the configuration that the run had: `recipe_sha256`."""
    commit: str
    steps: int
    minutes: float
    """Of training, at the run's median speed: a run that was held up meanwhile has not become longer."""
    parameters: int
    metrics: dict[str, Metric]
    floor: dict[str, Metric]
    """What as many training images get."""

    @classmethod
    def read(cls, file: Path, recipe: str) -> Self | None:
        """The row that was kept; None where there is none of this recipe."""
        row = cls.model_validate_json(file.read_bytes()) if file.exists() else None
        return row if row and row.recipe == recipe else None


def main() -> int:
    """Train where that is asked for, measure what is there, print."""
    options = _options()
    members = [read_config(experiment) for experiment in options.experiments]
    rows: dict[str, Row] = {}
    missing: dict[str, str] = {}
    for experiment, config in zip(options.experiments, members, strict=True):
        run = RunFolder(options.runs_dir / config.name)
        if options.train and reason_missing(config, run) and _train(options, experiment, run):
            return 1
        if reason := reason_missing(config, run):
            missing[config.name] = reason
        else:
            rows[config.name] = _row(config, run, options.data_dir)
            print(f"{config.name}: measured", file=sys.stderr, flush=True)
    publish("zoo", report(members, rows, missing), options.markdown)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo", description=__doc__)
    zoo = [EXPERIMENTS / f"{name}.toml" for name in (*(f"mnist_{member}" for member in MEMBERS), STACKED)]
    parser.add_argument("experiments", type=Path, nargs="*", default=zoo, help="their files (default: the whole zoo)")
    parser.add_argument("--train", action="store_true", help="train what is missing; an interrupted run goes on")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs/zoo"), help="(default: runs/zoo)")
    parser.add_argument("--data-dir", type=Path, help="where data sets are kept")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a training (default: 1)")
    parser.add_argument("--markdown", type=Path, help="put the table into this page as well")
    return parser.parse_args()


def reason_missing(config: RunConfig, run: RunFolder) -> str:
    """Why there is no row of a run; empty where it is what the experiment describes, and finished."""
    if not run.checkpoint.exists():
        return "not trained"
    if recipe_sha256(read_config(run.config_file)) != recipe_sha256(config):
        return "trained by another configuration"
    trained = TrainedRun.load(run.path)
    return "" if trained.steps == trained.planned_steps else f"step {trained.steps:,} of {trained.planned_steps:,}"


def recipe_sha256(config: RunConfig) -> str:
    """Of all that a run's weights depend on: its words and what is measured of it may change."""
    parts = config.model_dump(mode="json", include={"seed", "data", "model", "optimiser"})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _train(options: argparse.Namespace, experiment: Path, run: RunFolder) -> int:
    where = ["--runs-dir", str(options.runs_dir), "--threads", str(options.threads), "--device", "cpu", "--no-progress"]
    if options.data_dir:
        where += ["--data-dir", str(options.data_dir)]
    return train(["train", str(experiment), *where, *(["--resume"] if run.checkpoint.exists() else [])])


def _row(config: RunConfig, run: RunFolder, data_dir: Path | None) -> Row:
    """What was kept of a run, or is measured now and kept."""
    kept, recipe = run.path / ROW, recipe_sha256(config)
    if not (row := Row.read(kept, recipe)):
        row = _measured(TrainedRun.load(run.path), run, recipe, data_dir)
        kept.write_text(row.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return row


def _measured(trained: TrainedRun, run: RunFolder, recipe: str, data_dir: Path | None) -> Row:
    config = trained.config.model_copy(update={"export": ExportConfig(gradients=False)})
    with tempfile.TemporaryDirectory() as folder:
        manifest, graphs = export_graphs(replace(trained, config=config), Path(folder))
        metrics, floor = _judged(config, manifest, graphs, data_dir)
    return Row(
        recipe=recipe,
        commit=trained.provenance.commit,
        steps=trained.steps,
        minutes=training_minutes(trained, (run.path / "journal.jsonl").read_text(encoding="utf-8")),
        parameters=sum(parameter.numel() for parameter in trained.model.parameters()),
        metrics=metrics,
        floor=floor,
    )


def _judged(
    config: RunConfig, manifest: Manifest, graphs: PublishedGraphs, data_dir: Path | None
) -> tuple[dict[str, Metric], dict[str, Metric]]:
    """What there is to say of a version's samples and other answers, and what training images get."""
    if config.data.set == "stacked_mnist":
        train = subset(load_splits(config.data, data_dir).train, STACKED_SAMPLES)
        return stacked_modes(Judge.open(DIGITS), Samples.of(graphs, manifest, train).pictures, train), {}
    jury = _jury(config.data.model_copy(update={"labelled_images": None}), data_dir)
    judged = jury.quality(Samples.of(graphs, manifest, jury.train))
    return measure(graphs, config, jury.data) | judged, jury.floor


@cache
def _jury(data: DataConfig, data_dir: Path | None) -> Jury:
    """Who judges samples of these pictures: the same for all rows of one data set."""
    if jury := known_jury(data, data_dir):
        return jury
    raise ConfigError(f"{data.set}: there is no judge of these pictures")


def training_minutes(trained: TrainedRun, journal: str) -> float:
    """How long all steps take at the median of the speeds that the journal has; the clock's time where it has none."""
    speeds = [line["images_per_s"] for line in map(json.loads, journal.splitlines()) if "images_per_s" in line]
    images = trained.steps * Plan.of(trained.config, trained.provenance.train_images).batch_size
    return (images / median(speeds) if speeds else trained.train_seconds) / 60


def report(members: list[RunConfig], rows: dict[str, Row], missing: dict[str, str]) -> str:
    """The table, what it is of, and who is not in it."""
    shown = [config for config in members if config.name in rows and rows[config.name].floor]
    parts = [circumstances("torch", "onnxruntime")]
    if shown:
        first = rows[shown[0].name]
        cells = [["*training images*", "", "", *closeness(first.floor), "", "", ""]]
        cells += [cells_of(config, rows[config.name]) for config in shown]
        parts += [_protocol(first), table(COLUMNS, cells, texts=3), _evenness({c.name: rows[c.name] for c in shown})]
    parts += [modes_in_words(name, row) for name, row in rows.items() if "covered_modes" in row.metrics]
    if missing:
        told = ", ".join(f"`{name}` ({reason})" for name, reason in missing.items())
        parts.append(f"Not in the table: {told}.")
    return "\n\n".join(parts)


def cells_of(config: RunConfig, row: Row) -> list[str]:
    """One member's cells."""
    smallest, largest = (row.metrics[f"{which}_class"].value for which in ("smallest", "largest"))
    size = f"{row.parameters / 1e6:.2f} M"
    return [
        f"`{config.name}`",
        game_in_words(config),
        besides(config, row),
        *closeness(row.metrics),
        f"{100 * smallest:.1f} … {100 * largest:.1f} %",
        f"{row.minutes:.1f}",
        size,
    ]


def closeness(metrics: dict[str, Metric]) -> list[str]:
    """The measures of samples, rounded for a table."""
    distance, kernel, *shares = (metrics[name].value for name in CLOSENESS)
    return [f"{distance:.3g}", f"{kernel:.3g}", *(f"{share:.2f}" for share in shares)]


def game_in_words(config: RunConfig) -> str:
    """Objective, and what keeps the discriminator smooth."""
    model = config.model
    if not isinstance(model, GanConfig):
        raise TypeError(f"{config.name} is no GAN")
    penalty, objective = model.penalty, model.objective
    kind = "feature matching" if objective.feature_matching else objective.kind.replace("_", " ")
    smooth = {
        "spectral norm": model.spectral_norm,
        "R1": penalty.r1,
        "R2": penalty.r2,
        "gradient penalty": penalty.wgan_gp,
        "DRAGAN": penalty.dragan,
        "clipping": penalty.clip_weights,
    }
    return ", ".join([kind, *(name for name, there in smooth.items() if there)])


def besides(config: RunConfig, row: Row) -> str:
    """What only this kind of member can do."""
    found = [words.format(row.metrics[name].value) for name, words in BESIDES.items() if name in row.metrics]
    if config.data.labelled_images:
        found.append(f"{config.data.labelled_images} labels")
    if config.data.second_domain != "none":
        found.append(f"floor {row.floor['frechet_distance'].value:.3g}")
    return ", ".join(found)


def _protocol(row: Row) -> str:
    distance = row.metrics["frechet_distance"]
    told = distance.protocol.rsplit(";", 1)[0]
    return (
        f"FD is {distance.unit}, KID of the same judge; {told}. Classes: the smallest and the largest share of the "
        "samples in a class. Minutes of training are on one thread."
    )


def modes_in_words(name: str, row: Row) -> str:
    """How many of the classes of stacked MNIST a run covers, and what as many training images do."""
    covered, divergence = row.metrics["covered_modes"], row.metrics["mode_divergence_nats"]
    return (
        f"`{name}` ({row.minutes:.1f} minutes) covers {covered.value:,.0f} {covered.unit} classes, at "
        f"{divergence.value:.3f} {divergence.unit}: {divergence.protocol} nats, which cover "
        f"{covered.protocol.rsplit(': ', 1)[1]}."
    )


def _evenness(rows: dict[str, Row]) -> str:
    low, high = EVEN
    odd = [
        name
        for name, row in rows.items()
        if row.metrics["smallest_class"].value < low or row.metrics["largest_class"].value > high
    ]
    told = f"all but {', '.join(f'`{name}`' for name in odd)}" if odd else "all"
    return f"Every class has {low:.0%} to {high:.0%} of the samples: {told}."


if __name__ == "__main__":
    sys.exit(main())
