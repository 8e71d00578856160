"""What every refusal of hostile input looks like."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

VAE = "/v1/models/tiny_vae"
JSON = {"Content-Type": "application/json"}
NPY = {"Content-Type": "application/x-npy"}


def check_refusal(response: Any, status: int, code: str | None = None) -> dict[str, Any]:
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


def npy(array: np.ndarray[Any, Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()
