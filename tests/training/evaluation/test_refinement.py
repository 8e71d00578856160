"""Refined samples are measured as the service gives them."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.api.application import create_application
from app.settings import Settings
from training.__main__ import main
from training.config import ConfigError, read_config
from training.data.datasets import load_splits
from training.evaluation.published import PublishedGraphs, read_manifest, subset
from training.evaluation.quality import Samples
from training.evaluation.refinement import refined

COUNT, PROPOSALS = 40, 8


@pytest.fixture(scope="module")
def version(models_dir: Path) -> Path:
    return models_dir / "tiny_gan" / "1"


def opened(png: str) -> np.ndarray:
    """Pixels of a picture in JSON."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image)


def plain(version: Path) -> tuple[PublishedGraphs, Samples]:
    """The first samples of a version."""
    manifest = read_manifest(version)
    graphs = PublishedGraphs.open(version, manifest)
    data = load_splits(read_config(version / "run.toml").data, None)
    return graphs, Samples.of(graphs, manifest, subset(data.train, COUNT))


def test_pictures_and_acceptance_are_those_of_the_service(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluation.refinement.PROPOSALS_AT_ONCE", 3 * PROPOSALS)  # parts of several chains
    graphs, samples = plain(version)
    chosen, numbers = refined(graphs, read_manifest(version), samples, PROPOSALS)
    shutil.copytree(version, tmp_path / "tiny_gan" / "1")
    with TestClient(create_application(Settings(models_dir=tmp_path))) as client:
        body = {"seed": 0, "count": COUNT, "refine": PROPOSALS}
        answer = client.post("/v1/models/tiny_gan/sample", json=body).json()
    served = np.stack([opened(image["png"]) for image in answer["images"]])
    np.testing.assert_array_equal(chosen.pictures.squeeze(), served.squeeze())
    assert numbers["refinement_acceptance"].value == pytest.approx(answer["refined"]["acceptance"], abs=1e-4)
    assert (chosen.pictures != samples.pictures).any(axis=(1, 2, 3)).mean() > 0.2  # some chains moved


def test_command_says_how_many_were_accepted(version: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", str(version), "--images", "60", "--threads", "1"]
    assert main([*command, "--quality", "--refine", "4"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("refinement_acceptance: 0.")
    assert "60 chains (seed 0) of 4 proposals each" in said
    assert "frechet_distance: " in said
    assert main([*command, "--refine", "4"]) == 1
    assert "give both" in capsys.readouterr().err


def test_nothing_to_choose_by_or_among_is_said(version: Path, models_dir: Path) -> None:
    graphs, samples = plain(version)
    with pytest.raises(ConfigError, match="2 or more"):
        refined(graphs, read_manifest(version), samples, 1)
    vae = models_dir / "tiny_vae" / "1"
    graphs, samples = plain(vae)
    with pytest.raises(ConfigError, match="tiny_vae@1 cannot refine: it has no calibrated discriminator"):
        refined(graphs, read_manifest(vae), samples, 4)
