"""`replay`: what a receipt names is made again, byte for byte, or the answer says what has changed."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api.application import create_application
from app.images.png import encode_png
from app.images.receipts import read_receipt
from app.settings import Settings
from tests.app.tiny_models import tiny_gan, write_tiny_models, write_version

PNG = {"Content-Type": "image/png"}
SAMPLES: dict[str, Any] = {"seed": 2**63 - 1, "count": 3, "temperature": 0.7, "truncation": 1.5}
WALK: dict[str, Any] = {"points": [{"seed": 7}, {"latent": [0.1, -0.3]}], "steps": 5}

REQUESTS = {
    "sample": ("tiny_vae/sample", SAMPLES),
    "integer temperature": ("tiny_vae/sample", {"seed": 1, "temperature": 1}),
    "colour": ("tiny_gan/sample", SAMPLES),
    "decode": ("tiny_vae/decode", {"latents": [[0.1, 1e-8], [-3.3333333, 2]]}),
    "interpolate": ("tiny_vae/interpolate", WALK),
    "arithmetic": ("tiny_vae/arithmetic", {"terms": [{"point": {"seed": 7}}, {"weight": -0.5, "point": {"seed": 8}}]}),
    "labelled samples": ("tiny_labelled/sample", SAMPLES),
    "labelled latents": ("tiny_labelled/decode", {"latents": [[0.1, 1], [1, 0]], "label": ["left", 0]}),
    "labelled walk": ("tiny_labelled/interpolate", WALK | {"label": 2}),
    "traverse": ("tiny_vae/traverse", {"point": {"seed": 7}, "dimensions": [1], "steps": 3}),
}


def receipt_of(png: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(read_receipt(png) or "null")
    return found


@pytest.fixture
def picture(client: TestClient) -> bytes:
    """One sample of the VAE."""
    return client.get("/v1/models/tiny_vae@1/sample.png?seed=7").content


@pytest.mark.parametrize("name", REQUESTS)
def test_every_image_is_made_again_from_itself_and_from_its_receipt(client: TestClient, name: str) -> None:
    address, wish = REQUESTS[name]
    for image in client.post(f"/v1/models/{address}", json=wish).json()["images"]:
        png = base64.b64decode(image["png"])
        for again in (
            client.post("/v1/replay", content=png, headers=PNG),
            client.post("/v1/replay", files={"image": ("x.png", png)}),
            client.post("/v1/replay", json=receipt_of(png)),
        ):
            assert (again.status_code, again.content == png) == (200, True), again.text
            assert again.headers["content-type"] == "image/png"


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("columns", [None, 2, 200])
def test_every_sheet_is_made_again(client: TestClient, name: str, columns: int | None) -> None:
    address, wish = REQUESTS[name]
    asked = {"format": "png"} if columns is None else {"format": "png", "columns": columns}
    sheet = client.post(f"/v1/models/{address}", json=wish, params=asked).content
    assert client.post("/v1/replay", content=sheet, headers=PNG).content == sheet
    assert client.post("/v1/replay", json=receipt_of(sheet)).content == sheet


def test_reconstruction_is_made_again_from_its_latent(client: TestClient, picture: bytes) -> None:
    png = client.post("/v1/models/tiny_vae/reconstruct?format=png", content=picture, headers=PNG).content
    assert receipt_of(png)["operation"] == "reconstruct"
    assert client.post("/v1/replay", content=png, headers=PNG).content == png


@pytest.mark.parametrize(
    ("change", "pointers"),
    [
        ({"model": "gone"}, ["/model"]),
        ({"version": 9}, ["/version"]),
        ({"graph_sha256": "0" * 64}, ["/graph_sha256"]),
        ({"runtime": "onnxruntime 0.1"}, ["/runtime"]),
        ({"graph_sha256": "0" * 64, "runtime": "onnxruntime 0.1"}, ["/graph_sha256", "/runtime"]),
    ],
)
def test_what_changed_is_named(client: TestClient, picture: bytes, change: dict[str, Any], pointers: list[str]) -> None:
    response = client.post("/v1/replay", json=receipt_of(picture) | change)
    body = response.json()
    assert (response.status_code, body["code"]) == (409, "receipt-not-reproducible")
    assert [part["pointer"] for part in body["errors"]] == pointers


def test_edited_picture_is_told_apart(client: TestClient, picture: bytes) -> None:
    forged = encode_png(np.zeros((8, 8, 1), np.uint8), read_receipt(picture))
    response = client.post("/v1/replay", content=forged, headers=PNG)
    assert (response.status_code, response.json()["code"]) == (409, "receipt-not-reproducible")
    assert "edited" in response.json()["detail"]


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[tuple[TestClient, Path]]:
    """A service whose models a test may change, and their folder."""
    write_tiny_models(tmp_path)
    with TestClient(create_application(Settings(models_dir=tmp_path))) as found:
        yield found, tmp_path


def test_replay_follows_the_repository(changing: tuple[TestClient, Path]) -> None:
    client, root = changing
    refresh = client.app.state.service.repository.refresh  # type: ignore[attr-defined]
    png = client.get("/v1/models/tiny_gan@1/sample.png?seed=7").content
    assert client.portal is not None
    write_version(root, tiny_gan(seed=5), version=2)
    client.portal.call(refresh)
    assert client.post("/v1/replay", content=png, headers=PNG).content == png
    shutil.rmtree(root / "tiny_gan" / "1")
    client.portal.call(refresh)
    gone = client.post("/v1/replay", content=png, headers=PNG).json()
    assert [part["pointer"] for part in gone["errors"]] == ["/version"]
    write_version(root, tiny_gan(seed=5))
    client.portal.call(refresh)
    other = client.post("/v1/replay", content=png, headers=PNG).json()
    assert [part["pointer"] for part in other["errors"]] == ["/graph_sha256"]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"seed": -1}, 422, "invalid-input"),
        ({"temperature": 1e9}, 422, "invalid-input"),
        ({"model": "../../etc"}, 422, "invalid-input"),
        ({"operation": "delete"}, 422, "invalid-input"),
        ({"surprise": 1}, 422, "invalid-input"),
        ({"latent": [0.0, 0.0]}, 422, "invalid-input"),
        ({"columns": 1, "images": [{"latent": [0.0]}, {}]}, 422, "invalid-input"),
    ],
)
def test_forged_receipt_is_refused(
    client: TestClient, picture: bytes, change: dict[str, Any], status: int, code: str
) -> None:
    response = client.post("/v1/replay", json=receipt_of(picture) | change)
    assert (response.status_code, response.json()["code"]) == (status, code)


@pytest.mark.parametrize("images", [257, 5000])
def test_sheet_over_the_limit_is_refused(client: TestClient, picture: bytes, images: int) -> None:
    maker = {name: receipt_of(picture)[name] for name in ("model", "version", "graph_sha256", "runtime", "operation")}
    forged = maker | {"columns": 1, "images": [{"latent": [0.0, 0.0]}] * images}
    response = client.post("/v1/replay", json=forged)
    assert response.status_code == 422
    assert response.json()["errors"][0]["limit"] == 256


def test_latent_of_another_length_is_refused(client: TestClient, picture: bytes) -> None:
    maker = {name: receipt_of(picture)[name] for name in ("model", "version", "graph_sha256", "runtime", "operation")}
    assert client.post("/v1/replay", json=maker | {"latent": [0.0]}).status_code == 422


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"", "image/png", 422),
        (b"\x89PNG\r\n\x1a\n", "image/png", 422),
        (b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffiTXtlatentserve\0\0\0\0\0{}", "image/png", 422),
        (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x12iTXtlatentserve\0\0\0\0\0\xff\xff" + b"\0" * 8, "image/png", 422),
        (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x12iTXtlatentserve\0\0\0\0\0{}" + b"\0" * 8, "image/png", 422),
        (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\x11iTXtlatentserve\0\0\0\0\0{" + b"\0" * 8, "image/png", 400),
        (b"GIF89a", "image/gif", 415),
        (b"{}", "text/plain", 415),
        (b"{", "application/json", 400),
        (b"[]", "application/json", 422),
        (b"{}", "application/json", 422),
    ],
)
def test_body_that_is_no_receipt_is_refused(client: TestClient, body: bytes, media_type: str, status: int) -> None:
    response = client.post("/v1/replay", content=body, headers={"Content-Type": media_type})
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"


def test_picture_without_a_receipt_is_refused(client: TestClient) -> None:
    preview = client.get("/v1/models/tiny_vae/preview.png").content
    assert client.post("/v1/replay", content=preview, headers=PNG).status_code == 422


def test_two_pictures_are_refused(client: TestClient, picture: bytes) -> None:
    files = [("image", ("x.png", picture)), ("image", ("y.png", picture))]
    assert client.post("/v1/replay", files=files).status_code == 422


def test_receipt_outlives_every_damage_to_its_picture(client: TestClient, picture: bytes) -> None:
    for position in range(0, len(picture), 3):
        damaged = picture[:position] + bytes([picture[position] ^ 0x55]) + picture[position + 1 :]
        assert client.post("/v1/replay", content=damaged, headers=PNG).status_code in (400, 409, 415, 422)
        assert client.post("/v1/replay", content=picture[:position], headers=PNG).status_code in (400, 409, 415, 422)
