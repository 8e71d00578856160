"""`sample`: images from the prior, by POST and as an address for `<img>`."""

from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from pydantic import Field
from starlette.responses import Response

from app.api.declared import Router
from app.api.labels import SAMPLING, Indices, resolve_labels
from app.api.negotiation import STILLS, ImageAnswer, answer_images, choose, with_etag
from app.api.openapi import READING, RUNNING, answers, binary_answer, reads
from app.api.payloads import AnswerPart, Body, LabelledImage, LabelOptions, Labels, PictureOptions, Seed, json_body
from app.api.service import Deadline, Service, ServiceOf, check_offers, offering
from app.errors import FieldError, InvalidInput
from app.latent.noise import draw_seed
from app.runtime.model import GenerativeModel
from app.runtime.refining import refine

MAX_TEMPERATURE = 10.0
"""The noise's tail (|z| < 9) times this stays far inside the cap on coordinates."""

router = Router(tags=["images out"])

SampledModel = Annotated[GenerativeModel, Depends(offering("sample"))]
Temperature = Annotated[float, Field(ge=0, le=MAX_TEMPERATURE, description="Scales the noise; 0 gives the mean image.")]
Truncation = Annotated[float, Field(gt=0, le=10, description="Redraws nothing: noise is drawn within ±truncation.")]


Refinement = Annotated[
    int,
    Field(
        ge=2,
        le=1024,
        description="Proposals an image: a Metropolis-Hastings chain through so many samples, led by the calibrated "
        "discriminator, gives its last. Each counts as an importance sample. Not with temperature or truncation.",
    ),
]


class SampleRequest(Body):
    """How many images, from which seed, and how far from the centre of the prior."""

    count: int = Field(1, ge=1)
    seed: Seed | None = Field(None, description="Drawn and returned when null.")
    temperature: Temperature = 1.0
    truncation: Truncation | None = None
    label: Labels | None = Field(None, description="Of conditional models; drawn from the seed when null.")
    refine: Refinement | None = None


class SampleOptions(LabelOptions):
    """The same as an address."""

    count: int = Field(1, ge=1)
    seed: Seed | None = None
    temperature: Temperature = 1.0
    truncation: Truncation | None = None
    refine: Refinement | None = None
    index: int = Field(0, ge=0, lt=2**31, description="Of the first image among those of the seed.")
    columns: int | None = Field(None, ge=1, le=256, description="Columns of the contact sheet when there are several.")


class SampledImage(LabelledImage):
    """One image and the latent that it was decoded from."""

    index: int
    png: str
    latent: list[float]
    acceptance: float | None = Field(
        None, description="The share of its proposals that the chain moved to; stated where images are refined."
    )


class RefinementAnswer(AnswerPart):
    """How images were refined; `acceptance` is the mean of theirs."""

    method: Literal["metropolis_hastings"]
    proposals: int
    acceptance: float


class SampleAnswer(AnswerPart):
    """Images of one seed."""

    model: str
    version: int
    seed: int
    refined: RefinementAnswer | None = Field(None, description="Stated where that was asked for.")
    images: list[SampledImage]


HEADERS: dict[str, dict[str, Any]] = {
    "X-Seed": {"description": "The seed of the images.", "schema": {"type": "integer"}},
    "X-Acceptance": {
        "description": "Stated where images are refined: the mean of their acceptance rates, as in the JSON.",
        "schema": {"type": "number", "minimum": 0, "maximum": 1},
    },
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "One image": {},
    "Four images of a seed": {"count": 4, "seed": 7},
    "Typical images": {"count": 4, "seed": 7, "temperature": 0.7, "truncation": 2.0},
    "Of two classes of a conditional model": {"count": 2, "seed": 7, "label": [0, 1]},
}


@router.post(
    "/v1/models/{model}/sample",
    operation_id="sample",
    summary="Draw images from the prior",
    responses=answers(
        SampleAnswer,
        *READING,
        formats=STILLS,
        description="Image i of a seed is always the same bytes.",
        headers=HEADERS,
    ),
    openapi_extra=reads(SampleRequest, EXAMPLES),
)
async def sample(
    request: Request,
    model: SampledModel,
    body: Annotated[SampleRequest, Depends(json_body(SampleRequest))],
    options: Annotated[PictureOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """Image i depends on the seed and i alone: not on the count, nor on who else is asking."""
    chosen = choose(request.headers.get("accept"), options.format, STILLS)
    return await answer_images(await draw(model, body, service, deadline), chosen, columns=options.columns)


@router.get(
    "/v1/models/{model}/sample.png",
    operation_id="sample_png",
    summary="Draw images, as an address for <img>",
    response_class=Response,
    responses={
        **binary_answer(
            "image/png", *RUNNING, description="One image, or a contact sheet of several.", headers=HEADERS
        ),
        304: {"description": "The picture is the one that `If-None-Match` names."},
    },
)
async def sample_png(
    request: Request,
    model: SampledModel,
    options: Annotated[SampleOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """Cached for ever when the address names both the seed and the version (`tiny_vae@1`)."""
    drawn = await draw(model, options, service, deadline, first=options.index)
    response = await answer_images(drawn, "png", columns=options.columns)
    pinned = options.seed is not None and "@" in request.path_params["model"]
    response.headers["Cache-Control"] = _caching(seeded=options.seed is not None, pinned=pinned, public=service.public)
    return with_etag(request, response)


def _caching(*, seeded: bool, pinned: bool, public: bool) -> str:
    scope = "public" if public else "private"
    if pinned:
        return f"{scope}, max-age=31536000, immutable"
    return f"{scope}, no-cache" if seeded else "no-store"


async def draw(
    model: GenerativeModel, wish: SampleRequest | SampleOptions, service: Service, deadline: float, *, first: int = 0
) -> ImageAnswer:
    """The images that were wished for, from index `first` of the seed on; a seed is drawn where none is given."""
    service.limits.check_images(wish.count, model, "/count")
    seed = draw_seed() if wish.seed is None else wish.seed
    indices = range(first, first + wish.count)
    labels = _labels(model, wish, seed, indices)
    if wish.refine is not None:
        _check_refinement(model, wish, wish.refine, service)
        return await _refined(model, seed, indices, wish.refine, labels, deadline)
    samples = await model.sample(
        seed, indices, temperature=wish.temperature, truncation=wish.truncation, labels=labels, deadline=deadline
    )
    said = {"temperature": wish.temperature, "truncation": wish.truncation}
    return ImageAnswer(
        model,
        "sample",
        samples.images,
        samples.latents,
        samples.timing,
        origins=[{"seed": seed, "index": index, **said} for index in indices],
        summary={"seed": seed},
        seed=seed,
        labels=labels,
    )


def _check_refinement(
    model: GenerativeModel, wish: SampleRequest | SampleOptions, proposals: int, service: Service
) -> None:
    """Raise CapabilityNotOffered or InvalidInput where images cannot be refined as wished."""
    check_offers(model, "refine")
    service.limits.check_samples(proposals, wish.count, "/refine")
    if wish.temperature != 1 or wish.truncation is not None:
        detail = "refine corrects samples of the prior itself: leave out temperature and truncation"
        raise InvalidInput(detail, errors=[FieldError("/refine", detail)])


async def _refined(
    model: GenerativeModel, seed: int, indices: range, proposals: int, labels: Indices | None, deadline: float
) -> ImageAnswer:
    """Images that the discriminator chose; their receipts state their latents, which make them again."""
    found = await refine(model, seed, indices, proposals=proposals, labels=labels, deadline=deadline)
    acceptance = float(found.acceptance.mean())
    said = {"method": "metropolis_hastings", "proposals": proposals, "acceptance": acceptance}
    return ImageAnswer(
        model,
        "sample",
        found.images,
        found.latents,
        found.timing,
        notes=[{"acceptance": float(share)} for share in found.acceptance],
        summary={"seed": seed, "refined": said},
        seed=seed,
        labels=labels,
        acceptance=acceptance,
    )


def _labels(model: GenerativeModel, wish: SampleRequest | SampleOptions, seed: int, indices: range) -> Indices | None:
    """As wished for; where a conditional model is left the choice, those that the seed draws by p(y)."""
    if wish.label is None:
        return model.draw_labels(seed, indices)
    return resolve_labels(wish.label, model, wish.count, SAMPLING)
