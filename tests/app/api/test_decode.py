"""`decode` against the linear decoder's own formula."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.app.tiny_models import LinearGaussian

LATENTS = np.array([[0, 0], [1, -0.5], [-1.25, 0.75]], np.float32)


def expected(latents: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """W z + b as 8 bits, rounded half up."""
    flat = np.clip(latents.astype(np.float64) @ LinearGaussian().weights.T + 0.5, 0, 1)
    return np.floor(flat * 255 + 0.5).astype(np.uint8).reshape(-1, 8, 8, 1)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"latents": LATENTS.tolist()}},
        {"content": npy(LATENTS), "headers": {"Content-Type": "application/x-npy"}},
        {"content": LATENTS.tobytes(), "headers": {"Content-Type": "application/octet-stream"}},
    ],
    ids=["json", "npy", "raw"],
)
def test_decode_reads_latents_in_every_form(client: TestClient, body: dict[str, Any]) -> None:
    response = client.post("/v1/models/tiny_vae/decode?format=npy", **body)
    assert response.status_code == 200, response.text
    images = np.load(io.BytesIO(response.content))
    assert np.abs(images.astype(int) - expected(LATENTS)).max() <= 1  # float32 against float64 at a rounding edge


def test_decode_answers_raw_bytes_with_their_shape(client: TestClient) -> None:
    response = client.post("/v1/models/tiny_vae/decode?format=raw", json={"latents": LATENTS.tolist()})
    assert (response.headers["x-shape"], response.headers["x-dtype"]) == ("3,8,8,1", "uint8")
    assert len(response.content) == 3 * 64


def test_decode_returns_the_latents_it_was_given(client: TestClient) -> None:
    latents = [[0.1, -1e-30], [123.456, 1000]]
    images = client.post("/v1/models/tiny_vae/decode", json={"latents": latents}).json()["images"]
    assert [image["latent"] for image in images] == latents
