"""The pages for people load nothing from elsewhere; health says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_application
from app.api.explorer import Explorer
from app.settings import Settings
from tests.app.tiny_models import tiny_gan, tiny_vae, write_version


@pytest.mark.parametrize("page", ["/", "/docs", "/problems/overloaded"])
def test_page_loads_only_what_is_served_here(client: TestClient, page: str) -> None:
    response = client.get(page, headers={"Accept": "text/html"})
    loaded = re.findall(r'(?:src|href)="([^"]+)"', response.text)
    assert loaded
    assert not [address for address in loaded if "//" in address]
    for address in loaded:
        assert client.get(f"/{address.lstrip('/').replace('&amp;', '&')}").status_code == 200, address
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "<script>" not in response.text


def test_front_page_allows_no_inline_script_and_no_other_origin(client: TestClient) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert not re.search(r"https?:|\*", policy)
    assert not re.search(r"\sstyle=|\son\w+=|<style", page.text)


def test_explorer_s_files_are_kept_for_ever_under_their_digest_and_asked_for_again_without(client: TestClient) -> None:
    pinned = re.findall(r'"(explorer/[0-9a-f]{16}/[^"]+)"', client.get("/").text)
    assert {address.rpartition("/")[2] for address in pinned} >= {"main.js", "latentserve.js", "explorer.css"}
    for address in pinned:
        kept = client.get(f"/{address}")
        again = client.get(f"/explorer/{address.rpartition('/')[2]}", headers={"If-None-Match": kept.headers["etag"]})
        assert "immutable" in kept.headers["cache-control"], address
        assert (again.status_code, again.headers["cache-control"]) == (304, "no-cache"), address
    assert client.get("/explorer/0123456789abcdef/main.js").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["index.html", "nothing.js", "..%2Fsettings.py", "a/b/main.js"])
def test_explorer_serves_nothing_but_its_files(client: TestClient, path: str) -> None:
    assert client.get(f"/explorer/{path}").json()["code"] == "not-found"


def test_explorer_s_digest_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text('<head><script type="module" src="explorer/main.js"></script></head>')
    (tmp_path / "main.js").write_text("1;")
    one = Explorer.read(tmp_path)
    (tmp_path / "main.js").write_text("2;")
    other = Explorer.read(tmp_path)
    assert one.digest != other.digest
    assert f'src="explorer/{other.digest}/main.js"'.encode() in other.page


def test_service_without_models_lives_but_is_not_ready(tmp_path: Path) -> None:
    with TestClient(create_application(Settings(models_dir=tmp_path / "absent"))) as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503
        assert client.get("/v1/models").json() == {"models": []}
        assert client.get("/").status_code == 200


def test_corrupt_model_is_listed_failed_and_the_rest_is_served(tmp_path: Path) -> None:
    write_version(tmp_path, tiny_vae())
    broken = write_version(tmp_path, tiny_gan()) / "latent_to_image.onnx"
    broken.write_bytes(broken.read_bytes()[:-10])
    with TestClient(create_application(Settings(models_dir=tmp_path))) as client:
        listed = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
        assert (listed["tiny_gan"]["status"], listed["tiny_vae"]["status"]) == ("failed", "ready")
        assert str(tmp_path) not in client.get("/v1/models").text
        ready = client.get("/readyz")
        assert (ready.status_code, [failed["name"] for failed in ready.json()["failed"]]) == (200, ["tiny_gan"])
        refused = client.post("/v1/models/tiny_gan/sample", json={})
        assert (refused.status_code, refused.json()["code"]) == (503, "model-unavailable")
        assert client.post("/v1/models/tiny_vae/sample", json={}).status_code == 200


def test_draining_service_is_not_ready_but_answers(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    service.draining = True
    try:
        assert client.get("/readyz").json()["status"] == "draining"
        assert client.get("/readyz").status_code == 503
        assert client.post("/v1/models/tiny_vae/sample", json={}).status_code == 200
    finally:
        service.draining = False


def test_metrics_count_requests_by_template(client: TestClient) -> None:
    client.post("/v1/models/tiny_vae/sample", json={})
    client.get("/somewhere/else")
    numbers = client.get("/metrics").text
    assert 'latentserve_http_requests_total{method="POST",route="/v1/models/{model}/sample",status="200"}' in numbers
    assert 'latentserve_rejected_total{reason="not-found"}' in numbers
    assert 'route="unmatched"' in numbers
    assert 'latentserve_run_seconds_count{graph="tiny_vae@1 latent_to_image"}' in numbers
    assert 'latentserve_model_info{model="tiny_vae",status="ready",version="1"} 1.0' in numbers
    assert "somewhere" not in numbers


def test_catalogue_says_what_each_model_can_do(client: TestClient) -> None:
    listed = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert listed["tiny_vae"]["capabilities"][:3] == ["sample", "decode", "encode"]
    assert listed["tiny_gan"]["latent"] == {"size": 4, "prior": "standard_normal"}
    described = client.get("/v1/models/tiny_vae@1").json()
    assert described["manifest"]["name"] == "tiny_vae"
    assert described["card"].startswith("# tiny_vae")


def test_preview_is_the_publications_file(client: TestClient, models_dir: Path) -> None:
    response = client.get("/v1/models/tiny_vae/preview.png")
    assert response.content == (models_dir / "tiny_vae" / "1" / "preview.png").read_bytes()
    again = client.get("/v1/models/tiny_vae/preview.png", headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304


def test_map_is_missed_by_name_where_there_is_none(client: TestClient) -> None:
    assert client.get("/v1/models/tiny_vae/map").json()["code"] == "map-not-found"


def test_head_is_get_without_its_body(client: TestClient) -> None:
    address = "/v1/models/tiny_vae@1/sample.png?seed=7"
    head, got = client.head(address), client.get(address)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == got.headers["etag"]


def test_cors_is_off_unless_origins_are_named(client: TestClient, models_dir: Path) -> None:
    origin = {"Origin": "https://page.example"}
    assert "access-control-allow-origin" not in client.get("/v1/models", headers=origin).headers
    settings = Settings(models_dir=models_dir, cors_origins=("https://page.example",))
    with TestClient(create_application(settings)) as open_client:
        response = open_client.get("/v1/models/none", headers=origin)
        assert response.status_code == 404
        assert response.headers["access-control-allow-origin"] == "https://page.example"
        exposed = response.headers["access-control-expose-headers"]
        assert {"X-Seed", "X-Acceptance"} <= set(exposed.split(", "))
