"""`arithmetic`: a weighted sum of Points, decoded (`smile − neutral + face` of the DCGAN paper)."""

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Depends, Query, Request
from pydantic import Field
from starlette.responses import Response

from app.api.arrays import check_latents
from app.api.declared import Router
from app.api.labels import WALKING, one_label, repeated
from app.api.negotiation import STILLS, ImageAnswer, answer_images, choose
from app.api.openapi import SEEING, TINY_PNG, answers, reads
from app.api.payloads import (
    Body,
    Coordinate,
    Displacement,
    EncodedPoints,
    Label,
    LabelledImage,
    PictureOptions,
    json_body,
)
from app.api.points import prior_notes, resolve
from app.api.service import Deadline, ServiceOf, offering
from app.latent.arithmetic import combine, rescale_to_typical
from app.runtime.answers import together
from app.runtime.model import GenerativeModel

MAX_TERMS = 64

router = Router(tags=["images out"])

AddingModel = Annotated[GenerativeModel, Depends(offering("arithmetic"))]


class Term(Body):
    """One Point, or one of the model's directions, and how often it counts; negative to take it away."""

    weight: Coordinate = 1.0
    point: Displacement


class ArithmeticRequest(Body):
    """A sum of Points and displacements."""

    terms: list[Term] = Field(min_length=1, max_length=MAX_TERMS)
    renormalize: Literal["none", "typical"] = Field(
        "none", description="typical: scale the sum to the length √D that latents of a standard normal prior have."
    )
    label: Label | None = Field(None, description="Of the image; conditional models need it.")


class CombinedImage(LabelledImage):
    """The image, its latent and how likely the prior makes it."""

    index: int
    png: str
    latent: list[float]
    log_prior_nats: float | None


class ArithmeticAnswer(EncodedPoints):
    """`images` of one."""

    model: str
    version: int
    images: list[CombinedImage]


EXAMPLES: dict[str, dict[str, Any]] = {
    "a − b + c": {
        "terms": [
            {"weight": 1.0, "point": {"mean": [{"seed": 1}, {"seed": 2}]}},
            {"weight": -1.0, "point": {"seed": 3}},
            {"weight": 1.0, "point": {"seed": 4}},
        ],
        "renormalize": "typical",
    },
    "A picture of one class made again as another": {
        "terms": [{"point": {"image": TINY_PNG, "label": 0}}],
        "label": 1,
    },
}


@router.post(
    "/v1/models/{model}/arithmetic",
    operation_id="arithmetic",
    summary="Add and subtract Points",
    responses=answers(ArithmeticAnswer, *SEEING, formats=STILLS),
    openapi_extra=reads(ArithmeticRequest, EXAMPLES),
)
async def arithmetic(
    request: Request,
    model: AddingModel,
    body: Annotated[ArithmeticRequest, Depends(json_body(ArithmeticRequest))],
    options: Annotated[PictureOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The weighted sum of the terms, and the image there."""
    chosen = choose(request.headers.get("accept"), options.format, STILLS)
    placed = [(f"/terms/{index}/point", term.point) for index, term in enumerate(body.terms)]
    label = one_label(body.label, model, WALKING)
    places = await resolve(placed, model, service.limits, label=label, deadline=deadline)
    latent = combine(np.array([term.weight for term in body.terms]), places.latents).astype(np.float32)
    latent = rescale_to_typical(latent) if body.renormalize == "typical" else latent
    latents = check_latents(latent[None], model.manifest.latent.size, pointer="/terms")
    labels = repeated(label, 1)
    decoded = await model.decode(latents, labels=labels, deadline=deadline)
    notes, weighing = await prior_notes(latents, model, deadline)
    timing = together(places.timing, decoded.timing, weighing)
    answer = ImageAnswer(
        model, "arithmetic", decoded.images, latents, timing, notes=notes, summary=places.notes, labels=labels
    )
    return await answer_images(answer, chosen, columns=options.columns)
