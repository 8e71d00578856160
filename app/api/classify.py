"""`classify`: the class of pictures, by a classifier, or by the density under every label and Bayes' rule."""

from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Depends, Query, Request
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from starlette.responses import Response

from app.api.declared import Router
from app.api.joint import joint_densities
from app.api.labels import resolve_labels
from app.api.negotiation import answer_json, choose
from app.api.openapi import SEEING, TINY_PNG, answers, pictures_in, reads
from app.api.payloads import AnswerPart, Options, Seed
from app.api.service import Deadline, ServiceOf, offering
from app.api.uploads import PicturesRequest, merged, read_pictures
from app.errors import FieldError, InvalidInput
from app.latent.noise import draw_seed
from app.runtime.model import GenerativeModel

router = Router(tags=["images in"])

ClassifyingModel = Annotated[GenerativeModel, Depends(offering("classify"))]
Method = Literal["classifier", "bayes"]


class ClassifyOptions(Options):
    """By which means; samples and seed are for Bayes' rule alone."""

    method: Method | None = Field(
        None,
        description="classifier: the model's own, q(y|x), and what null means where there is one. bayes: p(y|x) = "
        "p(x|y) p(y) / p(x) of a conditional density, estimated from importance-weighted bounds.",
    )
    samples: int = Field(16, ge=1, description="Importance samples under each class, which counts as an image.")
    seed: Seed | None = Field(None, description="Drawn and returned when null.")


class ClassifyRequest(PicturesRequest, ClassifyOptions):
    """Pictures to classify."""

    model_config = ConfigDict(strict=True)


class Classification(AnswerPart):
    """The index of the most likely class among `classes`, and how likely each is."""

    label: int
    probabilities: list[float]


class ClassifyAnswer(AnswerPart):
    """One classification a picture, in order; seed and samples are null where there were none."""

    model: str
    version: int
    method: Method
    seed: int | None
    samples: int | None
    classes: list[str]
    classifications: list[Classification]


EXAMPLES: dict[str, dict[str, Any]] = {
    "One picture": {"images": [TINY_PNG]},
    "By Bayes' rule": {"images": [TINY_PNG], "method": "bayes", "samples": 32, "seed": 7},
}


@router.post(
    "/v1/models/{model}/classify",
    operation_id="classify",
    summary="Name the class of pictures",
    responses=answers(ClassifyAnswer, *SEEING),
    openapi_extra=reads(ClassifyRequest, EXAMPLES, pictures_in(ClassifyOptions)),
)
async def classify(
    request: Request,
    model: ClassifyingModel,
    address: Annotated[ClassifyOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The answer's `method` says what the probabilities are: those of a classifier, or estimates by Bayes' rule.

    They are shared among the model's classes, also for a picture of none of them.
    """
    choose(request.headers.get("accept"), None, ("json",))
    pictures, fields = await read_pictures(request, model, service.limits, ClassifyRequest)
    resolve_labels(fields.get("label"), model, len(pictures), ())
    options = merged(ClassifyOptions, address, fields)
    method = _method(options.method, model)
    seed, samples = (None, None) if method == "classifier" else (options.seed, options.samples)
    if samples is not None:
        seed = draw_seed() if seed is None else seed
        joints = await joint_densities(pictures, model, service.limits, samples, seed, deadline)
        probabilities, timing = np.array([found.probabilities for found in joints.posteriors]), joints.timing
    else:
        found = await model.classify(pictures, deadline=deadline)
        probabilities, timing = softmax(found.logits), found.timing
    said = {"method": method, "seed": seed, "samples": samples, "classes": model.manifest.classes}
    content = said | {"classifications": _classifications(probabilities)}
    return await answer_json(model, lambda: content, size=probabilities.size, timing=timing, seed=seed)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities (N, classes) in double precision."""
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return probabilities


def _method(wanted: Method | None, model: GenerativeModel) -> Method:
    """What is wanted; of a model that is left the choice its classifier, or else Bayes' rule. Raises InvalidInput."""
    means: dict[Method, bool] = {
        "classifier": "image_to_class" in model.manifest.roles,
        "bayes": model.takes_label("image_to_evidence"),
    }
    offered = [method for method, there in means.items() if there]
    if wanted is None or wanted in offered:
        return wanted or offered[0]
    detail = f"{model.ref} classifies by {' or '.join(offered)}, not by {wanted}"
    raise InvalidInput(detail, errors=[FieldError("/method", detail)])


def _classifications(probabilities: NDArray[np.float64]) -> list[dict[str, Any]]:
    return [{"label": int(row.argmax()), "probabilities": row.tolist()} for row in probabilities]
