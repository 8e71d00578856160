from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest

from app.manifest import Manifest
from app.runtime.plan import Planner
from app.runtime.repository import ModelRepository
from app.runtime.session import file_sha256
from app.runtime.tuning import ByHand
from training.__main__ import main
from training.config import ConfigError
from training.evaluation.published import read_manifest
from training.export.trimming import SPARE, trim


@pytest.fixture(scope="module")
def trimmed(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny VAE without its gradients and with seven points on its map."""
    without = ("latent_gradient", "latent_to_evidence")
    return trim(models_dir / "tiny_vae" / "1", tmp_path_factory.mktemp("trimmed"), without=without, map_points=7)


def test_graphs_that_stay_are_the_same_bytes_where_they_share_the_same_weights(models_dir: Path, trimmed: Path) -> None:
    whole, less = read_manifest(models_dir / "tiny_vae" / "1"), read_manifest(trimmed)
    assert whole.roles - less.roles == {"latent_gradient", "latent_to_evidence"}
    for graph in less.graphs:
        assert graph == whole.graph(graph.role)
        assert file_sha256(trimmed / graph.file) == graph.sha256
    assert {path.name for path in trimmed.glob("*.onnx")} == {graph.file for graph in less.graphs}
    assert less.parity_error.keys() == less.roles == {case.role for case in less.golden}


def test_numbers_and_what_they_refer_to_stay(models_dir: Path, trimmed: Path) -> None:
    whole, less = read_manifest(models_dir / "tiny_vae" / "1"), read_manifest(trimmed)
    for part in ("metrics", "calibration", "outliers", "directions", "provenance", "latent", "capabilities"):
        assert getattr(less, part) == getattr(whole, part)


def test_map_keeps_its_first_points_to_three_decimals(models_dir: Path, trimmed: Path) -> None:
    whole, less = (
        json.loads((folder / "map.json").read_bytes()) for folder in (models_dir / "tiny_vae" / "1", trimmed)
    )
    assert len(less["points"]) == 7 < len(whole["points"])
    for kept, old in zip(less["points"], whole["points"], strict=False):
        assert kept["label"] == old["label"]
        np.testing.assert_allclose(kept["latent"], old["latent"], atol=5e-4)
    manifest = read_manifest(trimmed)
    assert manifest.map is not None
    assert file_sha256(trimmed / "map.json") == manifest.map.sha256


def test_service_accepts_what_is_left(trimmed: Path) -> None:
    async def statuses() -> list[tuple[str, str, str | None]]:
        planner = Planner(ByHand(threads=1, lanes=1, max_batch_rows=64), cores=1, cache_dir=None)
        repository = ModelRepository(trimmed.parents[1], planner=planner, queue_rows=64, poll_interval_s=60)
        await repository.open()
        found = [(entry.name, entry.status, entry.reason) for entry in repository.entries()]
        await repository.close()
        return found

    assert asyncio.run(statuses()) == [("tiny_vae", "ready", None)]


def test_next_version_stands_beside_the_old_one(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, models = models_dir / "tiny_vae" / "1", tmp_path / "models"
    for expected in ("1", "2"):
        asked = ["trim", str(old), "--without", "latent_to_pixel_evidence", "--models-dir", str(models)]
        assert main(asked) == 0
        assert (models / "tiny_vae" / expected / "card.md").read_text().count(f"`tiny_vae@{expected}`") == 1
    manifest = read_manifest(models / "tiny_vae" / "2")
    assert set(read_manifest(old).capabilities) - set(manifest.capabilities) == {"pixel_evidence"}
    assert " MB, before " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("without", "reason"),
    [
        ((), "nothing to leave out"),
        (("image_to_evidence",), "image_to_evidence cannot be left out"),
        (("latent_to_prior",), "has no latent_to_prior"),
    ],
)
def test_what_cannot_be_left_out_is_refused(
    models_dir: Path, tmp_path: Path, without: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        trim(models_dir / "tiny_vae" / "1", tmp_path, without=without)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_no_spare_role_is_one_that_a_manifest_needs(models_dir: Path) -> None:
    manifest = read_manifest(models_dir / "tiny_vae" / "1")
    without = manifest.roles & set(SPARE)
    less = Manifest.model_validate(
        manifest.model_dump()
        | {"graphs": [graph.model_dump() for graph in manifest.graphs if graph.role not in without]}
        | {"golden": [case.model_dump() for case in manifest.golden if case.role not in without]}
    )
    assert set(manifest.capabilities) - set(less.capabilities) == {"pixel_evidence"}
