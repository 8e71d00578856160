"""Hostile inputs and the answer each gets: never a 5xx, never an echo, and the next good request is served."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from app.api.openapi import TINY_PNG

VAE = "/v1/models/tiny_vae"
PNG = base64.b64decode(TINY_PNG)
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}
RAW = {"Content-Type": "application/octet-stream"}


def file_of(kind: str, size: tuple[int, int] = (8, 8), mode: str = "L", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_claiming(width: int, height: int, *extra: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + b"".join(extra)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def npy(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def npy_claiming(header: str, payload: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + payload


@pytest.fixture(autouse=True)
def _next_good_request_is_served(client: TestClient) -> Iterator[None]:
    yield
    assert client.post(f"{VAE}/sample", json={"seed": 1}).status_code == 200


def check(response: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """`response` is a well-made problem of this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["type"] == f"/problems/{body['code']}"
    assert body["request_id"] == response.headers["x-request-id"]
    assert code in (None, body["code"])
    assert "Traceback" not in response.text
    assert "x" * 65 not in response.text
    return body


# Addresses and headers


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
    check(response, status)
    assert (status == 405) == ("allow" in response.headers)


def test_unknown_model_comes_with_near_names(client: TestClient) -> None:
    assert "tiny_vae" in check(client.get("/v1/models/tiny_vea"), 404, "model-not-found")["detail"]


def test_missing_capability_comes_with_those_there_are(client: TestClient) -> None:
    body = check(client.post("/v1/models/tiny_gan/score", json={"images": [TINY_PNG]}), 409, "capability-not-offered")
    assert "sample" in body["capabilities"]


@pytest.mark.parametrize("address", [f"{VAE}/sample", f"{VAE}/encode", f"{VAE}/interpolate"])
def test_unacceptable_type_lists_what_there_is(client: TestClient, address: str) -> None:
    response = client.post(address, json={}, headers={"Accept": "text/html"})
    assert "application/json" in check(response, 406, "not-acceptable")["detail"]


def test_page_type_is_no_form_of_the_catalogue(client: TestClient) -> None:
    check(client.get("/v1/models", headers={"Accept": "text/html"}), 406)


def test_unknown_format_is_not_acceptable(client: TestClient) -> None:
    check(client.post(f"{VAE}/sample?format=gif", json={}), 406)


@pytest.mark.parametrize("identity", ["x" * 10_000, "a b", "a\x7f", "é", ""])
def test_odd_request_id_is_replaced(client: TestClient, identity: str) -> None:
    response = client.get("/livez", headers={"X-Request-ID": identity.encode()})
    assert response.status_code == 200
    assert len(response.headers["x-request-id"]) == 32


def test_bad_traceparent_is_ignored(client: TestClient) -> None:
    assert client.get("/livez", headers={"traceparent": "00-zz"}).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
def test_compressed_body_is_not_read(client: TestClient, encoding: str) -> None:
    check(client.post(f"{VAE}/sample", json={}, headers={"Content-Encoding": encoding}), 415)


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "1.5", "", "1e3", "٣", "9" * 400])
def test_bad_timeout_is_refused(client: TestClient, timeout: str) -> None:
    check(client.post(f"{VAE}/sample", json={}, headers={"X-Timeout-Ms": timeout.encode()}), 422)


def test_long_timeout_is_clipped(client: TestClient) -> None:
    assert client.post(f"{VAE}/sample", json={}, headers={"X-Timeout-Ms": "99999999"}).status_code == 200


@pytest.mark.parametrize(
    "query", ["count=1.5", "count=x", "seed=-1", "seed=9223372036854775808", "temprature=1", "columns=0"]
)
def test_bad_query_is_refused_with_a_pointer(client: TestClient, query: str) -> None:
    body = check(client.get(f"{VAE}/sample.png?{query}"), 422)
    assert body["errors"][0]["pointer"] == "/query/" + query.split("=")[0]


# JSON


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
    check(client.post(f"{VAE}/sample", content=body, headers=JSON), status, code)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_body_of_another_type_is_told_what_is_read(client: TestClient, kind: str | None) -> None:
    response = client.post(f"{VAE}/sample", content=b"{}", headers={"Content-Type": kind} if kind else {})
    check(response, 415)
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
    body = check(client.post(f"{VAE}/sample", json=wish), 422)
    assert [error["pointer"] for error in body["errors"]] == [pointer]


def test_limit_comes_with_the_refusal(client: TestClient) -> None:
    assert check(client.post(f"{VAE}/sample", json={"count": 257}), 422)["errors"][0]["limit"] == 256


def test_many_wrong_values_make_a_short_answer(client: TestClient) -> None:
    response = client.post(f"{VAE}/decode", json={"latents": [["x", "y"]] * 10_000})
    assert len(check(response, 422)["errors"]) == 20


def test_deeply_nested_means_are_refused(client: TestClient) -> None:
    point: dict[str, Any] = {"seed": 1}
    for _ in range(400):
        point = {"mean": [point]}
    check(client.post(f"{VAE}/arithmetic", json={"terms": [{"point": point}]}), 422)


def test_wide_nested_means_are_refused(client: TestClient) -> None:
    point = {"mean": [{"mean": [{"seed": 1}] * 64}] * 64}
    check(client.post(f"{VAE}/arithmetic", json={"terms": [{"point": point}]}), 422)


# Latents


@pytest.mark.parametrize(
    "latents",
    [[], [[]], [[1]], [[1, 2, 3]], [[1, 2], [1]], [[1, True]], [[1, None]], [1, 2], [[[1, 2]]], [[1001, 0]], [[0, -1e30]], "AAAA"],
)  # fmt: skip
def test_wrong_latents_are_refused(client: TestClient, latents: Any) -> None:
    check(client.post(f"{VAE}/decode", json={"latents": latents}), 422)


def test_latents_at_the_cap_give_a_picture(client: TestClient) -> None:
    assert client.post(f"{VAE}/decode", json={"latents": [[1000, -1000]]}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not an array",
        b"\x93NUMPY",
        b"\x93NUMPY\x09\x00" + b"\0" * 100,
        npy(np.zeros((1, 2), object), allow_pickle=True),
        npy(np.zeros((1, 2), np.float64)),
        npy(np.zeros((1, 2), ">f4")),
        npy(np.asfortranarray(np.zeros((2, 2), np.float32))),
        npy(np.zeros((1, 3), np.float32)),
        npy(np.zeros(2, np.float32)),
        npy(np.zeros((0, 2), np.float32)),
        npy(np.zeros((1, 2), np.float32))[:-1],
        npy(np.zeros((1, 2), np.float32)) + b"\0",
        npy(np.full((1, 2), np.nan, np.float32)),
        npy(np.full((1, 2), 1e4, np.float32)),
        npy(np.zeros((1, 2), [("a", "<f4")])),
        npy_claiming("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 2), }"),
        npy_claiming("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }", b"\0" * 8),
        npy_claiming("{'descr': '<f4', 'fortran_order': False, 'shape': (1L, 2), }", b"\0" * 8),
        npy_claiming("__import__('os').getcwd()"),
        npy_claiming("(" * 100),
        b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b" " * 100,
    ],
)  # fmt: skip
def test_wrong_npy_is_refused(client: TestClient, body: bytes) -> None:
    check(client.post(f"{VAE}/decode", content=body, headers=NPY), 422)


@pytest.mark.parametrize(
    "body", [b"\0" * 7, b"\0" * 12, np.full(2, np.inf, "<f4").tobytes(), np.full(2, 1e4, "<f4").tobytes()]
)
def test_wrong_raw_floats_are_refused(client: TestClient, body: bytes) -> None:
    check(client.post(f"{VAE}/decode", content=body, headers=RAW), 422)


@given(st.binary(max_size=120), st.integers(0, 127))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_npy_of_any_bytes_is_read_or_refused(client: TestClient, noise: bytes, start: int) -> None:
    body = npy(np.zeros((1, 2), np.float32))
    body = body[:start] + noise + body[start + len(noise) :]
    assert client.post(f"{VAE}/decode", content=body, headers=NPY).status_code in (200, 422)


@pytest.mark.parametrize(
    "wish",
    [
        {"steps": 1}, {"steps": 0}, {"steps": -1}, {"steps": 10**6}, {"steps": 257}, {"points": []}, {"points": [{"seed": 1}]},
        {"points": [{"seed": 1}] * 65}, {"points": [{"seed": 1}] * 64, "steps": 8}, {"path": "curved"}, {"loop": 1},
    ],
)  # fmt: skip
def test_wrong_walk_is_refused(client: TestClient, wish: dict[str, Any]) -> None:
    check(client.post(f"{VAE}/interpolate", json={"points": [{"seed": 1}, {"seed": 2}], "steps": 4} | wish), 422)


@pytest.mark.parametrize(
    "wish", [{"dimensions": []}, {"dimensions": [2]}, {"dimensions": [-1]}, {"extent": 0}, {"extent": 1e9}]
)
def test_wrong_traversal_is_refused(client: TestClient, wish: dict[str, Any]) -> None:
    check(client.post(f"{VAE}/traverse", json={"point": {"seed": 1}, "dimensions": [0]} | wish), 422)


@pytest.mark.parametrize(
    "body",
    [
        {"terms": []},
        {"terms": [{"point": {"seed": 1}}] * 65},
        {"terms": [{"weight": 1e4, "point": {"seed": 1}}]},
        {"terms": [{"weight": "1", "point": {"seed": 1}}]},
        {"terms": [{"weight": 1, "direction": "smile"}]},
        {"terms": [{"point": {"seed": 1}}], "renormalize": "always"},
    ],
)
def test_wrong_sum_is_refused(client: TestClient, body: dict[str, Any]) -> None:
    check(client.post(f"{VAE}/arithmetic", json=body), 422)


def test_weight_that_is_no_number_is_refused(client: TestClient) -> None:
    body = b'{"terms": [{"weight": NaN, "point": {"seed": 1}}]}'
    check(client.post(f"{VAE}/arithmetic", content=body, headers=JSON), 422)


@pytest.mark.parametrize("samples", [0, -1, 10**6, 4097])
def test_wrong_number_of_importance_samples_is_refused(client: TestClient, samples: int) -> None:
    check(client.post(f"{VAE}/score", json={"images": [TINY_PNG], "samples": samples}), 422)


@pytest.mark.parametrize("draws", [-1, 257, 10**9])
def test_wrong_number_of_draws_is_refused(client: TestClient, draws: int) -> None:
    check(client.post(f"{VAE}/encode", json={"images": [TINY_PNG], "draws": draws}), 422)


# Pictures


@pytest.mark.parametrize(
    ("data", "kind", "status", "code"),
    [
        (b"", "image/png", 422, "empty-image"),
        (b"just words", "image/png", 415, "unsupported-image"),
        (b"<html></html>", "text/html", 415, "unsupported-media-type"),
        (b"<svg/>", "image/svg+xml", 415, "unsupported-media-type"),
        (b"%PDF-1.7", "image/png", 415, "unsupported-image"),
        (b"PK\x03\x04", "image/webp", 415, "unsupported-image"),
        *[(file_of(kind), "image/png", 415, "unsupported-image") for kind in ("GIF", "TIFF", "BMP", "ICO", "PPM", "TGA")],
        (file_of("EPS"), "image/png", 415, "unsupported-image"),
        (PNG, "image/jpeg", 415, "unsupported-image"),
        (file_of("JPEG"), "image/png", 415, "unsupported-image"),
        (PNG, "image/gif", 415, "unsupported-media-type"),
        (png_claiming(20_000, 20_000), "image/png", 413, "image-too-large"),
        (png_claiming(10_000, 10_000), "image/png", 413, "image-too-large"),
        (png_claiming(2**31 - 1, 2**31 - 1), "image/png", 413, "image-too-large"),
        (png_claiming(0, 0), "image/png", 422, None),
        (png_claiming(8, 8, chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\0" * 10**8))), "image/png", 422, None),
    ],
)  # fmt: skip
def test_unfit_picture(client: TestClient, data: bytes, kind: str, status: int, code: str | None) -> None:
    response = client.post(f"{VAE}/encode", content=data, headers={"Content-Type": kind})
    if code is None:
        assert response.status_code in (200, 422)
    else:
        check(response, status, code)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_truncated_picture_is_corrupt(client: TestClient, kind: str) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(buffer, kind)
    data = buffer.getvalue()
    for part in range(1, 16):
        cut = data[: len(data) * part // 16]
        response = client.post(f"{VAE}/encode", content=cut, headers={"Content-Type": f"image/{kind.lower()}"})
        assert response.status_code == 422, part


@given(
    st.sampled_from(["PNG", "JPEG", "WEBP"]),
    st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 7)), min_size=1, max_size=4),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flipped_bits_never_fail_the_service(client: TestClient, kind: str, flips: list[tuple[float, int]]) -> None:
    data = bytearray(file_of(kind, (16, 16), "RGB"))
    for place, bit in flips:
        data[int(place * len(data))] ^= 1 << bit
    files = {"image": ("a", bytes(data))}
    assert client.post(f"{VAE}/encode", files=files).status_code in (200, 413, 415, 422)


@pytest.mark.parametrize("size", [(1, 65535), (65535, 1), (1, 1)])
def test_thin_picture_is_resized(client: TestClient, size: tuple[int, int]) -> None:
    files = {"image": ("a", file_of("PNG", size))}
    assert client.post(f"{VAE}/encode", files=files).status_code == 200


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_counts_as_its_first_frame(client: TestClient, kind: str) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in range(0, 250, 5)]
    first, moving = io.BytesIO(), io.BytesIO()
    frames[0].save(first, "PNG")
    frames[0].save(
        moving, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    one, many = (client.post(f"{VAE}/encode", files={"image": ("a", b.getvalue())}).json() for b in (first, moving))
    assert one == many


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_picture_of_every_mode_is_read(client: TestClient, mode: str) -> None:
    assert client.post(f"{VAE}/encode", files={"image": ("a", file_of("PNG", mode=mode))}).status_code == 200


def test_cmyk_picture_is_read(client: TestClient) -> None:
    assert client.post(f"{VAE}/encode", files={"image": ("a", file_of("JPEG", mode="CMYK"))}).status_code == 200


def test_long_texts_in_a_picture_are_no_matter(client: TestClient) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("comment", "a" * 10**7, zip=True)
    data = file_of("PNG", pnginfo=texts)
    assert client.post(f"{VAE}/encode", files={"image": ("a", data)}).status_code in (200, 422)


def test_exif_garbage_is_no_matter(client: TestClient) -> None:
    data = file_of("JPEG", exif=b"Exif\0\0" + b"garbage" * 8000)
    assert client.post(f"{VAE}/encode", files={"image": ("a", data)}).status_code == 200


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 422), ("!!!!", 422), (TINY_PNG[:-1], 422), (TINY_PNG + "\u0000", 422), ("é" * 8, 422), ("QUJD", 415),
        ("http://169.254.169.254/latest", 422), ("file:///etc/passwd", 422), ("data:text/html;base64,QUJD", 415),
        ("data:image/jpeg;base64," + TINY_PNG, 415), ("data:image/png," + "abcd", 422),
    ],
)  # fmt: skip
def test_unfit_base64_is_refused(client: TestClient, text: str, status: int) -> None:
    body = check(client.post(f"{VAE}/encode", json={"images": [TINY_PNG, text]}), status)
    assert body["errors"][0]["index"] == 1


@pytest.mark.parametrize("images", [[], "x", [1], None, [[TINY_PNG]]])
def test_images_of_another_shape_are_refused(client: TestClient, images: Any) -> None:
    check(client.post(f"{VAE}/encode", json={"images": images}), 422)


def test_too_many_pictures_are_refused_with_the_limit(client: TestClient) -> None:
    body = check(client.post(f"{VAE}/encode", json={"images": [TINY_PNG] * 257}), 422)
    assert body["errors"][0]["limit"] == 256


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 9), (1, 8, 8, 3), (0, 8, 8), (1, 1, 8, 8, 1)])
def test_array_of_another_shape_is_refused(client: TestClient, shape: tuple[int, ...]) -> None:
    check(client.post(f"{VAE}/encode", content=npy(np.zeros(shape, np.uint8)), headers=NPY), 422)


def part(name: str, headers: str = "", body: bytes = PNG) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
    return b"--B\r\n" + (disposition + headers + "\r\n").encode() + body + b"\r\n"


END = b"--B--\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", part("image") + END, 400),
        ("multipart/form-data; boundary=B", b"nothing of the kind", 400),
        ("multipart/form-data; boundary=B", part("picture") + END, 422),
        ("multipart/form-data; boundary=B", END, 422),
        ("multipart/form-data; boundary=B", part("image", body=b"") + END, 422),
        ("multipart/form-data; boundary=B", part("image", "Content-Type: image/jpeg\r\n") + END, 415),
        ("multipart/form-data; boundary=B", part("image", "Content-Type: image/svg+xml\r\n") + END, 415),
        ("multipart/form-data; boundary=B", part("image", "X-A: 1\r\n" * 40) + END, 400),
        ("multipart/form-data; boundary=B", b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 1500 + END, 400),
        ("multipart/form-data; boundary=B", b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' + part("image") + END, 422),
        ("multipart/form-data; boundary=B", b"--B\r\nContent-Disposition: form-data\r\n\r\n1\r\n" + END, 400),
        ("multipart/form-data; boundary=B", b'--B\r\nContent-Disposition: form-data; name="image"\r\n\r\nx\r\n' + END, 422),
        ("multipart/form-data; boundary=B; charset=zip", part("image\u202e") + END, 422),
        ("multipart/form-data; boundary=" + "B" * 5000, part("image") + END, 400),
    ],
)  # fmt: skip
def test_broken_form(client: TestClient, kind: str, body: bytes, status: int) -> None:
    check(client.post(f"{VAE}/encode", content=body, headers={"Content-Type": kind}), status)


@pytest.mark.parametrize("name", ["../../x", "x" * 10_000, "\u202egnp.x", ""])
def test_file_names_are_ignored(client: TestClient, name: str) -> None:
    body = (
        f'--B\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode() + PNG + b"\r\n" + END
    )
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    response = client.post(f"{VAE}/encode", content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert "x.png" not in response.text


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
