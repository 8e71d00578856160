"""The table of the zoo: rows are of runs that their files describe, kept, and never made up."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from app.manifest import Metric
from benchmarks import zoo
from tests.training.tiny_runs import TINY_GAN, train, write_experiment
from training.config import read_config
from training.loops.run_folder import RunFolder

PROJECTION = {"model": {"condition": "projection"}, "optimiser": {"epochs": 1}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch: 19 steps."""
    return train(tmp_path_factory.mktemp("zoo"), TINY_GAN | {"name": "plain"}, optimiser={"epochs": 1})


def _folder_with(trained: Path, folder: Path) -> Path:
    shutil.copytree(trained, folder / "runs" / "plain")
    return folder


def _run(monkeypatch: pytest.MonkeyPatch, folder: Path, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["zoo", "--runs-dir", str(folder / "runs"), *map(str, arguments)])
    return zoo.main()


def _experiments(folder: Path) -> tuple[Path, Path]:
    first = write_experiment(folder, TINY_GAN | {"name": "plain"}, optimiser={"epochs": 1})
    return first, write_experiment(folder, TINY_GAN | {"name": "told"}, **PROJECTION)


def test_rows_are_measured_once_kept_and_printed(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = _experiments(_folder_with(trained, tmp_path))
    page = tmp_path / "page.md"
    assert _run(monkeypatch, tmp_path, plain, "--markdown", page) == 0
    file = tmp_path / "runs" / "plain" / zoo.ROW
    kept = json.loads(file.read_text())
    kept["metrics"]["frechet_distance"]["value"] = 12345.0
    file.write_text(json.dumps(kept))

    assert _run(monkeypatch, tmp_path, plain, "--markdown", page) == 0

    shown = page.read_text()
    assert re.search(r"^\| `plain` +\| hinge, spectral norm \| +\| +1.23e\+04 \|", shown, re.MULTILINE)
    floor = kept["floor"]["frechet_distance"]
    assert re.search(rf"^\| \*training images\* \| +\| +\| +{floor['value']:.3g} \|", shown, re.MULTILINE)
    assert kept["metrics"]["recall"]["protocol"].endswith(f"images: {kept['floor']['recall']['value']:.4g}")
    assert "Not in the table" not in shown


def test_what_is_missing_is_trained_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, told = _experiments(tmp_path)
    assert _run(monkeypatch, tmp_path, told, "--train") == 0
    assert re.search(r"^\| `told` +\| hinge, spectral norm \| \d+\.\d% as asked for \|", capsys.readouterr().out, re.M)
    assert {"label_agreement", "smallest_class"} <= json.loads((tmp_path / "runs" / "told" / zoo.ROW).read_text())[
        "metrics"
    ].keys()


def test_what_is_not_trained_or_trained_otherwise_is_said_to_be_missing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, told = _experiments(_folder_with(trained, tmp_path))
    write_experiment(tmp_path, TINY_GAN | {"name": "plain"}, optimiser={"epochs": 1, "learning_rate": 1e-3})
    assert _run(monkeypatch, tmp_path, plain, told) == 0
    shown = capsys.readouterr().out
    assert "Not in the table: `plain` (trained by another configuration), `told` (not trained)." in shown
    assert "| `plain`" not in shown


def test_the_words_of_a_run_may_change_and_its_row_stays(tmp_path: Path) -> None:
    plain, _ = _experiments(tmp_path)
    recipe = zoo.recipe_sha256(read_config(plain))
    assert zoo.recipe_sha256(read_config(plain, ["title=Otherwise", "evaluation.images=41"])) == recipe
    assert zoo.recipe_sha256(read_config(plain, ["seed=4"])) != recipe
    assert zoo.recipe_sha256(read_config(plain, ["model.penalty.r1=1.0"])) != recipe


def test_an_unfinished_run_is_no_row(trained: Path, tmp_path: Path) -> None:
    plain, _ = _experiments(_folder_with(trained, tmp_path))
    longer, run = read_config(plain, ["optimiser.epochs=2"]), RunFolder(tmp_path / "runs" / "plain")
    assert zoo.reason_missing(read_config(plain), run) == ""
    run.create(longer)
    assert zoo.reason_missing(longer, run) == "step 19 of 38"


def test_minutes_are_those_of_the_median_speed(trained: Path) -> None:
    run = zoo.TrainedRun.load(trained)
    speeds = (10.0, 1000.0, 2.0, 12.0, 11.0)
    journal = "\n".join(json.dumps({"step": step, "images_per_s": speed}) for step, speed in enumerate(speeds))
    assert np.isclose(zoo.training_minutes(run, journal), 19 * 64 / 11 / 60)
    assert np.isclose(zoo.training_minutes(run, '{"step": 1}'), run.train_seconds / 60)


def test_modes_are_said_beside_those_of_training_images() -> None:
    told = "26,000 samples (seed 0), each channel by the classifier; as many training images"
    metrics = {
        "covered_modes": Metric(value=998, unit="of 1,000", protocol=f"{told}: 1,000"),
        "mode_divergence_nats": Metric(value=0.0812, unit="nats from even ones", protocol=f"{told}: 0.02"),
    }
    row = zoo.Row(recipe="", commit="", steps=1, minutes=6.04, parameters=1, metrics=metrics, floor={})
    assert zoo.modes_in_words("stacked", row) == (
        f"`stacked` (6.0 minutes) covers 998 of 1,000 classes, at 0.081 nats from even ones: {told}: "
        "0.02 nats, which cover 1,000."
    )
    assert zoo.report([], {"stacked": row}, {}).endswith("which cover 1,000.")


def test_every_member_of_the_zoo_has_its_file_and_a_game_in_words() -> None:
    games = {}
    for member in zoo.MEMBERS:
        config = read_config(zoo.EXPERIMENTS / f"mnist_{member}.toml")
        assert config.name == f"mnist_{member}"
        games[member] = zoo.game_in_words(config)
    assert games["wgan"] == "wasserstein, clipping"
    assert games["relativistic_gan"] == "relativistic, R1, R2"
    assert games["sgan_100"] == "feature matching"
