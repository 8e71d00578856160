"""Searches are measured with the code that serves them."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.api.application import create_application
from app.images.png import encode_png
from app.settings import Settings
from training.__main__ import main
from training.config import read_config
from training.data.datasets import load_splits
from training.evaluation.inversion import inversion
from training.evaluation.published import PublishedGraphs, read_manifest, subset

COUNT = 12


@pytest.fixture(scope="module")
def version(models_dir: Path) -> Path:
    return models_dir / "tiny_gan" / "1"


def test_command_says_what_is_recovered(version: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(version), "--inversion", "--images", "12", "--threads", "1"]) == 0
    recovered, error = capsys.readouterr().out.splitlines()
    assert recovered.startswith("own_samples_recovered: ")
    assert error.startswith("inversion_mse: ")
    assert "L-BFGS" in error
    assert float(recovered.split()[1]) >= 0.9


def test_service_reaches_the_error_that_is_measured(version: Path, tmp_path: Path) -> None:
    shutil.copytree(version, tmp_path / "tiny_gan" / "1")
    manifest = read_manifest(version)
    data = load_splits(read_config(version / "run.toml").data, None)
    measured = inversion(PublishedGraphs.open(version, manifest), manifest, data, COUNT)["inversion_mse"]
    pictures = subset(data.test, COUNT).pictures
    with TestClient(create_application(Settings(models_dir=tmp_path))) as client:
        body = {"images": [base64.b64encode(encode_png(picture)).decode() for picture in pictures]}
        answer = client.post("/v1/models/tiny_gan/encode", json=body)
    errors = [latent["mse"] for latent in answer.json()["latents"]]
    assert np.mean(errors) == pytest.approx(measured.value, abs=1e-4)


def test_version_that_cannot_be_searched_says_so(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tiny_gan" / "1"
    shutil.copytree(models_dir / "tiny_gan" / "1", folder)
    manifest = read_manifest(folder)
    kept = {"graphs": tuple(g for g in manifest.graphs if g.role != "latent_gradient")}
    kept["golden"] = tuple(case for case in manifest.golden if case.role != "latent_gradient")
    (folder / "manifest.json").write_text(manifest.model_copy(update=kept).model_dump_json())
    assert main(["evaluate", str(folder), "--inversion"]) == 1
    assert "no latent_gradient to search by" in capsys.readouterr().err
