from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.tiny_runs import TINY_GAN, TINY_VAE, publish, train


@pytest.fixture(scope="session")
def vae_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of TINY_VAE; tests leave it as it is."""
    return train(tmp_path_factory.mktemp("vae"), TINY_VAE)


@pytest.fixture(scope="session")
def gan_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of TINY_GAN; tests leave it as it is."""
    return train(tmp_path_factory.mktemp("gan"), TINY_GAN)


@pytest.fixture(scope="session")
def models_dir(vae_run: Path, gan_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with `tiny_vae/1` and `tiny_gan/1`; tests leave it as it is."""
    models = tmp_path_factory.mktemp("published") / "models"
    publish(vae_run, models)
    publish(gan_run, models)
    return models
