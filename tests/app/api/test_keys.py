"""The keys file: who holds which key, and what happens when it changes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_application
from app.api.keys import KeyFile, parse_keys
from app.settings import Settings


def line(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}\n"


def test_key_file_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("# who may call\n\n" + line("ann", "s3cret") + line("bob", "other"))
    keys = KeyFile(path)
    assert (keys.holder("s3cret"), keys.holder("other"), keys.holder("S3cret"), keys.holder("")) == (
        "ann",
        "bob",
        None,
        None,
    )


def test_key_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(line("ann", "old"))
    keys = KeyFile(path)
    path.write_text(line("ann", "new") + line("bob", "more"))
    assert (keys.holder("old"), keys.holder("new")) == (None, "ann")


@pytest.mark.parametrize("fault", ["half a line", None], ids=["malformed", "gone"])
def test_keys_stay_when_the_file_cannot_be_read_again(tmp_path: Path, fault: str | None) -> None:
    path = tmp_path / "keys"
    path.write_text(line("ann", "s3cret"))
    keys = KeyFile(path)
    path.unlink() if fault is None else path.write_text(fault)
    assert keys.holder("s3cret") == "ann"


def test_malformed_line_is_named_without_its_content() -> None:
    with pytest.raises(ValueError, match=r"^line 2 is not name:sha256hex$"):
        parse_keys(line("ann", "a") + "bob:plaintext-key")


def test_missing_key_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        create_application(Settings(models_dir=tmp_path, api_keys_file=tmp_path / "absent"))


@pytest.fixture
def guarded(models_dir: Path, tmp_path: Path) -> TestClient:
    """A client of a service that asks for keys."""
    (tmp_path / "keys").write_text(line("ann", "s3cret"))
    (tmp_path / "admins").write_text(line("root", "t0p"))
    settings = Settings(models_dir=models_dir, api_keys_file=tmp_path / "keys", admin_keys_file=tmp_path / "admins")
    return TestClient(create_application(settings))


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic s3cret", "Bearer", "Bearer \xe9", "s3cret"])
def test_call_without_a_known_key_is_refused(guarded: TestClient, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    with guarded:
        response = guarded.get("/v1/models", headers=headers)
    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("authorization", ["Bearer s3cret", "bearer s3cret", "Bearer t0p"])
def test_call_with_a_known_key_is_answered(guarded: TestClient, authorization: str) -> None:
    with guarded:
        response = guarded.get("/v1/models/tiny_vae@1/sample.png?seed=1", headers={"Authorization": authorization})
    assert response.status_code == 200
    assert response.headers["cache-control"].startswith("private")


@pytest.mark.parametrize("address", ["/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/problems/overloaded"])
def test_health_and_documentation_need_no_key(guarded: TestClient, address: str) -> None:
    with guarded:
        assert guarded.get(address).status_code == 200
