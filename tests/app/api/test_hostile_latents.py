"""Hostile latents, walks and sums: refused, or answered with finite numbers."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.api.openapi import TINY_PNG
from tests.app.api.hostility import JSON, NPY, VAE, check_refusal, npy

RAW = {"Content-Type": "application/octet-stream"}


def npy_claiming(header: str, payload: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + payload


@pytest.fixture(autouse=True)
def _next_good_request_is_served(client: TestClient) -> Iterator[None]:
    yield
    assert client.post("/v1/models/tiny_vae/sample", json={"seed": 1}).status_code == 200


@pytest.mark.parametrize(
    "latents",
    [
        [], [[]], [[1]], [[1, 2, 3]], [[1, 2], [1]], [[1, True]], [[1, None]],
        [1, 2], [[[1, 2]]], [[1001, 0]], [[0, -1e30]], "A",
    ],
)  # fmt: skip
def test_wrong_latents_are_refused(client: TestClient, latents: Any) -> None:
    check_refusal(client.post(f"{VAE}/decode", json={"latents": latents}), 422)


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
    check_refusal(client.post(f"{VAE}/decode", content=body, headers=NPY), 422)


@pytest.mark.parametrize(
    "body", [b"\0" * 7, b"\0" * 12, np.full(2, np.inf, "<f4").tobytes(), np.full(2, 1e4, "<f4").tobytes()]
)
def test_wrong_raw_floats_are_refused(client: TestClient, body: bytes) -> None:
    check_refusal(client.post(f"{VAE}/decode", content=body, headers=RAW), 422)


@given(st.binary(max_size=120), st.integers(0, 127))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_npy_of_any_bytes_is_read_or_refused(client: TestClient, noise: bytes, start: int) -> None:
    body = npy(np.zeros((1, 2), np.float32))
    body = body[:start] + noise + body[start + len(noise) :]
    assert client.post(f"{VAE}/decode", content=body, headers=NPY).status_code in (200, 422)


@pytest.mark.parametrize(
    "wish",
    [
        {"steps": 1}, {"steps": 0}, {"steps": -1}, {"steps": 10**6}, {"steps": 257}, {"points": []},
        {"points": [{"seed": 1}]}, {"points": [{"seed": 1}] * 65},
        {"points": [{"seed": 1}] * 64, "steps": 8}, {"path": "curved"}, {"loop": 1},
    ],
)  # fmt: skip
def test_wrong_walk_is_refused(client: TestClient, wish: dict[str, Any]) -> None:
    check_refusal(
        client.post(f"{VAE}/interpolate", json={"points": [{"seed": 1}, {"seed": 2}], "steps": 4} | wish), 422
    )


@pytest.mark.parametrize(
    "wish", [{"dimensions": []}, {"dimensions": [2]}, {"dimensions": [-1]}, {"extent": 0}, {"extent": 1e9}]
)
def test_wrong_traversal_is_refused(client: TestClient, wish: dict[str, Any]) -> None:
    check_refusal(client.post(f"{VAE}/traverse", json={"point": {"seed": 1}, "dimensions": [0]} | wish), 422)


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
    check_refusal(client.post(f"{VAE}/arithmetic", json=body), 422)


def test_weight_that_is_no_number_is_refused(client: TestClient) -> None:
    body = b'{"terms": [{"weight": NaN, "point": {"seed": 1}}]}'
    check_refusal(client.post(f"{VAE}/arithmetic", content=body, headers=JSON), 422)


@pytest.mark.parametrize("samples", [0, -1, 10**6, 4097])
def test_wrong_number_of_importance_samples_is_refused(client: TestClient, samples: int) -> None:
    check_refusal(client.post(f"{VAE}/score", json={"images": [TINY_PNG], "samples": samples}), 422)


@pytest.mark.parametrize("draws", [-1, 257, 10**9])
def test_wrong_number_of_draws_is_refused(client: TestClient, draws: int) -> None:
    check_refusal(client.post(f"{VAE}/encode", json={"images": [TINY_PNG], "draws": draws}), 422)
