"""`python -m training train | publish | evaluate | doctor`: the workshop's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import tomli_w
import torch

from training.config import ConfigError, RunConfig, read_config
from training.data.datasets import DataError, DataSplits, load_splits
from training.loops.gan_loop import train_gan
from training.loops.provenance import RunProvenance
from training.loops.run_folder import RunFolder
from training.loops.vae_loop import train_vae


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 1 with the reason on standard error."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        status: int = options.run(options)
    except (ConfigError, DataError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; `--resume` goes on from the last checkpoint", file=sys.stderr)
        return 130
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train an experiment into a run folder", description=_train.__doc__)
    train.set_defaults(run=_train)
    _add_experiment_options(train)
    train.add_argument(
        "--dry-run", action="store_true", help="show the configuration, the data and the model's size; train nothing"
    )
    train.add_argument("--resume", action="store_true", help="go on from the run folder's last checkpoint")
    train.add_argument("--no-progress", dest="progress", action="store_false", help="no progress bar")
    return parser


def _add_experiment_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", type=Path, help="a TOML file, such as training/experiments/mnist_vae.toml")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="section.key=value",
        help="override one value; may be repeated",
    )
    parser.add_argument(
        "--runs-dir", type=Path, default=Path("runs"), help="where run folders are kept (default: runs)"
    )
    parser.add_argument(
        "--data-dir", type=Path, help="where data sets are kept (default: $LATENTSERVE_DATA_DIR, or data)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: PyTorch's choice)")


def _train(options: argparse.Namespace) -> int:
    """Train an experiment. The run folder is <runs-dir>/<name>; an interrupted run goes on with --resume."""
    config = read_config(options.experiment, options.overrides)
    run = RunFolder(options.runs_dir / config.name)
    if not options.dry_run:
        _claim(run, config, resume=options.resume)
    print(tomli_w.dumps(config.as_toml_document()))
    data = load_splits(config.data, options.data_dir)
    _describe(data)
    if options.dry_run:
        return 0
    device = _device(options.device)
    if not options.resume:
        RunProvenance.of(options.experiment, data, device).save(run.provenance_file)
    loop = train_vae if config.model.family == "vae" else train_gan
    loop(config, data, run, device=device, resume=options.resume, progress=options.progress)
    print(f"trained: {run.path}")
    return 0


def _claim(run: RunFolder, config: RunConfig, *, resume: bool) -> None:
    """Refuse to train over a run that exists, or to resume one that does not or was configured otherwise."""
    if resume:
        if not run.checkpoint.exists():
            raise ConfigError(f"nothing to resume: {run.path} has no checkpoint")
        if read_config(run.config_file) != config:
            raise ConfigError(f"{run.config_file} differs from this experiment; resume with the configuration it has")
    elif run.checkpoint.exists():
        raise ConfigError(f"{run.path} holds a run already: --resume it, or choose another --runs-dir or --set name=…")
    else:
        run.create(config)


def _describe(data: DataSplits) -> None:
    counts = f"{len(data.train)} train, {len(data.validation)} validation, {len(data.test)} test images"
    print(f"data: {data.name}, {counts}, sha256 {data.sha256[:12]}")
    for reason in data.skipped[:10]:
        print(f"skipped: {reason}")
    if data.skipped:
        print(f"skipped in all: {len(data.skipped)} unreadable files")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


if __name__ == "__main__":
    sys.exit(main())
