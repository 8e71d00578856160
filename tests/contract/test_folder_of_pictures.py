"""A folder of odd pictures, from files to answers over HTTP."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.api.application import create_application
from app.settings import Settings
from tests.training.tiny_runs import TINY_VAE, publish, train

SUFFIXES = ("jpg", "png", "webp")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty colour pictures of two classes in odd sizes and three formats, a torn one and a text file among them."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(60):
        path = folder / ("warm", "cold")[number % 2] / f"{number}.{SUFFIXES[number % 3]}"
        path.parent.mkdir(exist_ok=True)
        _picture(number).save(path)
    torn = (folder / "warm" / "0.jpg").read_bytes()
    (folder / "warm" / "torn.jpg").write_bytes(torn[: len(torn) // 2])
    (folder / "notes.txt").write_text("not a picture", encoding="utf-8")
    return folder


def test_folder_trains_publishes_and_is_served(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"set": "folder", "folder": str(pictures), "size": 16, "channels": 3}
    net = {"nets": "convolutional", "channels": [4, 8]}
    run = train(tmp_path, TINY_VAE | {"name": "photos"}, data=data, model=net, optimiser={"epochs": 1, "batch_size": 8})
    assert "skipped 1 unreadable files:\n  warm/torn.jpg: " in capsys.readouterr().out
    publish(run, tmp_path / "models")
    with TestClient(create_application(Settings(models_dir=tmp_path / "models"))) as client:
        _sample_has_the_model_s_size_and_colours(client)
        _upload_is_read_as_in_training(client, pictures)
        assert set(client.get("/v1/models/photos/map").json()["classes"]) == {"cold", "warm"}


def _sample_has_the_model_s_size_and_colours(client: TestClient) -> None:
    answer = client.get("/v1/models/photos/sample.png?seed=7&count=1")
    with Image.open(io.BytesIO(answer.content)) as sample:
        assert (sample.size, sample.mode) == ((16, 16), "RGB")


def _upload_is_read_as_in_training(client: TestClient, pictures: Path) -> None:
    """Uploads of all three formats, raw and in JSON, are encoded; the same picture gives the same latent."""
    for path in [pictures / "warm" / "0.jpg", pictures / "cold" / "1.png", pictures / "warm" / "2.webp"]:
        kind = f"image/{'jpeg' if path.suffix == '.jpg' else path.suffix[1:]}"
        raw = client.post("/v1/models/photos/encode", content=path.read_bytes(), headers={"Content-Type": kind})
        coded = base64.b64encode(path.read_bytes()).decode()
        in_json = client.post("/v1/models/photos/encode", json={"images": [coded]})
        assert raw.status_code == 200, raw.text
        assert raw.json()["latents"] == in_json.json()["latents"]
        assert len(raw.json()["latents"][0]["mean"]) == 3
        assert min(raw.json()["latents"][0]["scale"]) > 0


def _picture(number: int) -> Image.Image:
    """A gradient between two colours, of an odd size; every fourth has an alpha channel where the format has one."""
    draw = np.random.default_rng(number)
    height, width = draw.integers(9, 70, 2)
    corner, other = draw.integers(0, 256, (2, 3))
    ramp = np.linspace(0, 1, width)[None, :, None] * np.linspace(1, 0.4, height)[:, None, None]
    picture = Image.fromarray((corner * ramp + other * (1 - ramp)).astype(np.uint8))
    if number % 4 == 1 and SUFFIXES[number % 3] != "jpg":
        picture.putalpha(200)
    return picture
