"""Keys on `/v2`, and loading and unloading models there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import Mount

from app.api.application import create_application
from app.settings import Settings
from tests.app.api.test_keys import line
from tests.app.api.test_open_inference import error_of
from tests.app.tiny_models import tiny_gan, tiny_vae, write_tiny_models, write_version


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 200),
        (b"{}", 200),
        (b'{"ready":true}', 200),
        (b'{"ready":1}', 400),
        (b'{"ready":"true"}', 400),
        (b"[", 400),
    ],
)
def test_index_takes_a_real_boolean_or_nothing(client: TestClient, body: bytes, status: int) -> None:
    response = client.post("/v2/repository/index", content=body)
    assert response.status_code == status
    assert isinstance(response.json(), list if status == 200 else dict)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository that a test may change."""
    write_tiny_models(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def guarded(root: Path, tmp_path: Path) -> Iterator[TestClient]:
    """A service with callers' keys and an administrator's."""
    (tmp_path / "keys").write_text(line("ann", "s3cret"))
    (tmp_path / "admins").write_text(line("root", "t0p"))
    settings = Settings(models_dir=root, api_keys_file=tmp_path / "keys", admin_keys_file=tmp_path / "admins")
    with TestClient(create_application(settings)) as found:
        yield found


CALLER = {"Authorization": "Bearer s3cret"}
ADMIN = {"Authorization": "Bearer t0p"}


def test_keys_guard_the_protocol_but_not_its_health(guarded: TestClient) -> None:
    refused = guarded.get("/v2")
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")
    error_of(refused)
    assert guarded.get("/v2", headers=CALLER).status_code == 200
    assert guarded.get("/v2/health/live").status_code == 200
    assert guarded.get("/v2/health/ready").status_code == 200


def test_index_is_for_callers_and_unloading_for_administrators(guarded: TestClient) -> None:
    unload = "/v2/repository/models/tiny_gan.latent_to_image/unload"
    assert guarded.post("/v2/repository/index", headers=CALLER).status_code == 200
    assert guarded.post(unload, headers=CALLER).status_code == 403
    assert guarded.post(unload, headers=ADMIN).status_code == 200


def test_unloaded_model_is_gone_everywhere_until_it_is_loaded(guarded: TestClient) -> None:
    control = "/v2/repository/models/tiny_gan.image_to_realism"
    assert guarded.post(f"{control}/unload", headers=ADMIN, json={}).status_code == 200
    sample = guarded.post("/v1/models/tiny_gan/sample", json={}, headers=CALLER)
    assert (sample.status_code, sample.json()["code"]) == (503, "model-unavailable")
    states = {
        entry["name"]: (entry["state"], entry["reason"])
        for entry in guarded.post("/v2/repository/index", headers=CALLER).json()
    }
    assert states["tiny_gan.latent_to_image"] == ("UNAVAILABLE", "unloaded")
    assert states["tiny_vae.latent_to_image"] == ("READY", "")
    served = guarded.post("/v2/repository/index", headers=CALLER, json={"ready": True}).json()
    assert {entry["name"].partition(".")[0] for entry in served} == {"tiny_vae"}
    assert guarded.post("/v2/repository/models/tiny_gan/load", headers=ADMIN).status_code == 200
    assert guarded.post("/v1/models/tiny_gan/sample", json={}, headers=CALLER).status_code == 200


def test_unloaded_model_stays_away_when_it_is_published_again(guarded: TestClient, root: Path) -> None:
    assert guarded.post("/v2/repository/models/tiny_gan/unload", headers=ADMIN).status_code == 200
    write_version(root, tiny_gan(seed=3), version=2)
    assert guarded.portal is not None
    guarded.portal.call(guarded.app.state.service.repository.refresh)  # type: ignore[attr-defined]
    assert guarded.get("/v2/models/tiny_gan.latent_to_image/ready", headers=CALLER).status_code == 503
    assert guarded.post("/v2/repository/models/tiny_gan/load", headers=ADMIN).status_code == 200
    found = guarded.get("/v2/models/tiny_gan.latent_to_image", headers=CALLER).json()
    assert found["versions"] == ["1", "2"]


def test_loading_finds_what_was_just_published(guarded: TestClient, root: Path) -> None:
    write_version(root, tiny_vae("brand_new"))
    assert guarded.post("/v2/repository/models/brand_new/load", headers=ADMIN).status_code == 200
    assert guarded.get("/v2/models/brand_new.latent_to_image/ready", headers=CALLER).status_code == 200


def test_loading_a_bad_version_is_refused_while_the_good_one_serves(guarded: TestClient, root: Path) -> None:
    folder = write_version(root, tiny_gan(seed=3), version=2)
    (folder / "latent_to_image.onnx").write_bytes(b"broken")
    response = guarded.post("/v2/repository/models/tiny_gan/load", headers=ADMIN)
    assert (response.status_code, "version 2" in error_of(response)) == (400, True)
    assert str(root) not in response.text
    assert guarded.get("/v2/models/tiny_gan.latent_to_image/versions/1/ready", headers=CALLER).status_code == 200


@pytest.mark.parametrize("name", ["nope", "nope.latent_to_image", "tiny_gan.image_to_latent", "tiny_gan.x", "..%2fx"])
@pytest.mark.parametrize("call", ["load", "unload"])
def test_unknown_names_are_neither_loaded_nor_unloaded(guarded: TestClient, name: str, call: str) -> None:
    response = guarded.post(f"/v2/repository/models/{name}/{call}", headers=ADMIN)
    assert response.status_code == 404
    assert guarded.get("/v2/models/tiny_gan.latent_to_image/ready", headers=CALLER).status_code == 200


@pytest.mark.parametrize("parameters", [{"config": "{}"}, {"file:1/model.onnx": "AAAA"}])
def test_loading_with_files_of_the_call_is_not_supported(guarded: TestClient, parameters: dict[str, str]) -> None:
    body = {"parameters": parameters}
    response = guarded.post("/v2/repository/models/tiny_gan/load", headers=ADMIN, json=body)
    assert response.status_code == 501
    error_of(response)


def test_one_of_several_workers_is_not_told_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "admins").write_text(line("root", "t0p"))
    settings = Settings(models_dir=root, admin_keys_file=tmp_path / "admins", workers=2)
    with TestClient(create_application(settings)) as client:
        response = client.post("/v2/repository/models/tiny_gan/unload", headers=ADMIN)
        assert response.status_code == 501
        assert client.get("/v2/models/tiny_gan.latent_to_image/ready").status_code == 200


def test_failed_version_stands_in_the_index_with_its_reason(root: Path) -> None:
    folder = write_version(root, tiny_vae("broken"))
    (folder / "manifest.json").write_text("{")
    with TestClient(create_application(Settings(models_dir=root))) as client:
        (entry,) = [found for found in client.post("/v2/repository/index").json() if found["name"] == "broken"]
        assert entry["state"] == "UNAVAILABLE"
        assert "manifest.json" in entry["reason"]
        assert client.get("/v2/models/broken.latent_to_image/ready").status_code == 503


def test_no_model_is_not_ready(tmp_path: Path) -> None:
    with TestClient(create_application(Settings(models_dir=tmp_path))) as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        response = client.get("/v2/health/ready")
        assert (response.status_code, response.json()) == (503, {"ready": False})


def test_mounted_application_keeps_its_forms_and_its_keys(root: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(line("ann", "s3cret"))
    inner = create_application(Settings(models_dir=root, api_keys_file=tmp_path / "keys"))
    outer = Starlette(routes=[Mount("/prefix", inner)], lifespan=lambda _: inner.router.lifespan_context(inner))
    with TestClient(outer) as client:
        assert error_of(client.get("/prefix/v2"))
        assert client.get("/prefix/v2", headers=CALLER).status_code == 200
        assert client.get("/prefix/v1/models").json()["code"] == "unauthorized"
