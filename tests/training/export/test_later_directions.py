"""Directions that a version gets after its publication are those that publication finds."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from app.directions import Directions
from app.manifest import Manifest
from training.__main__ import main
from training.evaluation.published import read_manifest
from training.export.first_layer import first_layer
from training.export.graphs import ready
from training.export.publish import DIRECTIONS_FILE
from training.export.trained import TrainedRun
from training.gan.model import GenerativeAdversarialNetwork


@pytest.fixture(params=["tiny_vae", "tiny_gan"])
def whole(request: pytest.FixtureRequest, models_dir: Path) -> Path:
    return models_dir / str(request.param) / "1"


@pytest.fixture
def nameless(whole: Path, tmp_path: Path) -> Path:
    """The version as it would be if it had been published without directions."""
    folder = tmp_path / "models" / whole.parent.name / "1"
    shutil.copytree(whole, folder)
    (folder / DIRECTIONS_FILE).unlink()
    manifest = read_manifest(whole).model_copy(update={"directions": None})
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def directions(folder: Path) -> Directions:
    return Directions.model_validate_json((folder / DIRECTIONS_FILE).read_bytes())


def vectors(found: Directions) -> np.ndarray:
    return np.frombuffer(base64.b64decode(found.vectors.base64), "<f4").reshape(found.vectors.shape)


def test_they_are_those_of_publication_and_all_else_stays(
    whole: Path, nameless: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["directions", str(nameless), "--models-dir", str(nameless.parents[1])]) == 0
    folder = nameless.parent / "2"
    assert str(folder) in capsys.readouterr().out
    wanted, found = directions(whole), directions(folder)
    assert {each.kind for each in found.directions} == {"supervised", "principal_component", "factorised"}
    assert [each.name for each in found.directions] == [each.name for each in wanted.directions]
    np.testing.assert_allclose(vectors(found), vectors(wanted), rtol=1e-3, atol=1e-5)
    old, new = read_manifest(nameless), read_manifest(folder)
    differing = {name for name in Manifest.model_fields if getattr(old, name) != getattr(new, name)}
    assert differing == {"version", "directions"}
    assert f"`{old.name}@2`" in (folder / "card.md").read_text(encoding="utf-8")


def test_a_version_that_has_them_is_left_alone(nameless: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = nameless.parents[1]
    assert main(["directions", str(nameless), "--models-dir", str(models)]) == 0
    assert main(["directions", str(nameless.parent / "2"), "--models-dir", str(models)]) == 1
    assert "has these directions already" in capsys.readouterr().err
    assert not (nameless.parent / "3").exists()


def test_weight_is_that_of_the_layer_as_exported(gan_run: Path, models_dir: Path) -> None:
    folder = models_dir / "tiny_gan" / "1"
    model = ready(TrainedRun.load(gan_run).model)
    assert isinstance(model, GenerativeAdversarialNetwork)
    first = next(part for part in model.generator.modules() if isinstance(part, nn.Linear))
    weight = first_layer(read_manifest(folder), folder)
    assert weight is not None
    np.testing.assert_allclose(weight, first.weight.numpy(), atol=1e-7)
