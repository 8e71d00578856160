"""The unmodified `openai` client against the service as a process."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator

import httpx2
import openai
import pytest

from tests.app.tiny_models import write_tiny_models
from tests.service.test_process import Process


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service that asks for keys."""
    root = tmp_path_factory.mktemp("repository")
    write_tiny_models(root)
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"ann:{hashlib.sha256(b's3cret').hexdigest()}\n")
    with Process(root, API_KEYS_FILE=str(keys)) as process:
        yield process.address


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    """The client, as its documentation makes it."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="s3cret") as found:
        yield found


def test_images_come_as_base64(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="tiny_gan", prompt="a cat", n=2, size="auto", extra_body={"seed": 7})
    assert answer.data is not None
    assert answer.output_format == "png"
    images = [base64.b64decode(image.b64_json or "") for image in answer.data]
    assert len(set(images)) == 2
    assert all(image.startswith(b"\x89PNG") for image in images)
    again = client.images.generate(model="tiny_gan", prompt="a dog", n=2, extra_body={"seed": 7})
    assert again.data == answer.data
    assert "prompt" in (answer.model_extra or {})["warning"]


def test_images_come_as_addresses(client: openai.OpenAI) -> None:
    wish = {"model": "tiny_vae", "prompt": "", "n": 2}
    answer = client.images.generate(**wish, response_format="url", extra_body={"seed": 7})
    same = client.images.generate(**wish, response_format="b64_json", extra_body={"seed": 7})
    assert answer.data is not None
    assert same.data is not None
    for image, expected in zip(answer.data, same.data, strict=True):
        fetched = httpx2.get(image.url or "", headers={"Authorization": "Bearer s3cret"})
        assert fetched.content == base64.b64decode(expected.b64_json or "")


def test_webp_and_the_size_of_the_model(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="tiny_gan@1", prompt="", output_format="webp", size="8x8", quality="hd")
    assert answer.data is not None
    assert base64.b64decode(answer.data[0].b64_json or "")[8:12] == b"WEBP"
    assert "quality" in (answer.model_extra or {})["warning"]


def test_errors_are_the_clients_own(client: openai.OpenAI, address: str) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.images.generate(model="nope", prompt="")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as wrong:
        client.images.generate(model="tiny_gan", prompt="", size="1024x1024")
    assert (wrong.value.param, wrong.value.type) == ("size", "invalid_request_error")
    with pytest.raises(openai.BadRequestError):
        client.images.generate(model="tiny_gan", prompt="", stream=True)
    stranger = openai.OpenAI(base_url=f"{address}/v1", api_key="wrong")
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.images.generate(model="tiny_gan", prompt="")


def test_asynchronous_client_is_answered_too(address: str) -> None:
    async def generate() -> int:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="s3cret") as client:
            answers = await asyncio.gather(
                *(client.images.generate(model="tiny_gan", prompt="", n=count) for count in (1, 2, 3))
            )
        return sum(len(answer.data or ()) for answer in answers)

    assert asyncio.run(generate()) == 6
