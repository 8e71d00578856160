"""`decode`: images from latents that the caller brings."""

from typing import Annotated, Any

import numpy as np
from fastapi import Depends, Query, Request
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.api.arrays import read_latents_json, read_latents_npy, read_latents_raw
from app.api.declared import Router
from app.api.negotiation import STILLS, ImageAnswer, answer_images, choose
from app.api.openapi import BINARY, READING, answers, reads
from app.api.payloads import JSON, Body, Coordinate, PictureOptions, media_type_of_body, read_json
from app.api.service import Deadline, ServiceOf, offering
from app.errors import InvalidInput, UnsupportedMediaType, shorten
from app.runtime.model import GenerativeModel

NPY, RAW = "application/x-npy", "application/octet-stream"

router = Router(tags=["images out"])

DecodingModel = Annotated[GenerativeModel, Depends(offering("decode"))]


class DecodeRequest(Body):
    """Latents, each of the model's length."""

    latents: list[list[Coordinate]] = Field(min_length=1)


class DecodedImage(BaseModel):
    """One image and its latent."""

    index: int
    png: str
    latent: list[float]


class DecodeAnswer(BaseModel):
    """Images in the order of the latents."""

    model: str
    version: int
    images: list[DecodedImage]


EXAMPLES: dict[str, dict[str, Any]] = {"Two places of a two-dimensional model": {"latents": [[0.0, 0.0], [1.5, -0.5]]}}
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
    options: Annotated[PictureOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The mean of p(x|z) for each latent."""
    chosen = choose(request.headers.get("accept"), options.format, STILLS)
    latents = await _read_latents(request, model.manifest.latent.size)
    service.limits.check_images(len(latents), model, "/latents")
    decoded = await model.decode(latents, deadline=deadline)
    answer = ImageAnswer(model, "decode", decoded.images, latents, decoded.timing)
    return await answer_images(answer, chosen, columns=options.columns)


async def _read_latents(request: Request, size: int) -> NDArray[np.float32]:
    sent, body = media_type_of_body(request), await request.body()
    if not body:
        raise InvalidInput("the body is empty; send latents")
    match sent:
        case "application/json":
            return read_latents_json((await read_json(request, DecodeRequest)).latents, size)
        case "application/x-npy":
            return read_latents_npy(body, size)
        case "application/octet-stream":
            return read_latents_raw(body, size)
        case _:
            raise UnsupportedMediaType(f"latents are not read as {shorten(sent)}", accepted=[JSON, NPY, RAW])
