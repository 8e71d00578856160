"""`/v1/images/generations` below the client: what is answered, and the form of every error there."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydantic import TypeAdapter

from app.api.application import create_application
from app.api.openai_images import ErrorAnswer, ImagesAnswer
from app.settings import Settings
from tests.app.api.test_keys import line

ADDRESS = "/v1/images/generations"


def generate(client: TestClient, **wish: Any) -> dict[str, Any]:
    response = client.post(ADDRESS, json={"model": "tiny_gan", "prompt": "a cat"} | wish)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    TypeAdapter(ImagesAnswer).validate_python(found)
    return found


def files(answer: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(image["b64_json"]) for image in answer["data"]]


def pixels(file: bytes) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert("RGB"))


def test_images_are_those_of_sample(client: TestClient) -> None:
    sampled = client.post("/v1/models/tiny_gan/sample", json={"seed": 7, "count": 3}).json()["images"]
    answer = generate(client, n=3, seed=7)
    assert files(answer) == [base64.b64decode(image["png"]) for image in sampled]
    assert (answer["model"], answer["version"], answer["seed"], answer["size"]) == ("tiny_gan", 1, 7, "8x8")


def test_addresses_lead_to_the_same_bytes(client: TestClient) -> None:
    answer = generate(client, n=3, response_format="url")
    again = files(generate(client, n=3, seed=answer["seed"]))
    assert [client.get(image["url"]).content for image in answer["data"]] == again
    assert client.get(answer["data"][1]["url"]).headers["cache-control"].endswith("immutable")


def test_webp_holds_the_same_pixels(client: TestClient) -> None:
    (png,), (webp,) = files(generate(client, seed=7)), files(generate(client, seed=7, output_format="webp"))
    assert webp[8:12] == b"WEBP"
    np.testing.assert_array_equal(pixels(webp), pixels(png))


@pytest.mark.parametrize("size", [None, "auto", "8x8"])
def test_size_of_the_model_is_accepted(client: TestClient, size: str | None) -> None:
    assert pixels(files(generate(client, size=size))[0]).shape == (8, 8, 3)


def test_what_has_no_effect_is_said(client: TestClient) -> None:
    assert "prompt" in generate(client)["warning"]
    assert "quality, style" in generate(client, quality="hd", style="vivid")["warning"]


@pytest.mark.parametrize(
    ("change", "status", "code", "param"),
    [
        ({"model": "nope"}, 404, "model_not_found", None),
        ({"model": 7}, 400, "invalid_input", "model"),
        ({"n": 0}, 400, "invalid_input", "n"),
        ({"n": 257}, 400, "invalid_input", "n"),
        ({"n": "3"}, 400, "invalid_input", "n"),
        ({"size": "1024x1024"}, 400, "invalid_input", "size"),
        ({"size": "huge"}, 400, "invalid_input", "size"),
        ({"response_format": "jpeg"}, 400, "invalid_input", "response_format"),
        ({"output_format": "jpeg"}, 400, "invalid_input", "output_format"),
        ({"output_format": "webp", "response_format": "url"}, 400, "invalid_input", "output_format"),
        ({"seed": -1}, 400, "invalid_input", "seed"),
        ({"stream": True}, 400, "invalid_input", "stream"),
        ({"surprise": 1}, 400, "invalid_input", "surprise"),
        ({"prompt": "x" * 32001}, 400, "invalid_input", "prompt"),
    ],
)
def test_error_is_an_object_that_names_the_field(
    client: TestClient, change: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    response = client.post(ADDRESS, json={"model": "tiny_gan", "prompt": ""} | change)
    assert response.status_code == status
    error = response.json()["error"]
    TypeAdapter(ErrorAnswer).validate_python(response.json())
    assert (error["code"], error["param"], error["type"]) == (code, param, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "body", "media_type", "status"),
    [
        ("GET", b"", "application/json", 405),
        ("POST", b"", "application/json", 400),
        ("POST", b"{", "application/json", 400),
        ("POST", b"[" * 100_000, "application/json", 400),
        ("POST", b'{"model":"a","model":"b"}', "application/json", 400),
        ("POST", b"{}", "text/plain", 415),
        ("POST", b" " * (2**24 + 1), "application/json", 413),
    ],
)
def test_every_error_has_the_form(client: TestClient, method: str, body: bytes, media_type: str, status: int) -> None:
    response = client.request(method, ADDRESS, content=body, headers={"Content-Type": media_type})
    assert response.status_code == status
    TypeAdapter(ErrorAnswer).validate_python(response.json())


def test_other_addresses_keep_problems(client: TestClient) -> None:
    for address in (f"{ADDRESS}/", "/v1/images", "/v1/models/nope"):
        assert client.get(address).headers["content-type"] == "application/problem+json"


def test_missing_key_has_the_form(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(line("ann", "s3cret"))
    with TestClient(create_application(Settings(models_dir=models_dir, api_keys_file=tmp_path / "keys"))) as client:
        refused = client.post(ADDRESS, json={"model": "tiny_gan"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "unauthorized")
        allowed = client.post(ADDRESS, json={"model": "tiny_gan"}, headers={"Authorization": "Bearer s3cret"})
        assert allowed.status_code == 200


def test_openapi_examples_are_answered(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"][ADDRESS]["post"]
    for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
        TypeAdapter(ImagesAnswer).validate_python(client.post(ADDRESS, json=example["value"]).json())
    for status, answer in operation["responses"].items():
        assert status < "4" or answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer")
