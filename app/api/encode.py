"""`encode` and `reconstruct`: pictures to latents, and back again."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, Query, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from app.api.declared import Router
from app.api.labels import DECODING, given_labels, label_notes, resolve_labels
from app.api.negotiation import STILLS, ImageAnswer, answer_images, answer_json, choose, dump_arrays
from app.api.openapi import SEEING, TINY_PNG, answers, pictures_in, reads
from app.api.payloads import (
    ENCODING_METHODS,
    AnswerPart,
    LabelledImage,
    LabelOptions,
    Options,
    PictureOptions,
    Seed,
)
from app.api.points import NO_TIME, choose_method, with_error
from app.api.service import Deadline, ServiceOf, offering
from app.api.uploads import PicturesRequest, merged, read_pictures
from app.images.pixels import squared_errors
from app.latent.noise import draw_seed
from app.runtime.answers import Encoded, EncodingMethod, Timing, together
from app.runtime.inverting import encoding_roles
from app.runtime.model import GenerativeModel

router = Router(tags=["images in"])

EncodingModel = Annotated[GenerativeModel, Depends(offering("encode"))]
ReconstructingModel = Annotated[GenerativeModel, Depends(offering("reconstruct"))]


class EncodeOptions(Options):
    """How many samples of the posterior, and from which seed."""

    draws: int = Field(0, ge=0)
    seed: Seed | None = Field(None, description="Drawn and returned when null and there are draws.")
    method: EncodingMethod | None = Field(None, description=ENCODING_METHODS)


class EncodeAddress(EncodeOptions, LabelOptions):
    """The same in an address or a form."""


class Means(Options):
    """By which means pictures become latents."""

    method: EncodingMethod | None = Field(None, description=ENCODING_METHODS)


class ReconstructOptions(PictureOptions, Means, LabelOptions):
    """How pictures travel, how they become latents, and what they are pictures of."""


class ReconstructFields(Means, LabelOptions):
    """What a form may say beside the pictures."""


class ReconstructRequest(PicturesRequest, Means):
    """Pictures to encode and decode again."""

    model_config = ConfigDict(strict=True)


class EncodeRequest(PicturesRequest, EncodeOptions):
    """Pictures, and what to draw from their posteriors."""

    model_config = ConfigDict(strict=True)


class Cluster(AnswerPart):
    """The component of a mixture prior that the mean most probably belongs to: the largest p(component | latent)."""

    component: int
    probability: float


class EncodedPicture(LabelledImage):
    """Where one picture lies in latent space."""

    mean: list[float]
    scale: list[float] | None
    draws: list[list[float]]
    mse: float | None = Field(
        None,
        description="Of the pixels in [0, 1] of the image at the mean; stated by GANs and where that was searched for.",
    )
    cluster: Cluster | None = Field(None, description="Stated where the prior is a mixture.")


class EncodeAnswer(AnswerPart):
    """One posterior a picture."""

    model: str
    version: int
    method: EncodingMethod
    seed: int | None
    latents: list[EncodedPicture]


class ReconstructedImage(LabelledImage):
    """One picture, encoded and decoded again; `mse` is the mean squared difference of pixels in [0, 1]."""

    index: int
    png: str
    latent: list[float]
    mse: float


class ReconstructAnswer(AnswerPart):
    """Pictures in the order they came."""

    model: str
    version: int
    method: EncodingMethod
    images: list[ReconstructedImage]


PICTURE: dict[str, dict[str, Any]] = {
    "One picture": {"images": [TINY_PNG]},
    "One picture of a class, for a conditional model": {"images": [TINY_PNG], "label": 0},
}
SEARCHED: dict[str, dict[str, Any]] = {"By search": {"images": [TINY_PNG], "method": "optimize"}}
ENCODINGS = PICTURE | SEARCHED | {"With draws from the posterior": {"images": [TINY_PNG], "draws": 2, "seed": 7}}


@router.post(
    "/v1/models/{model}/encode",
    operation_id="encode",
    summary="Turn pictures into latents",
    responses=answers(EncodeAnswer, *SEEING),
    openapi_extra=reads(EncodeRequest, ENCODINGS, pictures_in(EncodeAddress)),
)
async def encode(
    request: Request,
    model: EncodingModel,
    address: Annotated[EncodeAddress, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The posterior of each picture: its mean, its scale where the encoder has one, and draws.

    `method: optimize` searches instead for the latent whose image is nearest to the picture, through the generator's
    gradient, from what the encoder says where there is one and from samples; it states the error that it reached.
    """
    choose(request.headers.get("accept"), None, ("json",))
    pictures, fields = await read_pictures(request, model, service.limits, EncodeRequest)
    options = merged(EncodeOptions, address, fields)
    service.limits.check_draws(options.draws, len(pictures))
    method = choose_method(options.method, model, draws=options.draws)
    labels = resolve_labels(given_labels(address, fields), model, len(pictures), encoding_roles(method), spare=True)
    seed = draw_seed() if options.draws and options.seed is None else options.seed
    encoded = await model.encode(
        pictures, draws=options.draws, seed=seed or 0, labels=labels, deadline=deadline, method=method
    )
    encoded = await with_error(encoded, pictures, model, labels, deadline)
    clusters, sorting = await _clusters(encoded, model, deadline)
    notes = [note | cluster for note, cluster in zip(label_notes(labels, len(pictures)), clusters, strict=True)]
    size = encoded.draws.size + encoded.mean.size
    return await answer_json(
        model,
        lambda: {"method": method, "seed": seed, "latents": _latents(encoded, notes)},
        size=size,
        timing=together(encoded.timing, sorting),
        seed=seed,
        dump=dump_arrays,
    )


async def _clusters(encoded: Encoded, model: GenerativeModel, deadline: float) -> tuple[list[dict[str, Any]], Timing]:
    """What is said of each picture's cluster: nothing where the prior has no components."""
    if not model.manifest.components:
        return [{}] * len(encoded.mean), NO_TIME
    terms = await model.prior_terms(encoded.mean, deadline=deadline)
    assert terms.log_component is not None  # noqa: S101  the signature says so
    best = terms.log_component.argmax(axis=1)
    probability = np.exp(np.minimum(terms.log_component.max(axis=1), 0))
    found = [{"component": int(k), "probability": p} for k, p in zip(best, probability, strict=True)]
    return [{"cluster": cluster} for cluster in found], terms.timing


def _latents(encoded: Encoded, notes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "mean": encoded.mean[index],
            "scale": None if encoded.scale is None else encoded.scale[index],
            "draws": list(encoded.draws[index]),
            **({} if encoded.mse is None else {"mse": encoded.mse[index]}),
            **note,
        }
        for index, note in enumerate(notes)
    ]


@router.post(
    "/v1/models/{model}/reconstruct",
    operation_id="reconstruct",
    summary="Encode pictures and decode them again",
    responses=answers(ReconstructAnswer, *SEEING, formats=STILLS),
    openapi_extra=reads(ReconstructRequest, PICTURE | SEARCHED, pictures_in(ReconstructFields)),
)
async def reconstruct(
    request: Request,
    model: ReconstructingModel,
    options: Annotated[ReconstructOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """What the model keeps of a picture: the image at the posterior's mean, or at the latent that a search found."""
    chosen = choose(request.headers.get("accept"), options.format, STILLS)
    pictures, fields = await read_pictures(request, model, service.limits, ReconstructRequest)
    means = merged(Means, Means(**options.model_dump(include={"method"}, exclude_unset=True)), fields)
    method = choose_method(means.method, model)
    roles = (*encoding_roles(method), *DECODING)
    labels = resolve_labels(given_labels(options, fields), model, len(pictures), roles, spare=True)
    encoded = await model.encode(pictures, labels=labels, deadline=deadline, method=method)
    decoded = await model.decode(encoded.mean, labels=labels, deadline=deadline)
    notes = [{"mse": float(value)} for value in squared_errors(pictures, decoded.images)]
    timing = together(encoded.timing, decoded.timing)
    answer = ImageAnswer(
        model,
        "reconstruct",
        decoded.images,
        encoded.mean,
        timing,
        notes=notes,
        summary={"method": method},
        labels=labels,
    )
    return await answer_images(answer, chosen, columns=options.columns)
