"""`replay`: a receipt, or a picture that carries one, gives the same bytes again, or a list of what has changed."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from starlette.responses import Response

from app.api.arrays import check_length
from app.api.declared import Router
from app.api.labels import SAMPLING, Indices, one_label
from app.api.negotiation import ImageAnswer, answer_images, choose
from app.api.openapi import BINARY, READING, binary_answer, reads
from app.api.payloads import JSON, media_type_of_body, parse_json, read_json
from app.api.points import NO_TIME
from app.api.receipts import EXAMPLES, LatentOrigin, Receipt, SeedOrigin
from app.api.service import Deadline, ServiceOf, not_offered
from app.api.uploads import MULTIPART, read_form
from app.errors import (
    CapabilityNotOffered,
    FieldError,
    InvalidInput,
    ModelNotFound,
    ReceiptNotReproducible,
    UnsupportedMediaType,
    shorten,
)
from app.images.headers import media_type_of
from app.images.receipts import read_receipt
from app.manifest import GraphRole
from app.runtime.answers import Timing, together
from app.runtime.model import GenerativeModel
from app.runtime.repository import ModelRepository
from app.runtime.session import RUNTIME
from app.runtime.threads import in_thread

PNG = "image/png"
ACCEPTED = (PNG, MULTIPART, JSON)

router = Router(tags=["images out"])


_FORM = {"type": "object", "required": ["image"], "properties": {"image": BINARY}}


@router.post(
    "/v1/replay",
    operation_id="replay",
    summary="Make a picture again from its receipt",
    response_class=Response,
    responses=binary_answer(PNG, *READING, ReceiptNotReproducible, description="The same bytes as the first time."),
    openapi_extra=reads(Receipt, EXAMPLES, {PNG: {"schema": BINARY}, MULTIPART: {"schema": _FORM}}),
)
async def replay(request: Request, service: ServiceOf, deadline: Deadline) -> Response:
    """Of a PNG from here, or of the receipt in it. Where a picture is sent, the answer is compared with it."""
    choose(request.headers.get("accept"), None, ("png",))
    receipt, picture = await _read(request)
    model = _maker(receipt, service.repository)
    service.limits.check_images(len(receipt.origins), model, "/images")
    labels = _labels(receipt, model)
    latents, drawing = await _latents(receipt.origins, model, labels, deadline)
    decoded = await model.decode(latents, labels=labels, deadline=deadline)
    said = [_said(origin, latent) for origin, latent in zip(receipt.origins, latents, strict=True)]
    answer = ImageAnswer(
        model,
        receipt.root.operation,
        decoded.images,
        latents,
        together(drawing, decoded.timing),
        origins=said,
        labels=labels,
    )
    response = await answer_images(answer, "png", columns=receipt.columns)
    if picture is not None and picture != response.body:
        detail = "the picture was edited since, or another release of the service encoded it"
        raise ReceiptNotReproducible(detail, errors=[FieldError("", detail)])
    return response


async def _read(request: Request) -> tuple[Receipt, bytes | None]:
    """The receipt, and the picture that carried it."""
    sent = media_type_of_body(request)
    if sent == JSON:
        return await read_json(request, Receipt), None
    if sent == PNG:
        picture = await request.body()
    elif sent == MULTIPART:
        picture, *others = (await read_form(request)).files
        if others:
            raise InvalidInput("one picture is made again at a time")
    else:
        raise UnsupportedMediaType(f"receipts are not read as {shorten(sent) or 'an unnamed type'}", accepted=ACCEPTED)
    text = read_receipt(picture) if media_type_of(picture) == PNG else None
    if text is None:
        raise InvalidInput("this is no PNG with a receipt of this service")
    return await in_thread(parse_json, text.encode(), Receipt), picture


def _maker(receipt: Receipt, repository: ModelRepository) -> GenerativeModel:
    """The model that made the picture; raises ReceiptNotReproducible when anything of it is another one now."""
    said = receipt.root
    try:
        model = repository.get(f"{said.model}@{said.version}")
    except ModelNotFound as error:
        known = any(version.name == said.model for version in repository.published())
        raise _changed([FieldError("/version" if known else "/model", error.detail)]) from None
    if "decode" not in model.capabilities:
        raise CapabilityNotOffered(f"{model.ref} makes no images", capabilities=model.capabilities)
    now = {
        "graph_sha256": _sha256(model, "latent_to_image"),
        "noise_to_latent_sha256": _sha256(model, "noise_to_latent"),
        "runtime": RUNTIME,
    }
    then = said.model_dump(include=set(now), exclude_none=True)
    if changed := [
        FieldError(f"/{name}", f"it was {shorten(was)}, it is {shorten(now[name])}")
        for name, was in then.items()
        if now[name] != was
    ]:
        raise _changed(changed)
    return model


def _sha256(model: GenerativeModel, role: GraphRole) -> str:
    return model.manifest.graph(role).sha256 if role in model.manifest.roles else "no graph"


def _changed(changes: list[FieldError]) -> ReceiptNotReproducible:
    return ReceiptNotReproducible("; ".join(f"{part.pointer[1:]}: {part.detail}" for part in changes), errors=changes)


def _labels(receipt: Receipt, model: GenerativeModel) -> Indices | None:
    """The class of each image; raises InvalidInput where the receipt must state one and does not, or the other way."""
    sheet = receipt.columns is not None
    found = [
        one_label(origin.label, model, SAMPLING, pointer=f"/images/{index}/label" if sheet else "/label")
        for index, origin in enumerate(receipt.origins)
    ]
    return np.array(found, np.int64) if model.takes_label(*SAMPLING) else None


async def _latents(
    origins: list[SeedOrigin | LatentOrigin], model: GenerativeModel, labels: Indices | None, deadline: float
) -> tuple[NDArray[np.float32], Timing]:
    """The latents (N,D) of all origins; those of seeds are drawn in one run."""
    given = iter([_given(origin, model) for origin in origins if isinstance(origin, LatentOrigin)])
    seeded = [origin for origin in origins if isinstance(origin, SeedOrigin)]
    told = labels[[isinstance(origin, SeedOrigin) for origin in origins]] if labels is not None else None
    drawn, timing = await _drawn(seeded, model, told, deadline) if seeded else (iter(()), NO_TIME)
    return np.stack([next(given if isinstance(origin, LatentOrigin) else drawn) for origin in origins]), timing


def _given(origin: LatentOrigin, model: GenerativeModel) -> NDArray[np.float32]:
    check_length(len(origin.latent), model.manifest.latent.size, "/latent")
    return np.asarray(origin.latent, np.float32)


async def _drawn(
    origins: list[SeedOrigin], model: GenerativeModel, labels: Indices | None, deadline: float
) -> tuple[Iterator[NDArray[np.float32]], Timing]:
    if "sample" not in model.capabilities:
        raise not_offered(model, "sample")
    noise = await in_thread(_noise, origins, model)
    drawn = await model.latents_of(noise, labels=labels, deadline=deadline)
    return iter(drawn.latents), drawn.timing


def _noise(origins: list[SeedOrigin], model: GenerativeModel) -> NDArray[np.float32]:
    rows = [
        model.seed_noise(origin.seed, [origin.index], temperature=origin.temperature, truncation=origin.truncation)
        for origin in origins
    ]
    return np.concatenate(rows)


def _said(origin: SeedOrigin | LatentOrigin, latent: NDArray[np.float32]) -> dict[str, Any]:
    """What the receipt says of an image, but for its label, in the words of the first time."""
    if isinstance(origin, LatentOrigin):
        return {"latent": latent}
    return {name: getattr(origin, name) for name in SeedOrigin.model_fields if name != "label"}
