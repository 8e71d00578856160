"""`score` and `realism`: how likely the model makes a picture, and how real its discriminator finds it."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, Query, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from app.api.declared import Router
from app.api.joint import Joint, Joints, joint_densities
from app.api.labels import Indices, check_every_label, given_labels, label_notes, resolve_labels
from app.api.negotiation import Format, answer_json, answer_map, choose, dump_arrays
from app.api.openapi import SEEING, TINY_PNG, answers, pictures_in, reads
from app.api.payloads import AnswerPart, LabelledImage, LabelOptions, Options, Seed
from app.api.points import NO_TIME
from app.api.service import Deadline, Limits, ServiceOf, check_offers, offering
from app.api.uploads import PicturesRequest, merged, read_pictures
from app.density.bounds import Bounds, bits_per_dim
from app.density.outliers import Verdict, benjamini_hochberg, conformal_p_value, percentile
from app.errors import FieldError, InvalidInput
from app.latent.noise import draw_seed
from app.manifest import Manifest, OutlierStatistic
from app.runtime.answers import Realism, Scores, together
from app.runtime.model import GenerativeModel
from app.runtime.scoring import Effort

router = Router(tags=["images in"])

ScoringModel = Annotated[GenerativeModel, Depends(offering("score"))]
JudgingModel = Annotated[GenerativeModel, Depends(offering("realism"))]


class ScoreOptions(Options):
    """How many importance samples an image, from which seed, and whether pixel by pixel."""

    samples: int = Field(64, ge=1, description="An image; where they grow, at first. The bound tightens with them.")
    seed: Seed | None = Field(None, description="Drawn and returned when null.")
    fdr: float = Field(
        0.1, gt=0, lt=1, description="The share of false calls among the pictures called outliers, expected at most."
    )
    every_label: bool = Field(
        False,
        description="Of conditional models, in place of a label: score under every class, each of which counts as an "
        "image, and state p(x,y), p(x) and p(y|x).",
    )
    half_width_nats: float | None = Field(
        None,
        gt=0,
        le=1e6,
        description="Double an image's samples until the 95 % confidence interval of its importance-weighted bound "
        "is at most this to either side, and reliable, or until it has `max_samples`.",
    )
    max_samples: int | None = Field(
        None,
        ge=1,
        description="Where samples stop growing; with `half_width_nats` by default at what the service's limit allows "
        "for so many images. Alone: every image grows to it.",
    )
    pixels: bool = Field(
        False, description="Also what each pixel adds to `reconstruction_nats`; or that alone, as PNG or npy."
    )

    @property
    def grows(self) -> bool:
        """Whether an image's samples depend on what they show."""
        return self.half_width_nats is not None or self.max_samples is not None


class ScoreAddress(ScoreOptions, LabelOptions):
    """The same in an address or a form."""


class ScoreRequest(PicturesRequest, ScoreOptions):
    """Pictures to score."""

    model_config = ConfigDict(strict=True)


class Outlier(AnswerPart):
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
    samples: int | None = Field(None, description="Importance samples of this image; stated where they grow.")
    half_width_nats: float | None = Field(
        None, description="Of the 95 % confidence interval of `importance_weighted_nats`; stated where samples grow."
    )
    half_width_met: bool | None = Field(
        None, description="Whether the interval asked for was reached; null where none was; stated where samples grow."
    )
    pixel_nats: list[list[float]] | None = Field(
        None, description="What each pixel adds to `reconstruction_nats`, row by row; stated where it was asked for."
    )


class ScoreAnswer(AnswerPart):
    """One score a picture, in order."""

    model: str
    version: int
    assumption: str | None = Field(
        None, description="What was assumed for there to be a density; stated where the model alone has none."
    )
    seed: int
    samples: int
    scores: list[Score]


class Judgement(AnswerPart):
    """The discriminator's logit, which means little by itself, and what it is worth."""

    logit: float
    probability: float | None = Field(
        None,
        description="That a picture with this logit is real, among as many real ones as samples of the model; stated "
        "where the logit was calibrated on held-out pictures.",
    )


class RealismAnswer(AnswerPart):
    """One judgement a picture, in order."""

    model: str
    version: int
    realism: list[Judgement]


PICTURE: dict[str, dict[str, Any]] = {"One picture": {"images": [TINY_PNG]}}
SCORINGS = PICTURE | {
    "More samples, a seed": {"images": [TINY_PNG], "samples": 256, "seed": 7},
    "As a class of a conditional model": {"images": [TINY_PNG], "label": 0},
    "As every class of a conditional model": {"images": [TINY_PNG], "every_label": True, "seed": 7},
    "As many samples as an interval of ±0.05 nats needs": {"images": [TINY_PNG], "half_width_nats": 0.05, "seed": 7},
    "Pixel by pixel": {"images": [TINY_PNG], "pixels": True},
}
MAPS: tuple[Format, ...] = ("json", "png", "npy")
_BOUNDS = tuple(field.name for field in dataclasses.fields(Bounds))
_VERDICT = tuple(field.name for field in dataclasses.fields(Verdict))


@router.post(
    "/v1/models/{model}/score",
    operation_id="score",
    summary="Bound the log density of pictures",
    responses=answers(ScoreAnswer, *SEEING, formats=MAPS),
    openapi_extra=reads(ScoreRequest, SCORINGS, pictures_in(ScoreAddress)),
)
async def score(
    request: Request,
    model: ScoringModel,
    address: Annotated[ScoreAddress, Query()],
    service: ServiceOf,
    deadline: Deadline,
) -> Response:
    """The ELBO and the importance-weighted bound of each picture, from the same draws, in nats.

    Where `pixels` are asked for, `Accept: image/png` is a heat map of them, white where a pixel costs most and black
    where it costs least in all the pictures (`X-Range-Nats` says what these are), and npy is float32 (N, H, W).
    """
    choose(request.headers.get("accept"), None, MAPS)
    pictures, fields = await read_pictures(request, model, service.limits, ScoreRequest)
    options, label = merged(ScoreOptions, address, fields), given_labels(address, fields)
    chosen = choose(request.headers.get("accept"), None, MAPS if options.pixels else MAPS[:1])
    if options.pixels:
        check_offers(model, "pixel_evidence")
    effort = _effort(options, service.limits, _counted(options, label, model, len(pictures)))
    seed = draw_seed() if options.seed is None else options.seed
    joints: Joints | None = None
    if options.every_label:
        joints = await joint_densities(pictures, model, service.limits, effort.samples, seed, deadline)
        labels: Indices | None = joints.most_likely
    else:
        labels = resolve_labels(label, model, len(pictures), ("image_to_evidence",))
    found = await model.score(pictures, effort=effort, seed=seed, labels=labels, deadline=deadline)
    scores = _scores(found, model.manifest, options, _notes(labels, joints, len(pictures)))
    timing = together(NO_TIME if joints is None else joints.timing, found.timing)
    content = _assumed(model.manifest) | {"seed": seed, "samples": max(found.samples), "scores": scores}
    if not options.pixels:
        return await answer_json(model, lambda: content, size=len(scores), timing=timing, seed=seed)
    evidence = await model.pixel_evidence(pictures, found.samples, seed=seed, labels=labels, deadline=deadline)
    timing = together(timing, evidence.timing)
    if chosen != "json":
        return await answer_map(model, evidence.nats, chosen, timing=timing, seed=seed)
    content["scores"] = [score | {"pixel_nats": nats} for score, nats in zip(scores, evidence.nats, strict=True)]
    return await answer_json(
        model, lambda: content, size=evidence.nats.size, timing=timing, seed=seed, dump=dump_arrays
    )


def _assumed(manifest: Manifest) -> dict[str, Any]:
    """What the answer says of the density itself."""
    assumption = manifest.likelihood and manifest.likelihood.assumption
    return {"assumption": assumption} if assumption else {}


def _counted(options: ScoreOptions, label: object, model: GenerativeModel, pictures: int) -> int:
    """How many images the pictures count as: under every label, one for each class."""
    if not options.every_label:
        return pictures
    check_every_label(label, model)
    return pictures * len(model.manifest.classes)


def _effort(options: ScoreOptions, limits: Limits, pictures: int) -> Effort:
    """How many samples each picture may have; raises InvalidInput where that is more than the service allows."""
    if not options.grows:
        limits.check_samples(options.samples, pictures)
        return Effort.fixed(options.samples)
    most = options.max_samples or max(1, limits.sample_images // pictures)
    limits.check_samples(most, pictures, "/max_samples")
    first = options.samples if "samples" in options.model_fields_set else min(options.samples, most)
    if first > most:
        detail = f"samples grow from here to at most {most}, this is {first}"
        raise InvalidInput(detail, errors=[FieldError("/samples", detail, limit=most)])
    return Effort(first, most, options.half_width_nats)


def _scores(
    found: Scores, manifest: Manifest, options: ScoreOptions, notes: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    unusual = _outliers(found, manifest, options.fdr)
    scores = [
        _score(bounds, outlier, manifest) | note
        for bounds, outlier, note in zip(found.bounds, unusual, notes, strict=True)
    ]
    if options.grows:
        for score, bounds, samples in zip(scores, found.bounds, found.samples, strict=True):
            target = options.half_width_nats
            score["samples"], score["half_width_nats"] = samples, bounds.half_width_nats
            score["half_width_met"] = None if target is None else bounds.is_within(target)
    return scores


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
        _said(verdict, _VERDICT) | {"q_value": q_value, "outlier": q_value <= fdr}
        for verdict, q_value in zip(verdicts, q_values, strict=True)
    ]


def _score(bounds: Bounds, unusual: dict[str, Any] | None, manifest: Manifest) -> dict[str, Any]:
    space, likelihood, calibration = manifest.image, manifest.likelihood, manifest.calibration
    dimensions = space.height * space.width * space.channels
    discrete = likelihood is not None and likelihood.discrete
    return _said(bounds, _BOUNDS) | {
        "bits_per_dim": bits_per_dim(bounds.importance_weighted_nats, dimensions, discrete),
        "percentile": percentile(bounds.elbo_nats, calibration) if calibration else None,
        "outlier": unusual,
    }


def _said(found: Bounds | Verdict, names: Sequence[str]) -> dict[str, Any]:
    """The fields of a dataclass, not copied deeply as `asdict` does: that holds up the event loop."""
    return {name: getattr(found, name) for name in names}


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
    """The logit of each picture, and the probability that it stands for."""
    choose(request.headers.get("accept"), None, ("json",))
    pictures, fields = await read_pictures(request, model, service.limits)
    merged(Options, Options(), fields)
    labels = resolve_labels(given_labels(address, fields), model, len(pictures), ("image_to_realism",))
    found = await model.realism(pictures, labels=labels, deadline=deadline)
    content = {"realism": _judgements(found)}
    return await answer_json(model, lambda: content, size=len(pictures), timing=found.timing)


def _judgements(found: Realism) -> list[dict[str, float]]:
    said = [{"logit": float(logit)} for logit in found.logits]
    if found.log_ratios is None:
        return said
    probabilities = np.exp(-np.logaddexp(0, -found.log_ratios))
    return [row | {"probability": float(p)} for row, p in zip(said, probabilities, strict=True)]
