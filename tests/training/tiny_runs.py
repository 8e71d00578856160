"""Experiments that train in a second on scikit-learn's digits, for tests to run through the command line."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import tomli_w

from training.__main__ import main

_SHARED: dict[str, Any] = {
    "seed": 3,
    "data": {"set": "digits", "size": 8},
    "optimiser": {"epochs": 4, "batch_size": 64, "learning_rate": 3e-3, "average_decay": 0.9},
    "evaluation": {
        "images": 40,
        "importance_samples": 20,
        "calibration_images": 30,
        "outlier_images": 80,
        "map_points": 25,
    },
    "samples_every_epochs": 2,
}
TINY_VAE: dict[str, Any] = _SHARED | {
    "name": "tiny_vae",
    "title": "A tiny VAE",
    "summary": "Dense, with Gaussian pixels.",
    "model": {"family": "vae", "nets": "dense", "latent_size": 3, "hidden": [16], "likelihood": "gaussian"},
}
TINY_AUTOENCODER: dict[str, Any] = _SHARED | {
    "name": "tiny_autoencoder",
    "title": "A tiny autoencoder",
    "summary": "Sparse and denoising: of seven numbers three are kept, pixels are lost.",
    "model": {
        "family": "autoencoder",
        "nets": "dense",
        "latent_size": 7,
        "hidden": [24],
        "reconstruction": "bernoulli_cross_entropy",
        "sparsity": {"kind": "top_k", "active": 3, "warmup_epochs": 2},
        "corruption": {"kind": "salt_and_pepper", "share": 0.2},
    },
}
TINY_GAN: dict[str, Any] = _SHARED | {
    "name": "tiny_gan",
    "title": "A tiny GAN",
    "summary": "Hinge, spectral norm, batch norm in the generator.",
    "model": {
        "family": "gan",
        "latent_size": 6,
        "generator_channels": 4,
        "discriminator_channels": 4,
        "spectral_norm": True,
        "discriminator_batch_norm": False,
        "objective": {"kind": "hinge"},
    },
}


def write_experiment(folder: Path, document: dict[str, Any], **changes: dict[str, Any]) -> Path:
    """Write `<name>.toml`, with `changes` merged into its sections."""
    document = deepcopy(document)
    for section, values in changes.items():
        document[section] = document.get(section, {}) | values
    path = folder / f"{document['name']}.toml"
    path.write_text(tomli_w.dumps(document), encoding="utf-8")
    return path


def train_arguments(experiment: Path, runs_dir: Path, *more: str) -> list[str]:
    """The arguments of `python -m training` that train an experiment quietly on one thread."""
    quietly = ["--runs-dir", str(runs_dir), "--device", "cpu", "--threads", "1", "--no-progress"]
    return ["train", str(experiment), *quietly, *more]


def train(folder: Path, document: dict[str, Any], **changes: dict[str, Any]) -> Path:
    """Train an experiment under `folder`; returns the run's folder."""
    experiment = write_experiment(folder, document, **changes)
    assert main(train_arguments(experiment, folder / "runs")) == 0
    return folder / "runs" / document["name"]


def publish(run: Path, models_dir: Path) -> Path:
    """Publish a run as its first version; returns the version's folder."""
    assert main(["publish", str(run), "--models-dir", str(models_dir), "--threads", "1"]) == 0
    return models_dir / run.name / "1"
