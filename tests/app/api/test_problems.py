"""What the runtime raises becomes the answer that the contract names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from onnx import helper

from app.api.application import create_application
from app.errors import LatentServeError, Overloaded, ShuttingDown
from app.runtime.model import GenerativeModel
from app.settings import Settings
from tests.app.tiny_models import graph, tiny_gan, tiny_vae, with_graph, write_version


@pytest.mark.parametrize(
    ("error", "status", "retry"), [(Overloaded("full", retry_after_s=3), 503, "3"), (ShuttingDown("closing"), 503, "1")]
)
def test_load_is_answered_with_when_to_come_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, error: LatentServeError, status: int, retry: str
) -> None:
    async def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(GenerativeModel, "sample", refuse)
    response = client.post("/v1/models/tiny_vae/sample", json={})
    assert (response.status_code, response.json()["code"]) == (status, error.code)
    assert response.headers["retry-after"] == retry


def test_passed_deadline_is_504(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.app.state.service, "deadline_s", 0.0)  # type: ignore[attr-defined]
    response = client.post("/v1/models/tiny_vae/sample", json={})
    assert (response.status_code, response.json()["code"]) == (504, "deadline-exceeded")


def test_output_that_is_not_finite_is_an_error_and_never_a_number(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Add", ["latent", "ten"], ["shifted"]),
        helper.make_node("Log", ["shifted"], ["logs"]),
        helper.make_node("MatMul", ["logs", "W"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["image"]),
    ]
    constants = {"ten": np.array([10.0]), "W": np.ones((2, 64)), "shape": np.array([-1, 1, 8, 8])}
    decoder = graph(nodes, {"latent": ["batch", 2]}, {"image": ["batch", 1, 8, 8]}, constants)
    write_version(tmp_path, with_graph(tiny_vae(), "latent_to_image", decoder))
    with TestClient(create_application(Settings(models_dir=tmp_path))) as client:
        bad = client.post("/v1/models/tiny_vae/decode", json={"latents": [[0, 0], [-20, 0]]})
        assert (bad.status_code, bad.json()["code"]) == (500, "model-output-invalid")
        assert client.post("/v1/models/tiny_vae/decode", json={"latents": [[0, 0]]}).status_code == 200
        assert 'latentserve_rejected_total{reason="model-output-invalid"} 1.0' in client.get("/metrics").text


def test_answer_over_the_pixel_budget_is_refused_with_the_limit(tmp_path: Path) -> None:
    write_version(tmp_path, tiny_gan())
    with TestClient(create_application(Settings(models_dir=tmp_path, max_image_pixels=640))) as client:
        response = client.post("/v1/models/tiny_gan/sample", json={"count": 11})
        assert (response.status_code, response.json()["errors"][0]["limit"]) == (422, 10)
        assert client.post("/v1/models/tiny_gan/sample", json={"count": 10}).status_code == 200
