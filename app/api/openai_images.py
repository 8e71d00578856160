"""`/v1/images/generations`: sampling in the shape of OpenAI's image API, for its clients.

Errors have that API's form here. A prompt says nothing to a model without classes: the answer's `warning` says so.
"""

import base64
import time
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import Depends, Request
from pydantic import Field
from starlette.responses import Response

from app.api.declared import Router
from app.api.dialects import OPENAI_IMAGES, status_of
from app.api.labels import SAMPLING, class_index
from app.api.negotiation import ImageAnswer, answer_json
from app.api.openapi import Kind, reads
from app.api.payloads import AnswerPart, Body, Seed, json_body
from app.api.sample import SampleRequest, draw
from app.api.service import Deadline, ServiceOf, find_model
from app.errors import (
    BodyStalled,
    CapabilityNotOffered,
    DeadlineExceeded,
    FieldError,
    InvalidInput,
    MalformedJson,
    ModelNotFound,
    ModelOutputInvalid,
    ModelUnavailable,
    Overloaded,
    PayloadTooLarge,
    ShuttingDown,
    Unauthorized,
    UnsupportedMediaType,
    shorten,
)
from app.images.raster import encode_webp
from app.manifest import ImageSpace

router = Router(tags=["images out"])

IGNORED = (
    "user", "safety_identifier", "quality", "style", "background", "moderation", "output_compression", "partial_images"
)  # fmt: skip
"""What that API's clients send beside, and what has no meaning here."""


class ImagesRequest(Body):
    """How many images, of which model."""

    model: str = Field(description="`name` (its newest ready version) or `name@version`.")
    prompt: str = Field(
        "",
        max_length=32000,
        description="Of conditional models the name of a class, or its index; classes are drawn from the seed where it "
        "is empty. Has no effect on the others.",
    )
    n: int | None = Field(None, ge=1, description="Images; 1 when null.")
    size: str | None = Field(None, description='"auto" or the size of the model\'s images, such as "28x28".')
    response_format: Literal["b64_json", "url"] | None = Field(None, description="b64_json when null.")
    output_format: Literal["png", "webp"] | None = Field(None, description="png when null; webp is lossless.")
    seed: Seed | None = Field(None, description="Not part of OpenAI's API. Drawn and returned when null.")
    stream: Literal[False] | None = None
    user: Any = None
    safety_identifier: Any = None
    quality: Any = None
    style: Any = None
    background: Any = None
    moderation: Any = None
    output_compression: Any = None
    partial_images: Any = None

    def warning(self, *, conditional: bool) -> str:
        """What had no effect, and what the prompt was taken for."""
        prompt = "this model has no classes, so the prompt has no effect"
        if conditional:
            prompt = "the prompt was read as a class" if self.prompt else "without a prompt, classes were drawn"
        unheard = [name for name in IGNORED if getattr(self, name) is not None]
        return f"{prompt}; no effect had {', '.join(unheard)}" if unheard else prompt


class GeneratedImage(AnswerPart):
    """One image: its file as base64, or its address."""

    b64_json: str | None = None
    url: str | None = None


class ImagesAnswer(AnswerPart):
    """Images in the order of their indices."""

    model: str
    version: int
    created: int
    seed: int
    size: str
    output_format: Literal["png", "webp"]
    warning: str
    data: list[GeneratedImage]


class ErrorObject(AnswerPart):
    """What went wrong; `param` is the field that it is about."""

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str


class ErrorAnswer(AnswerPart):
    """An error in the form of OpenAI's API."""

    error: ErrorObject


EXAMPLES: dict[str, dict[str, Any]] = {
    "One image": {"model": "tiny_vae", "prompt": "anything"},
    "Three of a class of a conditional model": {"model": "tiny_labelled", "prompt": "left", "n": 3},
    "Four images of a seed, as addresses": {
        "model": "tiny_vae",
        "prompt": "",
        "n": 4,
        "seed": 7,
        "response_format": "url",
    },
}
_KINDS: tuple[Kind, ...] = (
    MalformedJson, Unauthorized, ModelNotFound, BodyStalled, CapabilityNotOffered, PayloadTooLarge,
    UnsupportedMediaType, InvalidInput, ModelUnavailable, Overloaded, ShuttingDown, DeadlineExceeded,
    ModelOutputInvalid,
)  # fmt: skip
_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": "; ".join(kind.title for kind in _KINDS if status_of(kind) == status)}
    for status in sorted({status_of(kind) for kind in _KINDS})
}


@router.post(
    OPENAI_IMAGES,
    operation_id="generate_images",
    summary="Draw images, for clients of OpenAI's API",
    responses={200: {"model": ImagesAnswer, "description": "Done."}, **_REFUSALS},
    openapi_extra=reads(ImagesRequest, EXAMPLES),
)
async def generate_images(
    request: Request,
    body: Annotated[ImagesRequest, Depends(json_body(ImagesRequest))],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The images of `sample`: image i depends on the seed and i alone."""
    model, count = find_model(service.repository, body.model, "sample"), body.n or 1
    size = _size(body, model.manifest.image)
    if body.response_format == "url" and body.output_format == "webp":
        raise InvalidInput("addresses are of PNG files", errors=[FieldError("/output_format", "png for addresses")])
    service.limits.check_images(count, model, "/n")
    conditional = model.takes_label(*SAMPLING)
    label = class_index(body.prompt, model, "/prompt") if conditional and body.prompt else None
    drawn = await draw(model, SampleRequest(count=count, seed=body.seed, label=label), service, deadline)
    said = {"created": int(time.time()), "seed": drawn.seed, "size": size}
    said["warning"] = body.warning(conditional=conditional)
    said["output_format"] = body.output_format or "png"
    base = str(request.base_url)
    return await answer_json(
        model,
        lambda: said | {"data": [_image(drawn, index, body, base) for index in range(count)]},
        size=drawn.images.size,
        timing=drawn.timing,
        seed=drawn.seed,
    )


def _size(body: ImagesRequest, space: ImageSpace) -> str:
    """The size of the model's images, `WIDTHxHEIGHT`; raises InvalidInput where another is asked for."""
    own = f"{space.width}x{space.height}"
    if body.size not in (None, "auto", own):
        detail = f'{body.model} makes images of "{own}"; ask for that or for "auto", not for "{shorten(body.size)}"'
        raise InvalidInput(detail, errors=[FieldError("/size", detail)])
    return own


def _address(drawn: ImageAnswer, index: int) -> str:
    """What makes one image, as the query of `sample.png`."""
    label = {} if drawn.labels is None else {"label": drawn.model.manifest.classes[drawn.labels[index]]}
    return urlencode({"seed": drawn.seed, "index": index, **label})


def _image(drawn: ImageAnswer, index: int, body: ImagesRequest, base: str) -> dict[str, str]:
    if body.response_format == "url":
        return {"url": f"{base}v1/models/{drawn.model.ref}/sample.png?{_address(drawn, index)}"}
    file = encode_webp(drawn.images[index]) if body.output_format == "webp" else drawn.png(index)
    return {"b64_json": base64.b64encode(file).decode()}
