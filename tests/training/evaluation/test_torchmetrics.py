"""Our Fréchet and kernel distances beside those of torchmetrics, of the same features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from training.evaluation.frechet import Moments, frechet_distance
from training.evaluation.kernel_distance import kernel_distance

WIDTH = 16
COUNT = 300


class _Given(nn.Module):
    """Passes features on as they are, where torchmetrics has the Inception network."""

    num_features = WIDTH

    def forward(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
        return features


@pytest.fixture(scope="module")
def both() -> list[Float[np.ndarray, "n f"]]:
    """Features with unlike means, spreads and correlations."""
    draw = np.random.default_rng(0)
    mixing = draw.normal(size=(2, WIDTH, WIDTH)) / WIDTH**0.5
    return [(draw.normal(size=(COUNT, WIDTH)) @ mixing[side] + 0.3 * side).astype(np.float32) for side in (0, 1)]


def test_frechet_distance_is_that_of_torchmetrics(both: list[Float[np.ndarray, "n f"]]) -> None:
    theirs = FrechetInceptionDistance(feature=_Given())
    for features, real in zip(both, (True, False), strict=True):
        theirs.update(torch.from_numpy(features), real=real)
    ours = frechet_distance(*(Moments.of(features) for features in both))
    assert ours == pytest.approx(float(theirs.compute()), rel=1e-4)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all extracted features:UserWarning")
def test_kernel_distance_is_that_of_torchmetrics(both: list[Float[np.ndarray, "n f"]]) -> None:
    theirs = KernelInceptionDistance(feature=_Given(), subsets=1, subset_size=COUNT)
    for features, real in zip(both, (True, False), strict=True):
        theirs.update(torch.from_numpy(features), real=real)
    mean, _ = theirs.compute()
    assert kernel_distance(*both).mean == pytest.approx(float(mean), rel=1e-3)
