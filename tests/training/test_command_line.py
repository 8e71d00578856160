from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from tests.training.tiny_runs import TINY_GAN, TINY_VAE, train_arguments, write_experiment
from training.__main__ import main
from training.config import read_config
from training.loops.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("document", "epochs"), [(TINY_VAE, 100), (TINY_GAN, 25)], ids=["vae", "gan"])
def test_killed_run_resumes_to_bitwise_the_weights_of_an_unbroken_one(
    document: dict[str, Any], epochs: int, tmp_path: Path
) -> None:
    """Seconds of steps, so that a checkpoint appears long before the last one."""
    experiment = write_experiment(tmp_path, document | {"checkpoint_every_s": 0.05}, optimiser={"epochs": epochs})
    _kill_after_first_checkpoint(train_arguments(experiment, tmp_path / "killed"))
    killed, unbroken = tmp_path / "killed" / document["name"], tmp_path / "unbroken" / document["name"]
    interrupted_at = load_checkpoint(killed / "checkpoint.pt")["step"]
    assert main(train_arguments(experiment, tmp_path / "unbroken")) == 0
    assert main(train_arguments(experiment, tmp_path / "killed", "--resume")) == 0
    wanted, found = load_checkpoint(unbroken / "checkpoint.pt"), load_checkpoint(killed / "checkpoint.pt")
    assert 0 < interrupted_at < wanted["step"]
    assert _differences(wanted, found) == []
    assert _records(killed) == _records(unbroken)


def test_dry_run_shows_everything_and_trains_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = write_experiment(tmp_path, TINY_VAE)
    assert main(train_arguments(experiment, tmp_path / "runs", "--dry-run", "--set", "optimiser.epochs=77")) == 0
    shown = capsys.readouterr().out
    assert "epochs = 77" in shown
    assert "digits: 1,257 train, 270 validation, 270 test pictures, 10 classes" in shown
    # 64·16+16 + 16·6+6 weights in, 3·16+16 + 16·64+64 out, and the learned scale
    assert "vae of encoder 1,142, decoder 1,152, likelihood 1 parameters" in shown
    assert not (tmp_path / "runs").exists()


def test_run_folder_says_how_to_repeat_it(vae_run: Path) -> None:
    experiment = vae_run.parents[1] / "tiny_vae.toml"
    assert read_config(vae_run / "run.toml") == read_config(experiment)
    provenance = json.loads((vae_run / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["experiment"] == "tiny_vae.toml"
    assert (provenance["data_set"], provenance["train_images"]) == ("digits", 1257)
    assert len(provenance["data_sha256"]) == 64


def test_finished_run_is_not_trained_over(vae_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (vae_run / "checkpoint.pt").read_bytes()
    assert main(train_arguments(vae_run.parents[1] / "tiny_vae.toml", vae_run.parent)) == 1
    assert f"{vae_run} holds a run already: --resume it, or choose another" in capsys.readouterr().err
    assert (vae_run / "checkpoint.pt").read_bytes() == before


def test_resume_refuses_a_run_that_is_not_there_or_is_configured_otherwise(
    vae_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = vae_run.parents[1] / "tiny_vae.toml"
    assert main(train_arguments(experiment, tmp_path, "--resume")) == 1
    assert f"nothing to resume: {tmp_path / 'tiny_vae'} has no checkpoint" in capsys.readouterr().err
    assert main(train_arguments(experiment, vae_run.parent, "--resume", "--set", "optimiser.epochs=9")) == 1
    assert "run.toml differs from this experiment" in capsys.readouterr().err


def test_resume_publish_and_evaluate_refuse_data_that_has_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(20):
        _write_picture(folder / f"{number}.png", number)
    data = {"set": "folder", "folder": str(folder)}
    experiment = write_experiment(tmp_path, TINY_VAE, data=data, optimiser={"epochs": 1, "batch_size": 4})
    assert main(train_arguments(experiment, tmp_path / "runs")) == 0
    _write_picture(folder / "new.png", 99)
    capsys.readouterr()
    assert main(train_arguments(experiment, tmp_path / "runs", "--resume")) == 1
    assert "pictures has changed since this run was trained on it" in capsys.readouterr().err
    assert main(["publish", str(tmp_path / "runs" / "tiny_vae"), "--models-dir", str(tmp_path / "models")]) == 1
    assert "pictures has changed since this run was trained on it" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["train", "absent.toml"], "cannot read absent.toml"),
        (["train", "{vae}", "--set", "optimiser.epoch=3"], "optimiser.epoch: no such key, got '3'"),
        (["train", "{vae}", "--device", "tpu"], "--device tpu: there is "),
        (["train", "{gan}", "--set", "data.size=9", "--dry-run"], "data.size: a DCGAN's side is 4, 5, 6 or 7 doubled"),
        (["train", "{vae}", "--set", "data.test_images=1700", "--dry-run"], "leave nothing to train on"),
        (["publish", "nowhere"], "nowhere is not the folder of a run: it has no checkpoint.pt"),
        (["fit-density", "nowhere"], "nowhere is not the folder of a run: it has no checkpoint.pt"),
        (["fit-density", "nowhere", "--kind", "kernel"], "kind: Input should be 'mixture' or 'flow', got 'kernel'"),
        (["evaluate", "nowhere"], "nowhere is not the folder of a published version"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_without_a_traceback(
    arguments: list[str], complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = {"vae": write_experiment(tmp_path, TINY_VAE), "gan": write_experiment(tmp_path, TINY_GAN)}
    assert main([argument.format(**paths) for argument in arguments]) == 1
    assert complaint in capsys.readouterr().err


def test_density_is_fitted_to_codes_of_autoencoders_alone(vae_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit-density", str(vae_run)]) == 1
    assert "is of a vae, which has a prior already" in capsys.readouterr().err
    assert not (vae_run / "density.pt").exists()


def test_export_writes_the_graphs_and_their_parity(
    gan_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(gan_run), "--to", str(tmp_path / "graphs")]) == 0
    assert sorted(path.name for path in (tmp_path / "graphs").iterdir()) == [
        "image_to_realism.onnx",
        "latent_gradient.onnx",
        "latent_to_image.onnx",
    ]
    assert "latent_to_image.onnx: PyTorch and ONNX differ by at most " in capsys.readouterr().out


def test_doctor_names_a_version_with_a_broken_graph(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models_dir, tmp_path / "models")
    with (tmp_path / "models" / "tiny_gan" / "1" / "latent_to_image.onnx").open("ab") as graph:
        graph.write(b"\0")
    asked = ["doctor", "--models-dir", str(tmp_path / "models"), "--data-dir", str(tmp_path)]
    assert main(asked) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("MEND")] == [line for line in lines if "tiny_gan" in line]
    assert any("tiny_vae/1: latent_to_image, image_to_latent, image_to_evidence" in line for line in lines)


def _kill_after_first_checkpoint(arguments: list[str]) -> None:
    """Run the command in a process of its own and end it with SIGKILL as soon as a checkpoint lies there."""
    runs_dir, until = Path(arguments[arguments.index("--runs-dir") + 1]), time.monotonic() + 120
    command = [sys.executable, "-m", "training", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        while not list(runs_dir.glob("*/checkpoint.pt")) and time.monotonic() < until:
            try:
                process.wait(0.01)
                pytest.fail(f"the run ended by itself, with status {process.returncode}, before it could be killed")
            except subprocess.TimeoutExpired:
                continue
        process.kill()
    assert process.returncode == -signal.SIGKILL


def _differences(wanted: object, found: object, place: str = "") -> list[str]:
    """Where two checkpoints differ by a bit; the time that they took aside."""
    if place.endswith("train_seconds"):
        return []
    if isinstance(wanted, Tensor) and isinstance(found, Tensor):
        return [] if wanted.dtype == found.dtype and wanted.equal(found) else [place]
    if isinstance(wanted, dict) and isinstance(found, dict) and wanted.keys() == found.keys():
        return [d for key in wanted for d in _differences(wanted[key], found[key], f"{place}.{key}")]
    if isinstance(wanted, list) and isinstance(found, list):
        return _differences(dict(enumerate(wanted)), dict(enumerate(found)), place)
    return [] if wanted == found else [place]


def _records(run: Path) -> list[dict[str, float]]:
    """The journal without what a clock says."""
    lines = (run / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [{name: value for name, value in record.items() if name != "images_per_s"} for record in records]


def _write_picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 11), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_images_all_measures_every_test_image_and_says_so(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(models_dir / "tiny_vae" / "1"), "--images", "all"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("negative_log_likelihood"))
    assert "measured otherwise); importance-weighted bound; all 270 test images of digits, K = 20" in line


def test_card_of_all_test_images_is_measured_again_to_the_same_numbers(
    vae_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--models-dir", str(tmp_path), "--threads", "1"]
    assert main(["publish", str(vae_run), *models, "--images", "all"]) == 0
    assert main(["evaluate", str(tmp_path / "tiny_vae" / "1")]) == 0
    again = re.findall(r"^negative_\w+: (\S+) .*\(published: (\S+)\); .*all 270 test", capsys.readouterr().out, re.M)
    assert len(again) == 2
    assert all(found == published for found, published in again)
    assert read_config(vae_run / "run.toml").evaluation.images == 40


def test_no_images_at_all_are_refused(models_dir: Path) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", str(models_dir / "tiny_vae" / "1"), "--images", "0"])
