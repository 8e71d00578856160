"""How noisy each estimator of the encoder's gradient is: `python -m benchmarks.gradients`.

A small VAE of scikit-learn's digits is trained for a few hundred steps with the reparameterised gradient. Then, at
those very weights and for the same batch, each estimator is drawn many times with fresh noise, and the variance of the
encoder's gradient is summed over its weights. All estimators of one bound agree in expectation, which the cosine
between their means shows; how many draws it takes to get there is what the variance says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness.options import parser
from benchmarks.harness.report import circumstances, publish, table
from training.config import DataConfig, VaeConfig
from training.data.datasets import load_splits
from training.loops.vae_pictures import observed
from training.vae.model import VariationalAutoencoder
from training.vae.objective import (
    Signal,
    doubly_reparameterised_signal,
    importance_weighted_signal,
    score_function_signal,
)

LATENT = 8
BATCH = 64
STEPS = 400
DRAWS = 400
QUICK_DRAWS = 40
SAMPLES = 8

Estimator = Callable[[VariationalAutoencoder, Tensor, Tensor], Signal]


@dataclass(frozen=True)
class Row:
    """One estimator of the gradient of one bound."""

    bound: str
    name: str
    estimate: Estimator
    samples: int


ROWS = (
    Row("ELBO", "reparameterised", importance_weighted_signal, 1),
    Row("ELBO", "reparameterised, without the score (path derivative)", doubly_reparameterised_signal, 1),
    Row("ELBO", "score function, baseline from the batch", score_function_signal, 1),
    Row(f"K = {SAMPLES}", "reparameterised", importance_weighted_signal, SAMPLES),
    Row(f"K = {SAMPLES}", "doubly reparameterised", doubly_reparameterised_signal, SAMPLES),
)


def main() -> int:
    """Measure and print."""
    chosen = parser(__doc__).parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, image = _trained()
    gradients = [_gradients(row, model, image, QUICK_DRAWS if chosen.quick else DRAWS) for row in ROWS]
    publish("gradients", _report(gradients), chosen.markdown)
    return 0


def _trained() -> tuple[VariationalAutoencoder, Tensor]:
    """A VAE on its way, and a batch of binarised digits of 8×8 pixels."""
    data_config = DataConfig(set="digits", size=8)
    pictures = load_splits(data_config).train.pictures
    image = (observed(pictures[:1024], None) > 0.5).float()
    config = VaeConfig(family="vae", nets="dense", hidden=(64,), latent_size=LATENT)
    model = VariationalAutoencoder.from_config(config, data_config)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    for step in range(STEPS):
        batch = image[(step * BATCH) % (len(image) - BATCH) :][:BATCH]
        optimiser.zero_grad()
        importance_weighted_signal(model, batch, torch.randn(BATCH, 1, LATENT)).loss.mean().backward()
        optimiser.step()
    return model, image[:BATCH]


def _gradients(row: Row, model: VariationalAutoencoder, image: Tensor, draws: int) -> np.ndarray:
    """The encoder's gradient, once a draw: (draws, weights)."""
    weights = list(model.encoder.parameters())
    found = []
    for _ in range(draws):
        loss = row.estimate(model, image, torch.randn(len(image), row.samples, LATENT)).loss.mean()
        found.append(torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)]).numpy())
    return np.stack(found).astype(np.float64)


def _report(gradients: list[np.ndarray]) -> str:
    rows = []
    for row, found in zip(ROWS, gradients, strict=True):
        reference = gradients[[other.bound for other in ROWS].index(row.bound)]
        mean, variance = found.mean(axis=0), _variance(found)
        numbers = (variance, variance / _variance(reference), float(mean @ mean) / variance)
        cells = [f"{number:.3g}" for number in numbers]
        rows.append([row.bound, row.name, *cells, f"{_cosine(mean, reference.mean(axis=0)):.3f}"])
    columns = ["bound", "estimator", "variance", "to the reparameterised", "signal / noise", "cosine of the means"]
    return "\n\n".join([circumstances("torch"), table(columns, rows, texts=2)])


def _variance(gradients: np.ndarray) -> float:
    """Summed over the weights: E‖g − E g‖²."""
    return float(gradients.var(axis=0, ddof=1).sum())


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


if __name__ == "__main__":
    sys.exit(main())
