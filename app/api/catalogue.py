"""The catalogue: which models are published, and what each can do."""

from typing import Any, Literal

from fastapi import Request
from pydantic import Field
from starlette.responses import Response

from app.api.declared import Router
from app.api.negotiation import MEDIA_TYPES, choose, dump_json, with_etag
from app.api.openapi import LOOKING, answers, binary_answer
from app.api.payloads import AnswerPart
from app.api.service import ModelAddress, ServiceOf
from app.directions import Direction
from app.errors import MapNotFound, NotAcceptable, NotFound, Unauthorized
from app.manifest import Family, Likelihood, Manifest, Metric, PriorKind
from app.runtime.repository import Entry

router = Router(tags=["models"])


class LatentSummary(AnswerPart):
    """The latent space."""

    size: int
    prior: PriorKind


class ImageSummary(AnswerPart):
    """The pictures."""

    height: int
    width: int
    channels: int


class ModelSummary(AnswerPart):
    """One model. What only a loaded manifest knows is null where a model failed before it was read."""

    name: str
    version: int
    versions: list[int]
    status: Literal["ready", "failed"]
    reason: str | None
    title: str | None
    family: Family | None
    capabilities: list[str]
    latent: LatentSummary | None
    image: ImageSummary | None
    classes: list[str] | None
    likelihood: Likelihood | None
    metrics: dict[str, Metric]


class ModelList(AnswerPart):
    """Every published model, by name."""

    models: list[ModelSummary]


class ModelDescription(ModelSummary):
    """One model, whole."""

    directions: list[Direction] = Field(description="What latents can be moved along by name, in sums and traversals.")
    manifest: Manifest
    card: str


def _summary(entry: Entry, manifest: Manifest | None) -> dict[str, Any]:
    known = {"name": entry.name, "version": entry.version, "versions": list(entry.versions)}
    known |= {"status": entry.status, "reason": entry.reason}
    if manifest is None:
        unknown = dict.fromkeys(("title", "family", "latent", "image", "classes", "likelihood"))
        return known | unknown | {"capabilities": [], "metrics": {}}
    written = manifest.model_dump(mode="json", include={"title", "family", "likelihood", "metrics"})
    return known | written | {
        "capabilities": list(manifest.capabilities) if entry.status == "ready" else [],
        "latent": {"size": manifest.latent.size, "prior": manifest.latent.prior},
        "image": {name: getattr(manifest.image, name) for name in ("height", "width", "channels")},
        "classes": list(manifest.classes) or None,
    }  # fmt: skip


@router.get(
    "/v1/models",
    operation_id="list_models",
    summary="List the models",
    responses=answers(ModelList, Unauthorized, NotAcceptable),
)
async def list_models(request: Request, service: ServiceOf) -> Response:
    """Every published model; one that failed to load says why."""
    choose(request.headers.get("accept"), None, ("json",))
    models = [_summary(entry, entry.manifest) for entry in service.repository.entries()]
    return _json({"models": models})


@router.get(
    "/v1/models/{model}",
    operation_id="describe_model",
    summary="Describe one model",
    responses=answers(ModelDescription, *LOOKING),
)
async def describe_model(request: Request, model: ModelAddress, service: ServiceOf) -> Response:
    """What the list says of it, its manifest and its card."""
    choose(request.headers.get("accept"), None, ("json",))
    served = service.repository.get(model)
    entry = next(entry for entry in service.repository.entries() if entry.name == served.manifest.name)
    summary = _summary(entry, served.manifest) | {"version": served.manifest.version, "status": "ready"}
    named = served.directions.directions if served.directions else ()
    directions = [direction.model_dump(mode="json") for direction in named]
    manifest = served.manifest.model_dump(mode="json")
    return _json(summary | {"directions": directions, "manifest": manifest, "card": served.card})


@router.get(
    "/v1/models/{model}/preview.png",
    operation_id="preview_model",
    summary="Show what a model makes",
    response_class=Response,
    responses=binary_answer("image/png", *LOOKING, NotFound, description="A sheet of samples from the publication."),
)
async def preview_model(request: Request, model: ModelAddress, service: ServiceOf) -> Response:
    """The publication's picture of the model."""
    served = service.repository.get(model)
    if served.preview_png is None:
        raise NotFound(f"{served.ref} was published without a preview")
    return _published(request, served.preview_png, MEDIA_TYPES["png"], served.ref)


@router.get(
    "/v1/models/{model}/map",
    operation_id="map_model",
    summary="Held-out images as points of the latent space",
    response_class=Response,
    responses=binary_answer("application/json", *LOOKING, MapNotFound, description="2-D points, labels, latents."),
)
async def map_model(request: Request, model: ModelAddress, service: ServiceOf) -> Response:
    """Where held-out images lie, for drawing maps."""
    served = service.repository.get(model)
    if served.map_json is None:
        raise MapNotFound(f"{served.ref} was published without a map")
    return _published(request, served.map_json, MEDIA_TYPES["json"], served.ref)


def _json(content: dict[str, Any]) -> Response:
    return Response(dump_json(content), media_type=MEDIA_TYPES["json"], headers={"Cache-Control": "no-store"})


def _published(request: Request, data: bytes, media_type: str, ref: str) -> Response:
    """A file of a publication: a bare name may mean another version tomorrow, so it is asked for again each time."""
    headers = {"Cache-Control": "private, no-cache", "X-Model": ref}
    return with_etag(request, Response(data, media_type=media_type, headers=headers))
