"""What committed GANs promise of pictures to latents, held to on the models themselves: own samples are found again."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from app.api.application import create_application
from app.manifest import Manifest
from app.runtime.inverting import GALLERY_SEED
from app.settings import Settings

MODELS = Path(__file__).resolve().parents[2] / "models"
RECOVERED_MSE = 0.005
SEED, COUNT, MISSED = 1, 20, 1
"""Of the samples, none of which searches start from; and how many may be missed: 95 % are to be recovered."""


def read(folder: Path) -> Manifest:
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes())


def searched() -> Iterator[Path]:
    """The folders of the committed GANs that offer to encode by search."""
    for path in sorted(MODELS.glob("*/*/manifest.json")):
        manifest = read(path.parent)
        if manifest.family == "gan" and {"latent_to_image", "latent_gradient"} <= manifest.roles:
            yield path.parent


GANS = list(searched())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """These models alone, served with time enough for a slow machine."""
    root = tmp_path_factory.mktemp("models")
    for folder in GANS:
        shutil.copytree(folder, root / folder.relative_to(MODELS))
    with TestClient(create_application(Settings(models_dir=root, deadline_s=600))) as found:
        yield found


def post(client: TestClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(f"/v1/models/{path}", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def pixels(png: str) -> NDArray[np.float64]:
    """In [0, 1]."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        return np.asarray(image).astype(np.float64) / 255


def test_the_manifests_lead_to_the_gans_that_are_documented() -> None:
    assert {folder.parent.name for folder in GANS} >= {"mnist_gan", "fashion_gan", "emoji_gan"}


@pytest.mark.parametrize("folder", GANS, ids=lambda folder: folder.parent.name)
def test_own_samples_are_recovered_by_search(client: TestClient, folder: Path) -> None:
    assert SEED != GALLERY_SEED
    manifest = read(folder)
    ref = f"{manifest.name}@{manifest.version}"
    drawn = post(client, f"{ref}/sample", {"seed": SEED, "count": COUNT})["images"]
    body = {"images": [image["png"] for image in drawn], "method": "optimize"}
    labels = [image["label"] for image in drawn if "label" in image]
    found = post(client, f"{ref}/reconstruct", body | ({"label": labels} if labels else {}))
    assert found["method"] == "optimize"
    pairs = zip(drawn, found["images"], strict=True)
    errors = [np.mean((pixels(own["png"]) - pixels(again["png"])) ** 2) for own, again in pairs]
    assert np.sum(np.array(errors) > RECOVERED_MSE) <= MISSED, errors
