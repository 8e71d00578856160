"""The application factory: it only wires."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from prometheus_client.registry import Collector
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from app import tracing
from app.api import arithmetic, classify, decode, encode, health, pages, problems, sample, score, walk
from app.api.accounting import Accounting
from app.api.admission import Admission
from app.api.declared import Application, Router
from app.api.dispatch import Dispatch
from app.api.explorer import Explorer
from app.api.keys import KeyFile
from app.api.service import Limits, Service
from app.runtime.plan import planner_for
from app.runtime.repository import EarlyVersions, ModelRepository
from app.settings import Settings
from app.telemetry import Metrics

OPERATIONS = (sample, decode, walk, arithmetic, encode, score, classify)

EXPOSED_HEADERS = ("X-Seed", "X-Model", "X-Acceptance", "X-Request-ID", "ETag", "Server-Timing", "Retry-After")
ACCEPTED_HEADERS = ("Authorization", "Content-Type", "X-Timeout-Ms", "X-Request-ID", "If-None-Match")

DESCRIPTION = """Sample, encode, decode, walk through and score the latent spaces of image models.

Image *i* of a seed is the same bytes whatever the count, the load or the replica. Every error is
`application/problem+json`; its `type` is an address that explains it."""

TAGS = [
    {"name": "models", "description": "What is published, and what each model can do."},
    {"name": "images out", "description": "From latents to images."},
    {"name": "images in", "description": "From pictures to latents and densities."},
    {"name": "open inference protocol", "description": "Graphs as they are, for clients such as `tritonclient`."},
    {"name": "health", "description": "For load balancers and monitoring; no key needed."},
    {"name": "problems", "description": "What the errors mean."},
]


def create_application(
    settings: Settings | None = None, *, shared_metrics: Collector | None = None, early: EarlyVersions | None = None
) -> Application:
    """The whole service, ready for an ASGI server or a TestClient; None reads the settings from the environment.

    Models are loaded when the application starts and let go when it stops. `shared_metrics` collects the numbers of
    all workers, where this is one of several; `early` are versions that are being opened already.

    Raises:
        pydantic.ValidationError: the environment holds a wrong or unknown setting.
        OSError, ValueError: a key file cannot be read.
    """
    settings = settings or Settings()
    metrics = Metrics(shared_metrics)
    traced, middleware = tracing.wanted(), _middleware(settings, metrics)
    application = Application(
        routers=_routers,
        front=() if traced else middleware,
        title="LatentServe",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=_lifespan(settings, metrics, early),
        middleware=middleware if traced else (),  # within the span that FastAPI opens
        telemetry={
            "tracing": traced,
            "auto_configure": True,
            # /metrics and the log have these; operations do not go through FastAPI's own.
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "exclude": health.is_probe,
        },
    )
    application.state.metrics = metrics
    application.state.static_files = pages.static_files()
    application.state.explorer = Explorer.read()
    problems.add_problem_handlers(application)
    health.router.declare_on(application.router)
    return application


def _routers() -> Iterator[Router]:
    """All but the probes' in the order of the documentation. What only some callers use is imported now."""
    from app.api import catalogue, explanations, openai_images, replay  # noqa: PLC0415
    from app.api.open_inference import control, routes  # noqa: PLC0415

    for module in (catalogue, *OPERATIONS, replay, openai_images, routes, control, explanations, pages):
        yield module.router


def _middleware(settings: Settings, metrics: Metrics) -> list[Middleware]:
    api_keys = KeyFile(settings.api_keys_file) if settings.api_keys_file else None
    admin_keys = KeyFile(settings.admin_keys_file) if settings.admin_keys_file else None
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=("GET", "POST"),
        allow_headers=ACCEPTED_HEADERS,
        expose_headers=EXPOSED_HEADERS,
    )
    return [
        Middleware(Accounting, metrics=metrics, access_log=settings.access_log),
        *([cors] if settings.cors_origins else []),
        Middleware(Admission, api_keys=api_keys, admin_keys=admin_keys, max_body_bytes=settings.max_body_bytes),
        Middleware(Dispatch, routers=[module.router for module in OPERATIONS], is_probe=health.answers),
    ]


def _lifespan(
    settings: Settings, metrics: Metrics, early: EarlyVersions | None
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    limits = Limits(settings.max_images, settings.max_sample_images, settings.max_image_pixels, settings.max_body_bytes)

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        repository = ModelRepository(
            settings.models_dir,
            planner=planner_for(
                graph_threads=settings.graph_threads,
                graph_lanes=settings.graph_lanes,
                max_batch_rows=settings.max_batch_rows,
                workers=settings.workers,
                cache_dir=settings.cache_dir,
            ),
            queue_rows=settings.queue_rows,
            poll_interval_s=settings.models_poll_s,
            metrics=metrics,
            early=early,
        )
        application.state.service = Service(
            repository,
            limits,
            deadline_s=settings.deadline_s,
            public=settings.api_keys_file is None,
            alone=settings.workers == 1,
        )
        await repository.open()
        sampling = asyncio.create_task(metrics.sample(), name="metrics")
        try:
            yield
        finally:
            sampling.cancel()
            await repository.close()

    return lifespan
