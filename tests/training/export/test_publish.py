from __future__ import annotations

import asyncio
import json
import shutil
import stat
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from app.manifest import Manifest
from app.runtime.plan import Planner
from app.runtime.repository import ModelRepository
from app.runtime.session import file_sha256
from app.runtime.tuning import ByHand
from training.config import read_config
from training.data.datasets import DataSplits, load_splits
from training.export import publish as publication
from training.export import versions
from training.export.publish import publish
from training.export.trained import TrainedRun
from training.export.versions import next_version

FILES = ["card.md", "directions.json", "latent_to_image.onnx", "manifest.json", "preview.png", "run.toml"]
VAE_FILES = sorted(
    [
        *FILES,
        *(
            "image_to_evidence.onnx",
            "image_to_latent.onnx",
            "latent_to_pixel_evidence.onnx",
            "map.json",
            "outliers.json",
        ),
        *("latent_map.png", "aggregate_posterior.png"),
        *("latent_gradient.onnx", "latent_to_evidence.onnx", "weights.bin"),
    ]
)
GAN_FILES = sorted([*FILES, "image_to_realism.onnx", "latent_gradient.onnx"])

QUALITY = {
    *("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"),
    *("smallest_class", "largest_class"),
    *("nearer_in_pixels", "copies_in_pixels", "nearer_in_features", "copies_in_features"),
}


@pytest.fixture(scope="module")
def digits(vae_run: Path) -> DataSplits:
    return load_splits(read_config(vae_run / "run.toml").data)


@pytest.mark.parametrize(("name", "files"), [("tiny_vae", VAE_FILES), ("tiny_gan", GAN_FILES)])
def test_version_is_whole_and_anyone_may_read_it(models_dir: Path, name: str, files: list[str]) -> None:
    folder = models_dir / name / "1"
    assert sorted(path.name for path in folder.iterdir()) == files
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) & 0o444 for path in folder.iterdir()} == {0o444}
    assert sorted(path.name for path in models_dir.iterdir()) == ["tiny_gan", "tiny_vae"]


@pytest.mark.parametrize("name", ["tiny_vae", "tiny_gan"])
def test_manifest_names_every_file_with_its_checksum(models_dir: Path, name: str) -> None:
    manifest = _manifest(models_dir / name / "1")
    assert (manifest.name, manifest.version) == (name, 1)
    for graph in manifest.graphs:
        assert file_sha256(models_dir / name / "1" / graph.file) == graph.sha256
        assert 0 <= manifest.parity_error[graph.role] < 1e-4
    assert (manifest.weights is not None) == (name == "tiny_vae"), "the tiny GAN is too small to share any"
    if manifest.weights:
        assert file_sha256(models_dir / name / "1" / manifest.weights.file) == manifest.weights.sha256
    if manifest.map:
        assert file_sha256(models_dir / name / "1" / manifest.map.file) == manifest.map.sha256
    assert manifest.directions is not None
    assert file_sha256(models_dir / name / "1" / manifest.directions.file) == manifest.directions.sha256


def test_service_accepts_both_versions(models_dir: Path) -> None:
    async def statuses() -> list[tuple[str, str, str | None]]:
        planner = Planner(ByHand(threads=1, lanes=1, max_batch_rows=64), cores=1, cache_dir=None)
        repository = ModelRepository(models_dir, planner=planner, queue_rows=64, poll_interval_s=60)
        await repository.open()  # checksums, signatures and golden cases are verified here
        found = [(entry.name, entry.status, entry.reason) for entry in repository.entries()]
        await repository.close()
        return found

    assert asyncio.run(statuses()) == [("tiny_gan", "ready", None), ("tiny_vae", "ready", None)]


def test_published_configuration_is_the_run_s(models_dir: Path, vae_run: Path) -> None:
    assert read_config(models_dir / "tiny_vae" / "1" / "run.toml") == read_config(vae_run / "run.toml")


def test_provenance_says_how_long_and_on_what(models_dir: Path, digits: DataSplits) -> None:
    source = _manifest(models_dir / "tiny_vae" / "1").provenance
    assert (source.data_set, source.data_sha256, source.train_images) == ("digits", digits.sha256, 1257)
    assert (source.steps, source.seed, source.experiment) == (4 * (1257 // 64), 3, "tiny_vae.toml")
    assert source.libraries.keys() >= {"torch", "onnx", "onnxruntime", "python"}


def test_card_states_every_number_with_its_protocol(models_dir: Path) -> None:
    folder = models_dir / "tiny_vae" / "1"
    card, manifest = (folder / "card.md").read_text(encoding="utf-8"), _manifest(folder)
    assert card.startswith("# A tiny VAE\n\nDense, with Gaussian pixels.\n")
    assert manifest.metrics.keys() - QUALITY == {
        "negative_log_likelihood_nats", "negative_elbo_nats", "kl_nats", "reconstruction_mse"
    }  # fmt: skip
    assert manifest.metrics.keys() >= QUALITY
    for name, metric in manifest.metrics.items():
        row = f"| {name.replace('_', ' ')} | {metric.value:.4g} ± {metric.standard_error:.2g} | {metric.unit} | "
        assert row + metric.protocol + " |" in card
    assert "a random 40 of the 270 test images of digits (seed 0), K = 20" in card
    assert "## What it cannot do" in card


def test_gan_card_claims_neither_encoder_nor_density(models_dir: Path) -> None:
    folder = models_dir / "tiny_gan" / "1"
    assert _manifest(folder).metrics.keys() == {"discriminator_accuracy", "realism_calibration_error"} | QUALITY
    assert "no encoder and no density" in (folder / "card.md").read_text(encoding="utf-8")


def test_map_holds_encoded_test_images_on_their_principal_plane(models_dir: Path, digits: DataSplits) -> None:
    found = json.loads((models_dir / "tiny_vae" / "1" / "map.json").read_text(encoding="utf-8"))
    assert (found["projection"], found["classes"]) == ("pca", list(digits.classes or ()))
    latents = np.array([point["latent"] for point in found["points"]])
    plane = np.array([(point["x"], point["y"]) for point in found["points"]])
    assert latents.shape == (25, 3)
    spread = np.linalg.eigvalsh(np.cov(latents.T))[::-1]  # variances along the principal axes, largest first
    np.testing.assert_allclose(np.cov(plane.T), np.diag(spread[:2]), atol=1e-3)


def test_calibration_is_sorted_and_of_validation_images(models_dir: Path) -> None:
    calibration = _manifest(models_dir / "tiny_vae" / "1").calibration
    assert calibration is not None
    assert (len(calibration.values), calibration.split) == (30, "validation, n = 30")
    assert _manifest(models_dir / "tiny_gan" / "1").calibration is None


def test_preview_is_a_sheet_of_64_samples(models_dir: Path) -> None:
    with Image.open(models_dir / "tiny_gan" / "1" / "preview.png") as preview:
        assert preview.size == (64, 64)


@pytest.mark.parametrize(("module", "fails_at"), [(publication, "measure"), (versions, "_sync")])
def test_failure_midway_leaves_nothing_behind(
    gan_run: Path,
    digits: DataSplits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    fails_at: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(module, fails_at, fail)
    with pytest.raises(OSError, match="disk is full"):
        publish(TrainedRun.load(gan_run), digits, tmp_path / "models")
    assert list((tmp_path / "models").iterdir()) == []


def test_next_publication_is_the_next_version(
    models_dir: Path, gan_run: Path, digits: DataSplits, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    shutil.copytree(models_dir / "tiny_gan", models / "tiny_gan")
    folder = publish(TrainedRun.load(gan_run), digits, models)
    assert folder == models / "tiny_gan" / "2"
    assert _manifest(folder).version == 2
    assert "`tiny_gan@2`" in (folder / "card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("there", "version"), [([], 1), (["1"], 2), (["2", "10", "9"], 11), ([".publishing-x", "notes", "3"], 4)]
)
def test_next_version_counts_on_from_the_newest(tmp_path: Path, there: list[str], version: int) -> None:
    for name in there:
        (tmp_path / "model" / name).mkdir(parents=True)
    assert next_version(tmp_path / "model") == version


def _manifest(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes())
