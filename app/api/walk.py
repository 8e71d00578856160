"""`interpolate` and `traverse`: images along a path between Points, and along single dimensions from one."""

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Depends, Query, Request
from numpy.typing import NDArray
from pydantic import Field
from starlette.responses import Response

from app.api.declared import Router
from app.api.labels import WALKING, one_label, repeated
from app.api.negotiation import STILLS, WALKS, ImageAnswer, answer_images, choose
from app.api.openapi import SEEING, answers, reads
from app.api.payloads import (
    Axis,
    Body,
    DirectionPoint,
    EncodedPoints,
    Label,
    LabelledImage,
    PictureOptions,
    Point,
    json_body,
)
from app.api.points import NO_TIME, displacement, noise_behind, prior_notes, resolve
from app.api.service import Deadline, ServiceOf, offering
from app.errors import FieldError, InvalidInput
from app.latent.arithmetic import traverse as traverse_latents
from app.latent.interpolation import Path, choose_path, walk
from app.runtime.answers import Timing, together
from app.runtime.model import GenerativeModel

Latents = NDArray[np.float32]
Latent = NDArray[np.float32]

MAX_POINTS = 64
MAX_EXTENT = 100.0

router = Router(tags=["images out"])

WalkingModel = Annotated[GenerativeModel, Depends(offering("interpolate"))]
TraversedModel = Annotated[GenerativeModel, Depends(offering("traverse"))]


class InterpolateRequest(Body):
    """Points to pass through, in order."""

    points: list[Point] = Field(min_length=2, max_length=MAX_POINTS)
    steps: int = Field(16, ge=2, description="Images a leg, both ends included; a shared end appears once.")
    path: Literal["auto", "linear", "spherical", "prior"] = Field(
        "auto",
        description="auto: spherical where the prior is a standard normal, whose mass lies on a shell; else linear. "
        "prior: an arc through the noise that a flow prior makes latents of; every Point is still met exactly.",
    )
    loop: bool = Field(False, description="Adds a leg back to the start, without repeating it.")
    label: Label | None = Field(None, description="Of every image; conditional models need it.")

    @property
    def frames(self) -> int:
        """How many images this asks for."""
        legs = len(self.points) if self.loop else len(self.points) - 1
        return legs * (self.steps - 1) + (0 if self.loop else 1)


class Frame(LabelledImage):
    """One image of a walk, its latent and how likely the prior makes it."""

    index: int
    png: str
    latent: list[float]
    log_prior_nats: float | None


class InterpolateAnswer(EncodedPoints):
    """The walk's images, in order."""

    model: str
    version: int
    path: Path
    images: list[Frame]


class TraverseRequest(Body):
    """A place, and the dimensions or directions to vary one at a time."""

    point: Point
    dimensions: list[Axis] = Field(
        min_length=1, description="Dimensions, which are set, and directions, which are added to the place."
    )
    extent: float = Field(3.0, gt=0, le=MAX_EXTENT, description="From −extent to +extent, of directions in steps.")
    steps: int = Field(9, ge=2)
    label: Label | None = Field(None, description="Of every image; conditional models need it.")


class TraversedImage(Frame):
    """One image, the dimension that was set in it and to what, or how many steps along which direction it lies."""

    dimension: int | None
    direction: str | None
    value: float


class TraverseAnswer(EncodedPoints):
    """All steps of the first dimension, then of the next."""

    model: str
    version: int
    images: list[TraversedImage]


INTERPOLATIONS: dict[str, dict[str, Any]] = {
    "Through the prior's noise": {"points": [{"seed": 7}, {"seed": 8}], "steps": 8, "path": "prior"},
    "Between two samples": {"points": [{"seed": 7}, {"seed": 8}], "steps": 8},
    "As one class of a conditional model": {"points": [{"seed": 7}, {"seed": 8}], "steps": 8, "label": 0},
    "A loop": {"points": [{"seed": 1}, {"seed": 2}, {"mean": [{"seed": 3}, {"seed": 4}]}], "steps": 4, "loop": True},
}
_TRAVERSAL = {"point": {"seed": 7}, "dimensions": [0, 1], "steps": 5}
TRAVERSALS: dict[str, dict[str, Any]] = {
    "Two dimensions": _TRAVERSAL,
    "As one class of a conditional model": _TRAVERSAL | {"label": 0},
}


@router.post(
    "/v1/models/{model}/interpolate",
    operation_id="interpolate",
    summary="Walk from Point to Point",
    responses=answers(InterpolateAnswer, *SEEING, formats=WALKS),
    openapi_extra=reads(InterpolateRequest, INTERPOLATIONS),
)
async def interpolate(
    request: Request,
    model: WalkingModel,
    body: Annotated[InterpolateRequest, Depends(json_body(InterpolateRequest))],
    options: Annotated[PictureOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """(P−1)(steps−1)+1 images for P points; a loop makes it P(steps−1). Animated as GIF, WebP or APNG."""
    chosen = choose(request.headers.get("accept"), options.format, WALKS)
    service.limits.check_images(body.frames, model, "/steps")
    placed = [(f"/points/{index}", point) for index, point in enumerate(body.points)]
    label = one_label(body.label, model, WALKING)
    places = await resolve(placed, model, service.limits, label=label, deadline=deadline)
    latents, path, walking = await _walk(body, places.latents, model, label, deadline)
    labels = repeated(label, len(latents))
    decoded = await model.decode(latents, labels=labels, deadline=deadline)
    notes, weighing = await prior_notes(latents, model, deadline)
    answer = ImageAnswer(
        model,
        "interpolate",
        decoded.images,
        latents,
        together(places.timing, walking, decoded.timing, weighing),
        notes=notes,
        summary={"path": path, **places.notes},
        labels=labels,
    )
    return await answer_images(answer, chosen, columns=options.columns, animated=True)


async def _walk(
    body: InterpolateRequest, points: Latents, model: GenerativeModel, label: int | None, deadline: float
) -> tuple[Latents, Path, Timing]:
    """The frames (F, D) between points (P, D), and the path that was taken."""
    path = choose_path(body.path, model.manifest.latent.prior)
    if path != "prior":
        return walk(points, body.steps, path=path, loop=body.loop), path, NO_TIME
    if "latent_to_noise" not in model.manifest.roles:
        detail = f"{model.ref} has no way from latents back to noise, which a walk through the prior takes"
        raise InvalidInput(detail, errors=[FieldError("/path", detail)])
    noise, inverting = await noise_behind(body.points, points, model, deadline)
    frames = walk(noise, body.steps, path="spherical", loop=body.loop)
    drawn = await model.latents_of(frames, labels=repeated(label, len(frames)), deadline=deadline)
    latents = drawn.latents.copy()
    latents[:: body.steps - 1] = points  # as they were given, not as they come back from the noise
    return latents, path, together(inverting, drawn.timing)


@router.post(
    "/v1/models/{model}/traverse",
    operation_id="traverse",
    summary="Vary single dimensions of a Point",
    responses=answers(TraverseAnswer, *SEEING, formats=STILLS),
    openapi_extra=reads(TraverseRequest, TRAVERSALS),
)
async def traverse(
    request: Request,
    model: TraversedModel,
    body: Annotated[TraverseRequest, Depends(json_body(TraverseRequest))],
    options: Annotated[PictureOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """What each dimension means, seen from one place. A contact sheet has one row a dimension."""
    chosen = choose(request.headers.get("accept"), options.format, STILLS)
    service.limits.check_images(len(body.dimensions) * body.steps, model, "/steps")
    axes = [_axis(axis, model, f"/dimensions/{index}") for index, axis in enumerate(body.dimensions)]
    label = one_label(body.label, model, WALKING)
    place = await resolve([("/point", body.point)], model, service.limits, label=label, deadline=deadline)
    latents, values = traverse_latents(place.latents[0], axes, extent=body.extent, steps=body.steps)
    labels = repeated(label, len(latents))
    decoded = await model.decode(latents, labels=labels, deadline=deadline)
    densities, weighing = await prior_notes(latents, model, deadline)
    swept = [_named(axis) | {"value": float(value)} for axis in body.dimensions for value in values]
    notes = [density | place for density, place in zip(densities, swept, strict=True)]
    timing = together(place.timing, decoded.timing, weighing)
    answer = ImageAnswer(
        model, "traverse", decoded.images, latents, timing, notes=notes, summary=place.notes, labels=labels
    )
    return await answer_images(answer, chosen, columns=options.columns or min(body.steps, 256))


def _axis(axis: int | DirectionPoint, model: GenerativeModel, pointer: str) -> int | Latent:
    """A dimension, or one step along a direction; raises InvalidInput where the model has none such."""
    if isinstance(axis, DirectionPoint):
        return displacement(axis.direction, model, pointer)
    if axis < (size := model.manifest.latent.size):
        return axis
    detail = f"this model has dimensions 0 … {size - 1}, not {axis}"
    raise InvalidInput(detail, errors=[FieldError(pointer, detail, limit=size - 1)])


def _named(axis: int | DirectionPoint) -> dict[str, int | str | None]:
    if isinstance(axis, DirectionPoint):
        return {"dimension": None, "direction": axis.direction}
    return {"dimension": axis, "direction": None}
