from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.api.application import create_application
from app.settings import Settings
from tests.contract.calls import post
from tests.training.tiny_runs import TINY_GAN, TINY_VAE, publish, train
from training.data.datasets import DataSplits, load_splits
from training.export.trained import TrainedRun


@dataclass(frozen=True)
class Served:
    """A running service, and the runs that its models come from."""

    client: TestClient
    models_dir: Path
    runs: Path

    def run(self, name: str) -> TrainedRun:
        """The run behind a model, read from its checkpoint."""
        return TrainedRun.load(self.runs / name)

    def post(self, address: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON answer of a call under /v1/models."""
        return post(self.client, address, body)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`tiny_vae`, convolutional on binarised digits, and `tiny_gan`: trained, published, served."""
    folder = tmp_path_factory.mktemp("contract")
    models_dir = folder / "models"
    net = {"nets": "convolutional", "channels": [6, 12], "likelihood": "bernoulli"}  # wide enough to share weights
    publish(train(folder, TINY_VAE, model=net, data={"binarise": True}), models_dir)
    publish(train(folder, TINY_GAN), models_dir)
    with TestClient(create_application(Settings(models_dir=models_dir, models_poll_s=0.05))) as client:
        yield Served(client, models_dir, folder / "runs")


@pytest.fixture(scope="session")
def digits(served: Served) -> DataSplits:
    """The data that both models were trained on."""
    return load_splits(served.run("tiny_gan").config.data)


@pytest.fixture(scope="module")
def client(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service of the model of the module's `run`."""
    models_dir = tmp_path_factory.mktemp("published") / "models"
    publish(run, models_dir)
    with TestClient(create_application(Settings(models_dir=models_dir))) as client:
        yield client
