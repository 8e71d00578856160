"""Points to latents: what is given by coordinates, by a seed, by a picture, or as a mean of others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from anyio import to_thread
from numpy.typing import NDArray

from app.api.arrays import check_length
from app.api.labels import Indices, one_label, repeated
from app.api.payloads import ImagePoint, LatentPoint, MeanPoint, Point, SeedPoint
from app.api.service import Limits, not_offered
from app.api.uploads import decode_picture, from_base64
from app.errors import CapabilityNotOffered, FieldError, InvalidInput, RequestError
from app.runtime.answers import Timing
from app.runtime.model import GenerativeModel

Latent = NDArray[np.float32]

NO_TIME = Timing(queue_s=0.0, run_s=0.0)


def total(*timings: Timing) -> Timing:
    """The stages of one request after another."""
    return Timing(sum(timing.queue_s for timing in timings), sum(timing.run_s for timing in timings))


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A Point that is no mean, and where it stands in the body."""

    point: LatentPoint | SeedPoint | ImagePoint
    pointer: str


async def resolve(
    points: Sequence[tuple[str, Point]],
    model: GenerativeModel,
    limits: Limits,
    *,
    label: int | None = None,
    deadline: float,
) -> tuple[Latent, Timing]:
    """Latents (P, D) of `points`, each given with its JSON pointer; all pictures are encoded in one run.

    Of a conditional model `label` is the class of everything that does not say its own.

    Raises:
        InvalidInput: a latent of the wrong length, a label that is no class, or more Points within Points than images
            are allowed.
        CapabilityNotOffered: a picture for a model without an encoder, a seed for one without a prior.
    """
    leaves = [leaf for pointer, point in points for leaf in _leaves(point, pointer)]
    if len(leaves) > limits.images:
        detail = f"at most {limits.images} Points in all, these are {len(leaves)}"
        raise InvalidInput(detail, errors=[FieldError(points[0][0], detail, limit=limits.images)])
    given = {leaf.pointer: _given(leaf, model) for leaf in leaves if isinstance(leaf.point, LatentPoint)}
    drawn, drawing = await _draw([leaf for leaf in leaves if isinstance(leaf.point, SeedPoint)], model, label, deadline)
    encoded, encoding = await _encode(
        [leaf for leaf in leaves if isinstance(leaf.point, ImagePoint)], model, limits, label, deadline
    )
    found = given | drawn | encoded
    return np.stack([_latent(point, pointer, found) for pointer, point in points]), total(drawing, encoding)


async def prior_notes(
    latents: Latent, model: GenerativeModel, deadline: float
) -> tuple[list[dict[str, np.floating | None]], Timing]:
    """What answers say of each latent (N, D): how likely the prior makes it, null where no density is known."""
    terms = await model.prior_terms(latents, deadline=deadline)
    known = [None] * len(latents) if terms.log_prior_nats is None else terms.log_prior_nats
    return [{"log_prior_nats": value} for value in known], terms.timing


async def noise_behind(
    points: Sequence[Point], latents: Latent, model: GenerativeModel, deadline: float
) -> tuple[Latent, Timing]:
    """The noise (P, N) of Points at `latents` (P, D): that of its seed where a Point is one, else by `latent_to_noise`.

    Raises:
        CapabilityNotOffered: the version has no `latent_to_noise`.
    """
    found = await model.noise_of(latents, deadline=deadline)
    seeded = [model.seed_noise(p.seed, [p.index])[0] if isinstance(p, SeedPoint) else None for p in points]
    return np.stack(
        [given if own is None else own for own, given in zip(seeded, found.noise, strict=True)]
    ), found.timing


def _leaves(point: Point, pointer: str) -> Iterator[_Leaf]:
    if isinstance(point, MeanPoint):
        for index, part in enumerate(point.mean):
            yield from _leaves(part, f"{pointer}/mean/{index}")
    else:
        yield _Leaf(point, pointer)


def _latent(point: Point, pointer: str, found: dict[str, Latent]) -> Latent:
    if not isinstance(point, MeanPoint):
        return found[pointer]
    parts = [_latent(part, f"{pointer}/mean/{index}", found) for index, part in enumerate(point.mean)]
    mean: Latent = np.stack(parts).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _given(leaf: _Leaf, model: GenerativeModel) -> Latent:
    assert isinstance(leaf.point, LatentPoint)  # noqa: S101  only these come here
    check_length(len(leaf.point.latent), model.manifest.latent.size, f"{leaf.pointer}/latent")
    return np.asarray(leaf.point.latent, np.float32)


async def _draw(
    leaves: Sequence[_Leaf], model: GenerativeModel, label: int | None, deadline: float
) -> tuple[dict[str, Latent], Timing]:
    if not leaves:
        return {}, NO_TIME
    if "sample" not in model.capabilities:
        raise not_offered(model, "sample")
    seeds = [leaf.point for leaf in leaves if isinstance(leaf.point, SeedPoint)]
    noise = np.concatenate([model.seed_noise(point.seed, [point.index]) for point in seeds])
    drawn = await model.latents_of(noise, labels=repeated(label, len(noise)), deadline=deadline)
    return dict(zip([leaf.pointer for leaf in leaves], drawn.latents, strict=True)), drawn.timing


async def _encode(
    leaves: Sequence[_Leaf], model: GenerativeModel, limits: Limits, label: int | None, deadline: float
) -> tuple[dict[str, Latent], Timing]:
    if not leaves:
        return {}, NO_TIME
    if "encode" not in model.capabilities:
        raise CapabilityNotOffered(f"{model.ref} cannot encode the picture of a Point", capabilities=model.capabilities)
    labels = _labels(leaves, model, label)
    pictures = await to_thread.run_sync(_decode, leaves, model, limits)
    encoded = await model.encode(pictures, labels=labels, deadline=deadline)
    return dict(zip([leaf.pointer for leaf in leaves], encoded.mean, strict=True)), encoded.timing


def _labels(leaves: Sequence[_Leaf], model: GenerativeModel, label: int | None) -> Indices | None:
    """The class that each picture is encoded as: its own, or that of the request."""
    found = [
        one_label(own, model, ("image_to_latent",), pointer=f"{leaf.pointer}/label") if own is not None else label
        for leaf in leaves
        if isinstance(leaf.point, ImagePoint)
        for own in [leaf.point.label]
    ]
    return np.array(found, np.int64) if model.takes_label("image_to_latent") else None


def _decode(leaves: Sequence[_Leaf], model: GenerativeModel, limits: Limits) -> NDArray[np.uint8]:
    return np.stack([_decode_one(leaf, model, limits) for leaf in leaves])


def _decode_one(leaf: _Leaf, model: GenerativeModel, limits: Limits) -> NDArray[np.uint8]:
    assert isinstance(leaf.point, ImagePoint)  # noqa: S101  only these come here
    pointer = f"{leaf.pointer}/image"
    try:
        return decode_picture(from_base64(leaf.point.image, pointer), model.manifest.image, limits.image_pixels)
    except RequestError as error:
        error.errors = error.errors or (FieldError(pointer, error.detail),)
        raise
