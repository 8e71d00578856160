"""What a finished run may be given afterwards, and what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.tiny_runs import TINY_GAN, train
from training.__main__ import main


def test_models_with_an_encoder_take_no_other(vae_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit-encoder", str(vae_run)]) == 1
    assert "is of a vae, which has an encoder already" in capsys.readouterr().err


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit-encoder", str(tmp_path)]) == 1
    assert "not the folder of a run" in capsys.readouterr().err


def test_classes_that_no_picture_has_cannot_be_told_to_an_encoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(tmp_path, TINY_GAN, model={"condition": "discovered"}, optimiser={"epochs": 1})
    assert main(["fit-encoder", str(run), "--threads", "1"]) == 1
    assert "classes that it discovered" in capsys.readouterr().err
    assert not (run / "encoder.pt").exists()


def test_wrong_option_is_named(gan_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit-encoder", str(gan_run), "--own-weight", "-1"]) == 1
    assert "own_weight" in capsys.readouterr().err
    assert not (gan_run / "encoder.pt").exists()
