"""`interpolate` and `traverse`: how many frames, which latents, and the shapes they travel in."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

CORNERS = [{"latent": [1.0, 0.0]}, {"latent": [0.0, 1.0]}, {"latent": [-1.0, 0.0]}]


def walk(client: TestClient, **wish: Any) -> dict[str, Any]:
    response = client.post("/v1/models/tiny_vae/interpolate", json=wish)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize(("points", "steps", "loop", "frames"), [(2, 2, False, 2), (3, 5, False, 9), (3, 5, True, 12)])
def test_interpolate_counts_frames_as_promised(
    client: TestClient, points: int, steps: int, loop: bool, frames: int
) -> None:
    assert len(walk(client, points=CORNERS[:points], steps=steps, loop=loop)["images"]) == frames


def test_interpolate_goes_along_the_arc_under_a_normal_prior(client: TestClient) -> None:
    found = walk(client, points=CORNERS[:2], steps=3)
    assert found["path"] == "spherical"
    np.testing.assert_allclose(found["images"][1]["latent"], [0.5**0.5, 0.5**0.5], rtol=1e-6)


def test_interpolate_goes_straight_when_told(client: TestClient) -> None:
    found = walk(client, points=CORNERS[:2], steps=3, path="linear")
    np.testing.assert_allclose([image["latent"] for image in found["images"]], [[1, 0], [0.5, 0.5], [0, 1]], rtol=1e-6)


@pytest.mark.parametrize("end", [[0.0, 0.0], [1.0, 1.0], [-1.0, -1.0]], ids=["origin", "same", "opposite"])
def test_degenerate_arc_falls_back_to_the_straight_line(client: TestClient, end: list[float]) -> None:
    points = [{"latent": [1.0, 1.0]}, {"latent": end}]
    latents = [image["latent"] for image in walk(client, points=points, steps=3, path="spherical")["images"]]
    np.testing.assert_allclose(latents[1], (np.array([1.0, 1.0]) + end) / 2, atol=1e-6)


@pytest.mark.parametrize(("form", "kind"), [("gif", "GIF"), ("webp", "WEBP"), ("apng", "PNG")])
def test_walk_is_animated(client: TestClient, form: str, kind: str) -> None:
    wish = {"points": CORNERS, "steps": 4, "loop": True}
    response = client.post(f"/v1/models/tiny_vae/interpolate?format={form}", json=wish)
    with Image.open(io.BytesIO(response.content)) as image:
        assert (image.format, image.n_frames) == (kind, 9)  # type: ignore[attr-defined]


def test_walk_as_png_is_a_sheet(client: TestClient) -> None:
    wish = {"points": CORNERS, "steps": 2}
    response = client.post("/v1/models/tiny_vae/interpolate?format=png&columns=3", json=wish)
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.width > 2 * image.height


def test_traverse_sets_one_dimension_at_a_time(client: TestClient) -> None:
    wish = {"point": {"latent": [0.25, -0.5]}, "dimensions": [1, 0], "extent": 2, "steps": 3}
    images = client.post("/v1/models/tiny_vae/traverse", json=wish).json()["images"]
    found = [(image["dimension"], image["value"], image["latent"]) for image in images]
    assert found == [
        (1, -2, [0.25, -2]), (1, 0, [0.25, 0]), (1, 2, [0.25, 2]),
        (0, -2, [-2, -0.5]), (0, 0, [0, -0.5]), (0, 2, [2, -0.5]),
    ]  # fmt: skip


def test_traverse_sheet_has_a_row_for_each_dimension(client: TestClient) -> None:
    wish = {"point": {"seed": 1}, "dimensions": [0, 1], "steps": 6}
    response = client.post("/v1/models/tiny_vae/traverse?format=png", json=wish)
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.width > 2 * image.height
