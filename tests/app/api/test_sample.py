"""`sample`: the same bytes for the same seed and index, whatever surrounds them."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.latent.noise import standard_normal
from app.runtime.session import RUNTIME


def draw(client: TestClient, model: str = "tiny_gan", **wish: Any) -> dict[str, Any]:
    response = client.post(f"/v1/models/{model}/sample", json=wish)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def receipt(png: bytes) -> dict[str, Any]:
    with Image.open(io.BytesIO(png)) as image:
        found: dict[str, Any] = json.loads(image.text["latentserve"])  # type: ignore[attr-defined]
    return found


def test_sample_gives_the_bytes_of_seed_and_index_at_any_count(client: TestClient) -> None:
    many = draw(client, seed=7, count=64)["images"]
    for count in (1, 3):
        assert draw(client, seed=7, count=count)["images"] == many[:count]


def test_sample_latents_are_the_noise_of_the_seed(client: TestClient) -> None:
    images = draw(client, seed=2**63 - 1, count=3, temperature=0.5)["images"]
    expected = standard_normal(2**63 - 1, range(3), 4) * np.float32(0.5)
    np.testing.assert_array_equal(np.array([image["latent"] for image in images], np.float32), expected)


def test_sample_without_a_seed_returns_one_that_gives_the_same_again(client: TestClient) -> None:
    response = client.post("/v1/models/tiny_gan/sample", json={"count": 2})
    first = response.json()
    assert first["seed"] < 2**53
    assert response.headers["x-seed"] == str(first["seed"])
    assert draw(client, seed=first["seed"], count=2)["images"] == first["images"]


def test_sample_at_temperature_zero_is_the_image_of_the_origin(client: TestClient) -> None:
    (image,) = draw(client, temperature=0)["images"]
    decoded = client.post("/v1/models/tiny_gan/decode?format=npy", json={"latents": [[0, 0, 0, 0]]})
    np.testing.assert_array_equal(pixels(image["png"]), np.load(io.BytesIO(decoded.content))[0])


def pixels(text: str) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image)


def test_sample_truncation_bounds_the_latents(client: TestClient) -> None:
    images = draw(client, seed=1, count=32, truncation=0.5)["images"]
    assert max(abs(number) for image in images for number in image["latent"]) <= 0.5


def test_sample_states_its_model_request_and_timings(client: TestClient) -> None:
    response = client.post("/v1/models/tiny_vae/sample", json={}, headers={"X-Request-ID": "my-id"})
    assert response.headers["x-model"] == "tiny_vae@1"
    assert response.headers["x-request-id"] == "my-id"
    assert [stage.split(";")[0] for stage in response.headers["server-timing"].split(", ")] == [
        "queue",
        "run",
        "encode",
    ]


def test_png_carries_a_receipt_of_what_made_it(client: TestClient) -> None:
    graph = client.get("/v1/models/tiny_vae").json()["manifest"]["graphs"][0]
    image = draw(client, "tiny_vae", seed=7, count=3, temperature=0.9)["images"][2]
    assert receipt(base64.b64decode(image["png"])) == {
        "model": "tiny_vae",
        "version": 1,
        "graph_sha256": graph["sha256"],
        "runtime": RUNTIME,
        "operation": "sample",
        "seed": 7,
        "index": 2,
        "temperature": 0.9,
        "truncation": None,
    }


def test_contact_sheet_receipt_lists_its_images(client: TestClient) -> None:
    sheet = receipt(client.get("/v1/models/tiny_vae/sample.png?seed=7&count=4").content)
    assert [image["index"] for image in sheet["images"]] == [0, 1, 2, 3]
    assert sheet["columns"] == 2


def test_sample_as_an_address_is_the_picture_of_the_post(client: TestClient) -> None:
    (image,) = draw(client, "tiny_vae", seed=7)["images"]
    assert client.get("/v1/models/tiny_vae/sample.png?seed=7").content == base64.b64decode(image["png"])


@pytest.mark.parametrize(
    ("address", "caching"),
    [
        ("tiny_vae@1/sample.png?seed=7", "public, max-age=31536000, immutable"),
        ("tiny_vae/sample.png?seed=7", "public, no-cache"),
        ("tiny_vae@1/sample.png", "no-store"),
    ],
)
def test_address_is_immutable_only_with_seed_and_version(client: TestClient, address: str, caching: str) -> None:
    assert client.get(f"/v1/models/{address}").headers["cache-control"] == caching


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_address_answers_304_to_its_own_etag(client: TestClient, form: str) -> None:
    address = "/v1/models/tiny_vae@1/sample.png?seed=7&count=4"
    first = client.get(address)
    again = client.get(address, headers={"If-None-Match": form.format(first.headers["etag"])})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert not first.headers["etag"].startswith("W/")


def test_address_answers_200_to_another_etag(client: TestClient) -> None:
    assert client.get("/v1/models/tiny_vae/sample.png?seed=7", headers={"If-None-Match": '"no"'}).status_code == 200
