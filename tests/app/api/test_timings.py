"""Every answer of a model says where its time went."""

from __future__ import annotations

import base64
import io
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

STAGES = re.compile(r"queue;dur=\d+\.\d\d, run;dur=\d+\.\d\d, encode;dur=\d+\.\d\d")


def picture() -> str:
    """A grey PNG, base64."""
    file = io.BytesIO()
    Image.new("L", (8, 8), 128).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


SEED, PICTURES = {"seed": 7}, {"images": [picture()]}
IMAGE = {"name": "image", "shape": [1, 3, 8, 8], "datatype": "FP32", "data": [0.0] * 192}

CALLS: dict[str, Any] = {
    "/v1/models/tiny_vae/sample": SEED,
    "/v1/models/tiny_vae/decode": {"latents": [[0.0, 1.0]]},
    "/v1/models/tiny_vae/interpolate": {"points": [SEED, {"seed": 8}], "steps": 3},
    "/v1/models/tiny_vae/arithmetic": {"terms": [{"weight": 1.0, "point": SEED}]},
    "/v1/models/tiny_vae/traverse": {"point": SEED, "dimensions": [0], "steps": 3},
    "/v1/models/tiny_vae/encode": PICTURES,
    "/v1/models/tiny_vae/reconstruct": PICTURES,
    "/v1/models/tiny_vae/score": PICTURES,
    "/v1/models/tiny_gan/realism": PICTURES,
    "/v1/models/tiny_labelled/classify": PICTURES,
    "/v1/images/generations": {"model": "tiny_vae", "prompt": ""},
    "/v2/models/tiny_gan.image_to_realism/infer": {"inputs": [IMAGE]},
}


@pytest.mark.parametrize(("address", "body"), CALLS.items(), ids=CALLS.keys())
def test_answer_states_the_time_of_its_stages(client: TestClient, address: str, body: dict[str, Any]) -> None:
    answer = client.post(address, json=body)
    assert answer.status_code == 200, answer.text
    assert STAGES.fullmatch(answer.headers["server-timing"])


def test_picture_and_its_replay_state_the_time_of_their_stages(client: TestClient) -> None:
    drawn = client.get("/v1/models/tiny_vae/sample.png?seed=7")
    assert STAGES.fullmatch(drawn.headers["server-timing"])
    again = client.post("/v1/replay", content=drawn.content, headers={"Content-Type": "image/png"})
    assert again.status_code == 200, again.text
    assert STAGES.fullmatch(again.headers["server-timing"])


def test_every_operation_on_a_model_is_among_these(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    operations = {path for path, item in paths.items() if "post" in item and path.startswith("/v1/models/")}
    assert operations == {re.sub(r"tiny_\w+", "{model}", path) for path in CALLS if path.startswith("/v1/models/")}
