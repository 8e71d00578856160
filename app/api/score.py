"""`score` and `realism`: how likely the model makes a picture, and how real its discriminator finds it."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.declared import Router
from app.api.joint import Joint, Joints, joint_densities
from app.api.labels import Indices, check_every_label, given_labels, label_notes, resolve_labels
from app.api.negotiation import answer_json, choose
from app.api.openapi import SEEING, TINY_PNG, answers, pictures_in, reads
from app.api.payloads import LabelledImage, LabelOptions, Options, Seed
from app.api.points import total
from app.api.service import Deadline, ServiceOf, offering
from app.api.uploads import PicturesRequest, merged, read_pictures
from app.density.bounds import Bounds, bits_per_dim
from app.density.outliers import Verdict, benjamini_hochberg, conformal_p_value, percentile
from app.latent.noise import draw_seed
from app.manifest import Manifest, OutlierStatistic
from app.runtime.answers import Scores
from app.runtime.model import GenerativeModel

router = Router(tags=["images in"])

ScoringModel = Annotated[GenerativeModel, Depends(offering("score"))]
JudgingModel = Annotated[GenerativeModel, Depends(offering("realism"))]


class ScoreOptions(Options):
    """How many importance samples an image, and from which seed."""

    samples: int = Field(64, ge=1, description="The bound tightens as they grow.")
    seed: Seed | None = Field(None, description="Drawn and returned when null.")
    fdr: float = Field(
        0.1, gt=0, lt=1, description="The share of false calls among the pictures called outliers, expected at most."
    )
    every_label: bool = Field(
        False,
        description="Of conditional models, in place of a label: score under every class, each of which counts as an "
        "image, and state p(x,y), p(x) and p(y|x).",
    )


class ScoreAddress(ScoreOptions, LabelOptions):
    """The same in an address or a form."""


class ScoreRequest(PicturesRequest, ScoreOptions):
    """Pictures to score."""

    model_config = ConfigDict(strict=True)


class Outlier(BaseModel):
    """Small p-values: unlike the held-out images that the statistics were calibrated on.

    `p_value` is of all statistics together, `statistic` the one that is furthest out. `q_value` corrects for the number
    of pictures in the request (Benjamini-Hochberg); `outlier` is whether it is at or below the request's `fdr`.
    """

    p_value: float
    statistic: OutlierStatistic
    p_values: dict[OutlierStatistic, float]
    q_value: float
    outlier: bool


class Score(LabelledImage):
    """Bounds on log p(x) of one picture; what is undefined is null.

    ELBO = reconstruction − KL = energy + entropy = importance-weighted − inference gap. Of a conditional model the
    bounds are on log p(x|y) with y the `label`, which under `every_label` is the one of largest p(y|x).
    """

    elbo_nats: float
    importance_weighted_nats: float
    standard_error_nats: float | None
    reconstruction_nats: float
    kl_nats: float
    energy_nats: float
    entropy_nats: float
    inference_gap_nats: float
    log_prior_nats: float
    bits_per_dim: float | None
    effective_sample_size: float
    reliable: bool
    percentile: float | None
    outlier: Outlier | None
    joint: Joint | None = Field(None, description="Under `every_label`.")


class ScoreAnswer(BaseModel):
    """One score a picture, in order."""

    model: str
    version: int
    seed: int
    samples: int
    scores: list[Score]


class Judgement(BaseModel):
    """The discriminator's logit: positive where it takes the picture for real."""

    logit: float


class RealismAnswer(BaseModel):
    """One judgement a picture, in order."""

    model: str
    version: int
    realism: list[Judgement]


PICTURE: dict[str, dict[str, Any]] = {"One picture": {"images": [TINY_PNG]}}
SCORINGS = PICTURE | {
    "More samples, a seed": {"images": [TINY_PNG], "samples": 256, "seed": 7},
    "As a class of a conditional model": {"images": [TINY_PNG], "label": 0},
    "As every class of a conditional model": {"images": [TINY_PNG], "every_label": True, "seed": 7},
}


@router.post(
    "/v1/models/{model}/score",
    operation_id="score",
    summary="Bound the log density of pictures",
    responses=answers(ScoreAnswer, *SEEING),
    openapi_extra=reads(ScoreRequest, SCORINGS, pictures_in(ScoreAddress)),
)
async def score(
    request: Request,
    model: ScoringModel,
    address: Annotated[ScoreAddress, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The ELBO and the importance-weighted bound of each picture, from the same draws, in nats."""
    choose(request.headers.get("accept"), None, ("json",))
    pictures, fields = await read_pictures(request, model, service.limits, ScoreRequest)
    options, label = merged(ScoreOptions, address, fields), given_labels(address, fields)
    seed = draw_seed() if options.seed is None else options.seed
    joints: Joints | None = None
    if options.every_label:
        check_every_label(label, model)
        joints = await joint_densities(pictures, model, service.limits, options.samples, seed, deadline)
        labels: Indices | None = joints.most_likely
    else:
        service.limits.check_samples(options.samples, len(pictures))
        labels = resolve_labels(label, model, len(pictures), ("image_to_evidence",))
    found = await model.score(pictures, samples=options.samples, seed=seed, labels=labels, deadline=deadline)
    unusual = _outliers(found, model.manifest, options.fdr)
    notes = _notes(labels, joints, len(pictures))
    scores = [
        _score(bounds, outlier, model.manifest) | note
        for bounds, outlier, note in zip(found.bounds, unusual, notes, strict=True)
    ]
    content = {"seed": seed, "samples": options.samples, "scores": scores}
    timing = found.timing if joints is None else total(joints.timing, found.timing)
    return await answer_json(model, lambda: content, size=len(scores), timing=timing, seed=seed)


def _notes(labels: Indices | None, joints: Joints | None, count: int) -> list[dict[str, Any]]:
    """What is said of each picture's label, and of all labels together."""
    notes = label_notes(labels, count)
    if joints is None:
        return notes
    return [{**note, "joint": joint} for note, joint in zip(notes, joints.said, strict=True)]


def _outliers(found: Scores, manifest: Manifest, fdr: float) -> Sequence[dict[str, Any] | None]:
    """What is said of each picture; versions without a calibration of all statistics may have one of the ELBO."""
    verdicts, calibration = found.verdicts, manifest.calibration
    if verdicts is None:
        if calibration is None:
            return [None] * len(found.bounds)
        p_values = [conformal_p_value(bounds.elbo_nats, calibration) for bounds in found.bounds]
        verdicts = [Verdict(p_value, "elbo_nats", {"elbo_nats": p_value}) for p_value in p_values]
    q_values = benjamini_hochberg([verdict.p_value for verdict in verdicts])
    return [
        dataclasses.asdict(verdict) | {"q_value": q_value, "outlier": q_value <= fdr}
        for verdict, q_value in zip(verdicts, q_values, strict=True)
    ]


def _score(bounds: Bounds, unusual: dict[str, Any] | None, manifest: Manifest) -> dict[str, Any]:
    space, likelihood, calibration = manifest.image, manifest.likelihood, manifest.calibration
    dimensions = space.height * space.width * space.channels
    discrete = likelihood is not None and likelihood.discrete
    return dataclasses.asdict(bounds) | {
        "bits_per_dim": bits_per_dim(bounds.importance_weighted_nats, dimensions, discrete),
        "percentile": percentile(bounds.elbo_nats, calibration) if calibration else None,
        "outlier": unusual,
    }


@router.post(
    "/v1/models/{model}/realism",
    operation_id="realism",
    summary="Ask the discriminator about pictures",
    responses=answers(RealismAnswer, *SEEING),
    openapi_extra=reads(PicturesRequest, PICTURE, pictures_in(LabelOptions)),
)
async def realism(
    request: Request,
    model: JudgingModel,
    address: Annotated[LabelOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The logit of each picture."""
    choose(request.headers.get("accept"), None, ("json",))
    pictures, fields = await read_pictures(request, model, service.limits)
    merged(Options, Options(), fields)
    labels = resolve_labels(given_labels(address, fields), model, len(pictures), ("image_to_realism",))
    found = await model.realism(pictures, labels=labels, deadline=deadline)
    content = {"realism": [{"logit": float(logit)} for logit in found.logits]}
    return await answer_json(model, lambda: content, size=len(pictures), timing=found.timing)
