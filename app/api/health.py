"""Whether the process answers, whether it should be sent requests, and its numbers. None of it needs a key."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse, Response

from app.api.declared import Router
from app.api.service import ServiceOf
from app.runtime.threads import in_thread
from app.telemetry import METRICS_MEDIA_TYPE, Metrics

router = Router(tags=["health"])

NO_STORE = {"Cache-Control": "no-store"}

PROBES = ("/livez", "/readyz", "/metrics", "/v2/health/")


def is_probe(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request comes from monitoring: many and all alike, so nobody wants traces of them."""
    return str(scope["path"]).startswith(PROBES)


def answers(scope: MutableMapping[str, Any]) -> bool:
    """Whether a request is for one of the routes of this module."""
    return scope["path"] in ("/livez", "/readyz", "/metrics")


@router.get("/livez", operation_id="livez", summary="Does the process answer?")
async def livez() -> JSONResponse:
    """Always 200 while the event loop turns."""
    return JSONResponse({"status": "alive"}, headers=NO_STORE)


@router.get(
    "/readyz",
    operation_id="readyz",
    summary="Should requests be sent here?",
    responses={503: {"description": "No model is served, or the service is draining.", "content": {}}},
)
async def readyz(service: ServiceOf) -> JSONResponse:
    """200 while a model that reproduced its golden outputs is served; models that failed are named beside it."""
    status = "draining" if service.draining else "ready" if service.ready else "no model is served"
    entries = service.repository.entries()
    body: dict[str, Any] = {
        "status": status,
        "ready": [f"{entry.name}@{entry.version}" for entry in entries if entry.status == "ready"],
        "failed": [{"name": entry.name, "reason": entry.reason} for entry in entries if entry.reason],
    }
    return JSONResponse(body, 200 if service.ready else 503, headers=NO_STORE)


@router.get("/metrics", operation_id="metrics", summary="Numbers for Prometheus", response_class=Response)
async def metrics(request: Request, service: ServiceOf) -> Response:
    """Of all workers together, whichever of them is asked; `process_…` of each by its `pid`, where they are several."""
    numbers: Metrics = request.app.state.metrics
    numbers.set_models((entry.name, str(entry.version), entry.status) for entry in service.repository.entries())
    text = await in_thread(numbers.render)  # workers' files are read for it
    return Response(text, media_type=METRICS_MEDIA_TYPE, headers=NO_STORE)
