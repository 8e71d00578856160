"""Hostile pictures and forms: refused with their index, or read by the documented rule."""

from __future__ import annotations

import base64
import io
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
from tests.app.api.hostility import NPY, VAE, check_refusal, npy

PNG = base64.b64decode(TINY_PNG)
FOREIGN = ("GIF", "TIFF", "BMP", "ICO", "PPM", "TGA", "EPS")
"""Kinds that Pillow could read."""
FORM = {"Content-Type": "multipart/form-data; boundary=B"}


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


@pytest.fixture(autouse=True)
def _next_good_request_is_served(client: TestClient) -> Iterator[None]:
    yield
    assert client.post("/v1/models/tiny_vae/sample", json={"seed": 1}).status_code == 200


@pytest.mark.parametrize(
    ("data", "kind", "status", "code"),
    [
        (b"", "image/png", 422, "empty-image"),
        (b"just words", "image/png", 415, "unsupported-image"),
        (b"<html></html>", "text/html", 415, "unsupported-media-type"),
        (b"<svg/>", "image/svg+xml", 415, "unsupported-media-type"),
        (b"%PDF-1.7", "image/png", 415, "unsupported-image"),
        (b"PK\x03\x04", "image/webp", 415, "unsupported-image"),
        *[(file_of(kind), "image/png", 415, "unsupported-image") for kind in FOREIGN],
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
        check_refusal(response, status, code)


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
    body = check_refusal(client.post(f"{VAE}/encode", json={"images": [TINY_PNG, text]}), status)
    assert body["errors"][0]["index"] == 1


@pytest.mark.parametrize("images", [[], "x", [1], None, [[TINY_PNG]]])
def test_images_of_another_shape_are_refused(client: TestClient, images: Any) -> None:
    check_refusal(client.post(f"{VAE}/encode", json={"images": images}), 422)


def test_too_many_pictures_are_refused_with_the_limit(client: TestClient) -> None:
    body = check_refusal(client.post(f"{VAE}/encode", json={"images": [TINY_PNG] * 257}), 422)
    assert body["errors"][0]["limit"] == 256


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8, 2), (1, 8, 8, 4), (0, 8, 8), (1, 0, 8), (1, 1, 8, 8, 1)])
def test_array_of_another_shape_is_refused(client: TestClient, shape: tuple[int, ...]) -> None:
    check_refusal(client.post(f"{VAE}/encode", content=npy(np.zeros(shape, np.uint8)), headers=NPY), 422)


def part(name: str, headers: str = "", body: bytes = PNG) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"; filename="a.png"\r\n'
    return b"--B\r\n" + (disposition + headers + "\r\n").encode() + body + b"\r\n"


END = b"--B--\r\n"
BOUNDARY = "multipart/form-data; boundary="
TEXT_PART = b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
NAMELESS_PART = b"--B\r\nContent-Disposition: form-data\r\n\r\n1\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data", part("image") + END, 400),
        (BOUNDARY + "B", b"nothing of the kind", 400),
        (BOUNDARY + "B", part("picture") + END, 422),
        (BOUNDARY + "B", END, 422),
        (BOUNDARY + "B", part("image", body=b"") + END, 422),
        (BOUNDARY + "B", part("image", "Content-Type: image/jpeg\r\n") + END, 415),
        (BOUNDARY + "B", part("image", "Content-Type: image/svg+xml\r\n") + END, 415),
        (BOUNDARY + "B", part("image", "X-A: 1\r\n" * 40) + END, 400),
        (BOUNDARY + "B", TEXT_PART * 1500 + END, 400),
        (BOUNDARY + "B", TEXT_PART + part("image") + END, 422),
        (BOUNDARY + "B", NAMELESS_PART + END, 400),
        (BOUNDARY + "B", TEXT_PART.replace(b'"a"', b'"image"') + END, 422),
        (BOUNDARY + "B; charset=zip", part("image\u202e") + END, 422),
        (BOUNDARY + "B" * 5000, part("image") + END, 400),
    ],
)
def test_broken_form(client: TestClient, kind: str, body: bytes, status: int) -> None:
    check_refusal(client.post(f"{VAE}/encode", content=body, headers={"Content-Type": kind}), status)


@pytest.mark.parametrize("name", ["../../x", "x" * 3_000, "\u202egnp.x", ""])
def test_file_names_are_ignored(client: TestClient, name: str) -> None:
    body = (
        f'--B\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode() + PNG + b"\r\n" + END
    )
    response = client.post(f"{VAE}/encode", content=body, headers=FORM)
    assert response.status_code == 200, response.text
    assert "x.png" not in response.text
