"""The whole service in a test of yours: the README's example."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_application
from app.settings import Settings


def test_client_has_the_whole_service_on_models_of_its_own(models_dir: Path) -> None:
    with TestClient(create_application(Settings(models_dir=models_dir))) as client:
        drawn = client.post("/v1/models/tiny_gan/sample", json={"count": 2, "seed": 7}).json()["images"]
        again = client.post("/v1/models/tiny_gan/decode", json={"latents": [image["latent"] for image in drawn]})
        assert len(again.json()["images"]) == 2


def test_application_reads_the_environment_when_it_is_given_no_settings(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTSERVE_MODELS_DIR", str(models_dir))
    with TestClient(create_application()) as client:
        assert client.get("/readyz").status_code == 200


def test_applications_share_nothing(models_dir: Path) -> None:
    settings = Settings(models_dir=models_dir)
    with TestClient(create_application(settings)) as one, TestClient(create_application(settings)) as other:
        one.post("/v1/models/tiny_gan/sample", json={})
        assert 'route="/v1/models/{model}/sample"' in one.get("/metrics").text
        assert 'route="/v1/models/{model}/sample"' not in other.get("/metrics").text
