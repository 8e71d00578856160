"""The table of seeds: each is trained once, measured through ONNX, and what is done is not done again."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev

import pytest

from benchmarks import few_labels
from tests.training.tiny_runs import TINY_VAE, write_experiment

MODEL = {
    "prior": {"kind": "mixture", "components": 2},
    "objective": {"kl": "sampled"},
    "few_labels": {"classifier_channels": [4], "labelled_batch": 10},
}


def _run(monkeypatch: pytest.MonkeyPatch, experiment: Path, seeds: int) -> int:
    arguments = ["few_labels", str(experiment), "--seeds", str(seeds), "--runs-dir", str(experiment.parent / "runs")]
    monkeypatch.setattr(sys, "argv", [*arguments, "--set", "optimiser.epochs=1"])
    return few_labels.main()


def test_seeds_are_trained_once_and_their_mean_and_spread_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = write_experiment(tmp_path, TINY_VAE | {"name": "few"}, model=MODEL, data={"labelled_images": 20})
    assert _run(monkeypatch, experiment, 1) == 0
    first = tmp_path / "runs" / "few_seed1"
    told = json.loads((first / few_labels.RESULT).read_text())
    (first / few_labels.RESULT).write_text(json.dumps(told | {"test_error_percent": 12.5}))
    capsys.readouterr()

    assert _run(monkeypatch, experiment, 2) == 0

    printed = capsys.readouterr().out
    rows = re.findall(r"^\| (\d) \| (\S+) % \|", printed, re.MULTILINE)
    assert [seed for seed, _ in rows] == ["1", "2"]
    assert rows[0][1] == "12.50"  # what was kept, not measured again
    errors = [12.5, json.loads((tmp_path / "runs" / "few_seed2" / few_labels.RESULT).read_text())["test_error_percent"]]
    assert f"**{mean(errors):.2f} ± {stdev(errors):.2f} %**" in printed
    assert "20 labels of digits" in printed
    assert "label_seed = 2" in (tmp_path / "runs" / "few_seed2" / "run.toml").read_text()
