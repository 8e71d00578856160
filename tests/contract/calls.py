"""Calls of a served model, which must be answered."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient


def post(client: TestClient, address: str, body: dict[str, Any], *, status: int = 200) -> dict[str, Any]:
    """The JSON answer of a call under /v1/models."""
    answer = client.post(f"/v1/models/{address}", json=body)
    assert answer.status_code == status, answer.text
    content: dict[str, Any] = answer.json()
    return content
