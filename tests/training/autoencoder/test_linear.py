"""A linear autoencoder finds the space of principal component analysis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA

from tests.training.tiny_runs import TINY_AUTOENCODER
from training.autoencoder.model import Autoencoder
from training.config import RunConfig
from training.data.datasets import DataSplits, load_splits
from training.loops.autoencoder_loop import train_autoencoder
from training.loops.run_folder import RunFolder

SIZE = 4
"""Where the spectrum has a gap: the fifth variance is two thirds of the fourth."""


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return load_splits(RunConfig.model_validate(TINY_AUTOENCODER).data)


@pytest.fixture(scope="module")
def linear(digits: DataSplits, tmp_path_factory: pytest.TempPathFactory) -> Autoencoder:
    """Trained on large batches, so that its minimum is nearly that of the set."""
    document = TINY_AUTOENCODER | {
        "model": {"family": "autoencoder", "nets": "linear", "latent_size": SIZE},
        "optimiser": {"epochs": 700, "batch_size": 628, "learning_rate": 5e-2, "average_decay": 0.0},
        "samples_every_epochs": 700,
    }
    config, run = RunConfig.model_validate(document), RunFolder(tmp_path_factory.mktemp("linear"))
    run.create(config)
    return train_autoencoder(config, digits, run, device=torch.device("cpu"), resume=False, progress=False)


@pytest.fixture(scope="module")
def pca(digits: DataSplits) -> PCA:
    return PCA(SIZE, svd_solver="full").fit(_flat(digits))


def test_decoder_spans_the_principal_components(linear: Autoencoder, pca: PCA) -> None:
    columns = linear.decoder.get_submodule("head").weight.detach().double().numpy()  # (pixels, D)
    assert np.degrees(subspace_angles(columns, pca.components_.T)).max() < 1.0


def test_reconstruction_error_is_that_of_pca_and_not_below_it(
    linear: Autoencoder, pca: PCA, digits: DataSplits
) -> None:
    pixels = _flat(digits)
    best = float(((pca.inverse_transform(pca.transform(pixels)) - pixels) ** 2).sum(axis=1).mean())
    image = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8)
    found = float((linear(image) - image).square().flatten(1).sum(1).mean().detach())
    assert best * (1 - 1e-5) < found < best * 1.001


def test_deep_nets_reach_below_pca(pca: PCA, digits: DataSplits, tmp_path: Path) -> None:
    """Nonlinear principal components: as many numbers, a smaller error, on the images that were trained on."""
    document = TINY_AUTOENCODER | {
        "model": {"family": "autoencoder", "nets": "dense", "latent_size": SIZE, "hidden": [128]},
        "optimiser": {"epochs": 60, "batch_size": 128, "learning_rate": 5e-3, "average_decay": 0.9},
        "samples_every_epochs": 60,
    }
    config, run = RunConfig.model_validate(document), RunFolder(tmp_path)
    run.create(config)
    net = train_autoencoder(config, digits, run, device=torch.device("cpu"), resume=False, progress=False)
    pixels = _flat(digits)
    image = torch.from_numpy(pixels).float().reshape(-1, 1, 8, 8)
    linear_error = ((pca.inverse_transform(pca.transform(pixels)) - pixels) ** 2).sum(axis=1).mean()
    assert float((net(image) - image).square().flatten(1).sum(1).mean()) < 0.8 * linear_error


def _flat(digits: DataSplits) -> np.ndarray:
    return digits.train.pictures.reshape(len(digits.train), -1) / 255
