"""`decode`: images from latents that the caller brings."""

from typing import Annotated, Any

import numpy as np
from fastapi import Depends, Query, Request
from numpy.typing import NDArray
from pydantic import Field
from starlette.responses import Response

from app.api.arrays import read_latents_json, read_latents_npy, read_latents_raw
from app.api.declared import Router
from app.api.labels import DECODING, given_labels, resolve_labels
from app.api.negotiation import STILLS, ImageAnswer, answer_images, choose
from app.api.openapi import BINARY, READING, answers, reads
from app.api.payloads import (
    JSON,
    AnswerPart,
    Body,
    Coordinate,
    LabelledImage,
    LabelOptions,
    Labels,
    PictureOptions,
    media_type_of_body,
    read_json,
)
from app.api.service import Deadline, ServiceOf, offering
from app.errors import InvalidInput, UnsupportedMediaType, shorten
from app.runtime.model import GenerativeModel

NPY, RAW = "application/x-npy", "application/octet-stream"

router = Router(tags=["images out"])

DecodingModel = Annotated[GenerativeModel, Depends(offering("decode"))]


class DecodeRequest(Body):
    """Latents, each of the model's length."""

    latents: list[list[Coordinate]] = Field(min_length=1)
    label: Labels | None = Field(None, description="Conditional models need it.")


class DecodeOptions(PictureOptions, LabelOptions):
    """How pictures travel, and the label of latents that come as an array."""


class DecodedImage(LabelledImage):
    """One image and its latent."""

    index: int
    png: str
    latent: list[float]


class DecodeAnswer(AnswerPart):
    """Images in the order of the latents."""

    model: str
    version: int
    images: list[DecodedImage]


EXAMPLES: dict[str, dict[str, Any]] = {
    "Two places of a two-dimensional model": {"latents": [[0.0, 0.0], [1.5, -0.5]]},
    "One place as two classes of a conditional model": {"latents": [[1.0, 0.0], [1.0, 0.0]], "label": [0, 1]},
}
BINARY_LATENTS = {
    NPY: {"schema": BINARY | {"description": "float32 (N, D), C order"}},
    RAW: {"schema": BINARY | {"description": "float32 little-endian, N·D numbers"}},
}


@router.post(
    "/v1/models/{model}/decode",
    operation_id="decode",
    summary="Turn latents into images",
    responses=answers(DecodeAnswer, *READING, formats=STILLS),
    openapi_extra=reads(DecodeRequest, EXAMPLES, BINARY_LATENTS),
)
async def decode(
    request: Request,
    model: DecodingModel,
    options: Annotated[DecodeOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The mean of p(x|z) for each latent."""
    chosen = choose(request.headers.get("accept"), options.format, STILLS)
    latents, fields = await _read_latents(request, model.manifest.latent.size)
    service.limits.check_images(len(latents), model, "/latents")
    labels = resolve_labels(given_labels(options, fields), model, len(latents), DECODING, spare=True)
    decoded = await model.decode(latents, labels=labels, deadline=deadline)
    answer = ImageAnswer(model, "decode", decoded.images, latents, decoded.timing, labels=labels)
    return await answer_images(answer, chosen, columns=options.columns)


async def _read_latents(request: Request, size: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Latents (N, D), and what else a JSON body says."""
    sent, body = media_type_of_body(request), await request.body()
    if not body:
        raise InvalidInput("the body is empty; send latents")
    match sent:
        case "application/json":
            sent_json = await read_json(request, DecodeRequest)
            return read_latents_json(sent_json.latents, size), {"label": sent_json.label}
        case "application/x-npy":
            return read_latents_npy(body, size), {}
        case "application/octet-stream":
            return read_latents_raw(body, size), {}
        case _:
            raise UnsupportedMediaType(f"latents are not read as {shorten(sent)}", accepted=[JSON, NPY, RAW])
