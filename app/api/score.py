"""`score` and `realism`: how likely the model makes a picture, and how real its discriminator finds it."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.declared import Router
from app.api.negotiation import answer_json, choose
from app.api.openapi import SEEING, TINY_PNG, answers, pictures_in, reads
from app.api.payloads import Options, Seed
from app.api.service import Deadline, ServiceOf, offering
from app.api.uploads import PicturesRequest, merged, read_pictures
from app.density.bounds import Bounds, bits_per_dim
from app.density.outliers import Verdict, benjamini_hochberg, conformal_p_value, percentile
from app.latent.noise import draw_seed
from app.manifest import Manifest, OutlierStatistic
from app.runtime.model import GenerativeModel, Scores

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


class Score(BaseModel):
    """Bounds on log p(x) of one picture; what is undefined is null.

    ELBO = reconstruction − KL = energy + entropy = importance-weighted − inference gap.
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
SCORINGS = PICTURE | {"More samples, a seed": {"images": [TINY_PNG], "samples": 256, "seed": 7}}


@router.post(
    "/v1/models/{model}/score",
    operation_id="score",
    summary="Bound the log density of pictures",
    responses=answers(ScoreAnswer, *SEEING),
    openapi_extra=reads(ScoreRequest, SCORINGS, pictures_in(ScoreOptions)),
)
async def score(
    request: Request,
    model: ScoringModel,
    address: Annotated[ScoreOptions, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The ELBO and the importance-weighted bound of each picture, from the same draws, in nats."""
    choose(request.headers.get("accept"), None, ("json",))
    pictures, fields = await read_pictures(request, model, service.limits, ScoreRequest)
    options = merged(ScoreOptions, address, fields)
    service.limits.check_samples(options.samples, len(pictures))
    seed = draw_seed() if options.seed is None else options.seed
    found = await model.score(pictures, samples=options.samples, seed=seed, deadline=deadline)
    unusual = _outliers(found, model.manifest, options.fdr)
    scores = [_score(*each, model.manifest) for each in zip(found.bounds, unusual, strict=True)]
    content = {"seed": seed, "samples": options.samples, "scores": scores}
    return await answer_json(model, lambda: content, size=len(scores), timing=found.timing, seed=seed)


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
    openapi_extra=reads(PicturesRequest, PICTURE, pictures_in(Options)),
)
async def realism(
    request: Request,
    model: JudgingModel,
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The logit of each picture."""
    choose(request.headers.get("accept"), None, ("json",))
    pictures, fields = await read_pictures(request, model, service.limits)
    merged(Options, Options(), fields)
    found = await model.realism(pictures, deadline=deadline)
    content = {"realism": [{"logit": float(logit)} for logit in found.logits]}
    return await answer_json(model, lambda: content, size=len(pictures), timing=found.timing)
