"""Trains one cell of a table and measures it: `python -m benchmarks.trainers.gan_cell CELL …`.

Of `benchmarks.references`, for so many seconds; of `benchmarks.precision`, for so many steps.

In a process of its own, on one thread. Both sides are drawn from the same latents and measured by the same code; what
is read, built, drawn and measured does not count as training.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from app.images.pixels import to_bytes
from app.latent.noise import standard_normal
from benchmarks.harness.cells import PRECISIONS, REFERENCE, Cell, CellResult
from benchmarks.harness.models import ROOT
from benchmarks.trainers.our_gan import train_ours
from benchmarks.trainers.plain_gan import BATCH_SIZE, train_reference
from benchmarks.trainers.timed import Trained
from training.config import RunConfig, read_config
from training.data.datasets import DataSplits, data_folder, load_splits
from training.evaluation.frechet import Moments, frechet_distance
from training.evaluation.judge import Features, Judge, Pictures, find_judge
from training.evaluation.kernel_distance import kernel_distance
from training.evaluation.modes import Modes
from training.evaluation.published import Labels, subset
from training.gan.generator import Generator
from training.loops.gan_training import PIXELS
from training.loops.run_folder import RunFolder

FITTED = {
    "dcgan": [
        *("model.spectral_norm=true", "model.discriminator_batch_norm=false"),
        *("optimiser.learning_rate=8e-4", "optimiser.betas=[0.0,0.9]"),
    ],
    "lsgan": ["optimiser.learning_rate=8e-4"],
    "wgan_gp": ["optimiser.learning_rate=1e-3", "optimiser.betas=[0.5,0.9]"],
    "acgan": ["optimiser.learning_rate=8e-4"],
}
"""What differs from our experiment files, which are for three to four times as many steps as three minutes have.

`mnist_dcgan` keeps to its paper's batch norm; here its discriminator has what our other GANs have.
"""
SHOWN = 100
"""Samples on the sheet that is kept beside the result."""


def main() -> None:
    """Train, measure, and write the result and a sheet of samples."""
    options = _options()
    torch.set_num_threads(1)
    recipe, data_set, seed, side = options.cell.split(":")
    cell = Cell(recipe, data_set, int(seed), side)
    config = cell_config(cell)
    data = load_splits(config.data, options.data_dir)
    trained = train_cell(cell, config, data, Budget(options.seconds or 0.0, options.steps))
    judge = find_judge(config.data, data, data_folder(options.data_dir))
    result, pictures = measured(cell, trained, data, judge, options.samples)
    RunFolder(options.runs_dir).save_grid(Path(cell.file).stem, pictures[:SHOWN])
    result.save(options.runs_dir / cell.file)


class Budget(NamedTuple):
    """How long a cell is trained: so many seconds, or else so many steps."""

    seconds: float
    steps: int | None


def train_cell(cell: Cell, config: RunConfig, data: DataSplits, budget: Budget) -> Trained:
    """Train a cell by its side's loop. The references know seconds only."""
    if budget.steps:
        return train_ours(config, data, steps=budget.steps)
    if cell.side == REFERENCE:
        return train_reference(cell.recipe, config, data, budget.seconds)
    return train_ours(config, data, seconds=budget.seconds)


def measured(cell: Cell, trained: Trained, data: DataSplits, judge: Judge, samples: int) -> tuple[CellResult, Pictures]:
    """What a cell's samples are like, and the samples."""
    like, test = subset(data.train, samples), judge.look_at(subset(data.test, samples).pictures)
    labels = like.labels if trained.generator.classes else None
    pictures = draw(trained.generator, len(like), labels)
    seen = judge.look_at(pictures)
    near = kernel_distance(seen.features, test.features)
    by_batch = None
    if cell.side == REFERENCE:
        again = draw(trained.generator, len(like), labels, batch_statistics=True)
        by_batch = distance(judge.look_at(again).features, test.features)
    shares = Modes.of(seen.classes, len(judge.card.classes)).shares
    result = CellResult(
        frechet_distance=distance(seen.features, test.features),
        floor=distance(judge.look_at(like.pictures).features, test.features),
        kernel_distance=near.mean,
        kernel_distance_error=near.standard_error,
        batch_frechet_distance=by_batch,
        class_shares=tuple(np.round(shares, 4).tolist()),
        label_agreement=None if labels is None else float(np.mean(seen.classes == labels)),
        samples=len(pictures),
        judge=judge.code,
        images=trained.images,
        steps=trained.steps,
        cpu_s=trained.cpu_s,
        wall_s=trained.wall_s,
        parameters=_parameters(trained),
        torch=torch.__version__,
    )
    return result, pictures


def cell_config(cell: Cell) -> RunConfig:
    """Our recipe on the cell's pictures, with its seed and its precision, fitted to the short run."""
    experiment = ROOT / "training" / "experiments" / f"mnist_{cell.recipe}.toml"
    changes = [*FITTED.get(cell.recipe, []), f"data.set={cell.data}", f"seed={cell.seed}"]
    precision = [f"optimiser.precision={cell.side}"] if cell.side in PRECISIONS else []
    return read_config(experiment, [*changes, *precision])


@torch.no_grad()
def draw(generator: Generator, count: int, labels: Labels | None, *, batch_statistics: bool = False) -> Pictures:
    """The pictures of the latents that the service has for seed 0, of these classes where the generator is told any.

    With `batch_statistics` batch norms take the statistics of each batch of samples, as while training.
    """
    net = copy.deepcopy(generator).train(batch_statistics)
    latents = torch.from_numpy(standard_normal(0, range(count), net.latent_size))
    told = None if labels is None else torch.from_numpy(labels)
    parts = torch.arange(count).split(BATCH_SIZE)
    images = [net(latents[part], None if told is None else told[part]).float().numpy() for part in parts]
    return to_bytes(np.concatenate(images), PIXELS)


def distance(features: Features, real: Features) -> float:
    """The Fréchet distance between features."""
    return frechet_distance(Moments.of(features), Moments.of(real))


def _parameters(trained: Trained) -> dict[str, int]:
    nets: dict[str, nn.Module] = {"generator": trained.generator, "discriminator": trained.discriminator}
    return {name: sum(weights.numel() for weights in net.parameters()) for name, net in nets.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trainers.gan_cell", description=__doc__)
    parser.add_argument("cell", help="such as dcgan:mnist:1:ours")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--seconds", type=float, help="of training")
    budget.add_argument("--steps", type=int, help="of training; not of a reference")
    parser.add_argument("--samples", type=int, required=True, help="that are measured")
    parser.add_argument("--runs-dir", type=Path, required=True, help="where the result is kept")
    parser.add_argument("--data-dir", type=Path, help="where data sets are kept")
    return parser.parse_args()


if __name__ == "__main__":
    main()
