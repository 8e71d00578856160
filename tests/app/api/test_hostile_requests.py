"""Hostile addresses, headers and JSON: never a 5xx, never an echo, and the next good request is served."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.openapi import TINY_PNG
from tests.app.api.hostility import JSON, VAE, check_refusal


@pytest.fixture(autouse=True)
def _next_good_request_is_served(client: TestClient) -> Iterator[None]:
    yield
    assert client.post("/v1/models/tiny_vae/sample", json={"seed": 1}).status_code == 200


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/models/", 404),
        ("GET", f"{VAE}/sample", 405),
        ("POST", f"{VAE}/sample.png", 405),
        ("DELETE", VAE, 405),
        ("TRACE", "/v1/models", 405),
        ("GET", "/v1/models/nobody", 404),
        ("GET", "/v1/models/../../etc/passwd", 404),
        ("GET", "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404),
        ("GET", "/v1/models/a%00b", 404),
        ("GET", "/v1/models/" + "x" * 10_000, 404),
        ("GET", "/v1/models/tiny_vae@01", 404),
        ("GET", "/v1/models/tiny_vae@2", 404),
        ("GET", "/v1/models/tiny_vae@", 404),
        ("GET", "/v1/models/tiny_vae@1@1", 404),
        ("GET", "/v1/models/Tiny_VAE", 404),
        ("GET", "/problems/" + "x" * 100, 404),
        ("GET", "/static/..%2fpages.py", 404),
    ],
)
def test_address_that_leads_nowhere(client: TestClient, method: str, address: str, status: int) -> None:
    response = client.request(method, address)
    check_refusal(response, status)
    assert (status == 405) == ("allow" in response.headers)


def test_unknown_model_comes_with_near_names(client: TestClient) -> None:
    assert "tiny_vae" in check_refusal(client.get("/v1/models/tiny_vea"), 404, "model-not-found")["detail"]


def test_missing_capability_comes_with_those_there_are(client: TestClient) -> None:
    body = check_refusal(
        client.post("/v1/models/tiny_gan/score", json={"images": [TINY_PNG]}), 409, "capability-not-offered"
    )
    assert "sample" in body["capabilities"]


@pytest.mark.parametrize("address", [f"{VAE}/sample", f"{VAE}/encode", f"{VAE}/interpolate"])
def test_unacceptable_type_lists_what_there_is(client: TestClient, address: str) -> None:
    body = {"points": [{"seed": 1}, {"seed": 2}]} if "interpolate" in address else {}
    response = client.post(address, json=body, headers={"Accept": "text/html"})
    assert "application/json" in check_refusal(response, 406, "not-acceptable")["detail"]


def test_page_type_is_no_form_of_the_catalogue(client: TestClient) -> None:
    check_refusal(client.get("/v1/models", headers={"Accept": "text/html"}), 406)


def test_unknown_format_is_not_acceptable(client: TestClient) -> None:
    check_refusal(client.post(f"{VAE}/sample?format=gif", json={}), 406)


@pytest.mark.parametrize("identity", ["x" * 10_000, "a b", "a\x7f", "é", ""])
def test_odd_request_id_is_replaced(client: TestClient, identity: str) -> None:
    response = client.get("/livez", headers={"X-Request-ID": identity.encode()})
    assert response.status_code == 200
    assert re.fullmatch(r"[0-9a-f]{16}-[0-9a-f]+", response.headers["x-request-id"])


def test_bad_traceparent_is_ignored(client: TestClient) -> None:
    assert client.get("/livez", headers={"traceparent": "00-zz"}).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
def test_compressed_body_is_not_read(client: TestClient, encoding: str) -> None:
    check_refusal(client.post(f"{VAE}/sample", json={}, headers={"Content-Encoding": encoding}), 415)


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "1.5", "", "1e3", "٣", "9" * 400])
def test_bad_timeout_is_refused(client: TestClient, timeout: str) -> None:
    check_refusal(client.post(f"{VAE}/sample", json={}, headers={"X-Timeout-Ms": timeout.encode()}), 422)


def test_long_timeout_is_clipped(client: TestClient) -> None:
    assert client.post(f"{VAE}/sample", json={}, headers={"X-Timeout-Ms": "99999999"}).status_code == 200


@pytest.mark.parametrize(
    "query", ["count=1.5", "count=x", "seed=-1", "seed=9223372036854775808", "temprature=1", "columns=0"]
)
def test_bad_query_is_refused_with_a_pointer(client: TestClient, query: str) -> None:
    body = check_refusal(client.get(f"{VAE}/sample.png?{query}"), 422)
    assert body["errors"][0]["pointer"] == "/query/" + query.split("=", maxsplit=1)[0]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid-input"),
        (b"{", 400, "malformed-json"),
        (b'{"count": 1', 400, "malformed-json"),
        (b"\xff\xfe{\x00}\x00", 400, "malformed-json"),
        (b"\xef\xbb\xbf{}", 400, "malformed-json"),
        (b'{"count": 1} {}', 400, "malformed-json"),
        (b"[" * 100_000, 400, "malformed-json"),
        (b'{"a":' * 100_000, 400, "malformed-json"),
        (b'{"count": 1, "count": 2}', 400, "malformed-json"),
        (b'{"count": ' + b"9" * 5000 + b"}", 400, "malformed-json"),
        (b'{"count": ' + b"9" * 400 + b"}", 422, "invalid-input"),
        (b'{"temperature": ' + b"9" * 400 + b"}", 422, "invalid-input"),
        (b'{"\\ud800": 1}', 422, "invalid-input"),
        (b'{"seed": "\\ud800\\u0000"}', 422, "invalid-input"),
        (b'{"temperature": NaN}', 422, "invalid-input"),
        (b'{"temperature": Infinity}', 422, "invalid-input"),
        (b'{"temperature": 1e999}', 422, "invalid-input"),
        (b"[]", 422, "invalid-input"),
        (b"null", 422, "invalid-input"),
        (b"7", 422, "invalid-input"),
    ],
)
def test_broken_json(client: TestClient, body: bytes, status: int, code: str) -> None:
    check_refusal(client.post(f"{VAE}/sample", content=body, headers=JSON), status, code)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_body_of_another_type_is_told_what_is_read(client: TestClient, kind: str | None) -> None:
    response = client.post(f"{VAE}/sample", content=b"{}", headers={"Content-Type": kind} if kind else {})
    check_refusal(response, 415)
    assert response.headers["accept-post"] == "application/json"


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON"])
def test_content_type_is_read_as_the_standard_says(client: TestClient, kind: str) -> None:
    assert client.post(f"{VAE}/sample", content=b"{}", headers={"Content-Type": kind}).status_code == 200


@pytest.mark.parametrize(
    ("wish", "pointer"),
    [
        *[({"count": wrong}, "/count") for wrong in (0, -1, 1.5, 1.0, True, "3", None, [1], 257, 10**30)],
        *[({"seed": wrong}, "/seed") for wrong in (-1, 2**63, 1.0, "7", False)],
        *[({"temperature": wrong}, "/temperature") for wrong in (-1, 1e9, "1", True, None)],
        *[({"truncation": wrong}, "/truncation") for wrong in (0, -1, 1e9)],
        ({"colour": "red"}, "/colour"),
        ({"label": 3}, "/label"),
        ({"x" * 100: 1}, "/" + "x" * 63 + "…"),
    ],
)
def test_wrong_value_is_refused_with_a_pointer(client: TestClient, wish: dict[str, Any], pointer: str) -> None:
    body = check_refusal(client.post(f"{VAE}/sample", json=wish), 422)
    assert [error["pointer"] for error in body["errors"]] == [pointer]


def test_limit_comes_with_the_refusal(client: TestClient) -> None:
    assert check_refusal(client.post(f"{VAE}/sample", json={"count": 257}), 422)["errors"][0]["limit"] == 256


def test_many_wrong_values_make_a_short_answer(client: TestClient) -> None:
    response = client.post(f"{VAE}/decode", json={"latents": [["x", "y"]] * 10_000})
    assert len(check_refusal(response, 422)["errors"]) == 20


def test_deeply_nested_means_are_refused(client: TestClient) -> None:
    point: dict[str, Any] = {"seed": 1}
    for _ in range(400):
        point = {"mean": [point]}
    check_refusal(client.post(f"{VAE}/arithmetic", json={"terms": [{"point": point}]}), 422)


def test_wide_nested_means_are_refused(client: TestClient) -> None:
    point = {"mean": [{"mean": [{"seed": 1}] * 64}] * 64}
    check_refusal(client.post(f"{VAE}/arithmetic", json={"terms": [{"point": point}]}), 422)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_answered_or_refused(client: TestClient, content: Any) -> None:
    for operation, field in [("sample", "seed"), ("decode", "latents"), ("arithmetic", "terms"), ("encode", "images")]:
        for body in (content, {field: content}):
            response = client.post(f"{VAE}/{operation}", content=json.dumps(body), headers=JSON)
            assert response.status_code in (200, 422)
