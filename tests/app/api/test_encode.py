"""`encode` and `reconstruct` against the linear-Gaussian model's posterior, in every form that pictures arrive in."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.app.tiny_models import LinearGaussian

PICTURES = np.random.default_rng(3).integers(0, 256, (3, 8, 8), np.uint8)


def file_of(picture: np.ndarray[Any, Any], kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, **options)
    return buffer.getvalue()


def npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


FILES = [file_of(picture) for picture in PICTURES]
TEXTS = [base64.b64encode(data).decode() for data in FILES]
POSTERIOR_MEANS = LinearGaussian().posterior_mean(PICTURES.reshape(3, 64) / 255)

FORMS: dict[str, dict[str, Any]] = {
    "json": {"json": {"images": TEXTS}},
    "data-url": {"json": {"images": [f"data:image/png;base64,{text}" for text in TEXTS]}},
    "form": {"files": [("image", (f"{i}.png", data, "image/png")) for i, data in enumerate(FILES)]},
    "form-untyped": {"files": [("image", ("../../x", data, "application/octet-stream")) for data in FILES]},
    "npy": {"content": npy(PICTURES), "headers": {"Content-Type": "application/x-npy"}},
    "npy-with-channels": {"content": npy(PICTURES[..., None]), "headers": {"Content-Type": "application/x-npy"}},
}


def encode(client: TestClient, query: str = "", **body: Any) -> dict[str, Any]:
    response = client.post(f"/v1/models/tiny_vae/encode{query}", **body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize("form", FORMS)
def test_encode_gives_the_posterior_whatever_the_form(client: TestClient, form: str) -> None:
    latents = encode(client, **FORMS[form])["latents"]
    np.testing.assert_allclose([latent["mean"] for latent in latents], POSTERIOR_MEANS, atol=1e-5)
    np.testing.assert_allclose([latent["scale"] for latent in latents], LinearGaussian().posterior_sigma, rtol=1e-6)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 100})])
def test_encode_reads_a_raw_file(client: TestClient, kind: str, options: dict[str, Any]) -> None:
    data = file_of(PICTURES[0], kind, **options)
    found = encode(client, content=data, headers={"Content-Type": f"image/{kind.lower()}"})
    np.testing.assert_allclose(found["latents"][0]["mean"], POSTERIOR_MEANS[0], atol=0.02)


@pytest.mark.parametrize("shape", [(13, 9, 1), (8, 8, 3), (20, 20, 3)])
def test_array_of_another_size_is_fitted_as_a_file_is(client: TestClient, shape: tuple[int, int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    array = encode(client, content=npy(picture[None]), headers={"Content-Type": "application/x-npy"})
    file = encode(client, content=file_of(picture.squeeze()), headers={"Content-Type": "image/png"})
    assert array["latents"] == file["latents"]


def test_encode_ignores_how_a_picture_was_held(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = file_of(np.rot90(PICTURES[0]).copy(), exif=exif.tobytes())
    assert (
        encode(client, files={"image": ("a", turned)})["latents"]
        == encode(client, files={"image": ("a", FILES[0])})["latents"]
    )


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("?draws=3&seed=5", {"json": {"images": TEXTS}}),
        ("", {"json": {"images": TEXTS, "draws": 3, "seed": 5}}),
        ("?seed=5", {"files": FORMS["form"]["files"], "data": {"draws": "3"}}),
    ],
    ids=["address", "body", "form"],
)
def test_draws_are_asked_for_in_the_address_or_the_body(client: TestClient, query: str, body: dict[str, Any]) -> None:
    found = encode(client, query, **body)
    one = encode(client, "?draws=1&seed=5", json={"images": TEXTS[:1]})
    assert found["seed"] == 5
    assert [len(latent["draws"]) for latent in found["latents"]] == [3, 3, 3]
    assert found["latents"][0]["draws"][:1] == one["latents"][0]["draws"]


def test_option_in_both_places_is_refused(client: TestClient) -> None:
    body = {"images": TEXTS[:1], "draws": 1}
    assert client.post("/v1/models/tiny_vae/encode?draws=1", json=body).status_code == 422


def test_reconstruct_states_the_error_of_each_pixel(client: TestClient) -> None:
    response = client.post("/v1/models/tiny_vae/reconstruct", json={"images": TEXTS})
    for picture, image in zip(PICTURES, response.json()["images"], strict=True):
        with Image.open(io.BytesIO(base64.b64decode(image["png"]))) as made:
            difference = (picture / 255.0 - np.asarray(made) / 255.0) ** 2
        assert image["mse"] == pytest.approx(difference.mean(), rel=1e-5)


def test_one_bad_picture_is_named_and_nothing_is_answered(client: TestClient) -> None:
    files = [("image", ("a.png", FILES[0], "image/png")), ("image", ("b.png", FILES[1][:60], "image/png"))]
    response = client.post("/v1/models/tiny_vae/encode", files=files)
    assert (response.status_code, response.json()["code"]) == (422, "corrupt-image")
    assert [error["index"] for error in response.json()["errors"]] == [1]
