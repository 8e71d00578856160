"""Points to latents: what is given by coordinates, by a seed, by a picture, or as a mean of others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.api.arrays import check_length
from app.api.labels import Indices, one_label, repeated
from app.api.payloads import DirectionPoint, Displacement, ImagePoint, LatentPoint, MeanPoint, Point, SeedPoint
from app.api.service import Limits, not_offered
from app.api.uploads import decode_picture, from_base64
from app.errors import CapabilityNotOffered, FieldError, InvalidInput, RequestError, shorten
from app.images.pixels import squared_errors
from app.manifest import GraphRole
from app.runtime.answers import Encoded, EncodingMethod, Timing, together
from app.runtime.inverting import encoding_roles
from app.runtime.model import GenerativeModel
from app.runtime.threads import in_thread

Latent = NDArray[np.float32]

NO_TIME = Timing(queue_s=0.0, run_s=0.0)


class Places(NamedTuple):
    """Latents (P, D) of Points, how long it took, and what answers say of the pictures among them."""

    latents: Latent
    timing: Timing
    notes: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A Point that is no mean, or a direction, and where it stands in the body."""

    point: LatentPoint | SeedPoint | ImagePoint | DirectionPoint
    pointer: str


async def resolve(
    points: Sequence[tuple[str, Displacement]],
    model: GenerativeModel,
    limits: Limits,
    *,
    label: int | None = None,
    deadline: float,
) -> Places:
    """Latents (P, D) of `points`, each given with its JSON pointer; pictures are encoded together.

    Of a conditional model `label` is the class of everything that does not say its own.

    Raises:
        InvalidInput: a latent of the wrong length, a direction or a label that the model has not, a method that it
            lacks, or more Points within Points than images are allowed.
        CapabilityNotOffered: a picture for a model without an encoder, a seed for one without a prior.
    """
    leaves = [leaf for pointer, point in points for leaf in _leaves(point, pointer)]
    if len(leaves) > limits.images:
        detail = f"at most {limits.images} Points in all, these are {len(leaves)}"
        raise InvalidInput(detail, errors=[FieldError(points[0][0], detail, limit=limits.images)])
    given = {leaf.pointer: latent for leaf in leaves if (latent := _given(leaf, model)) is not None}
    drawn, drawing = await _draw([leaf for leaf in leaves if isinstance(leaf.point, SeedPoint)], model, label, deadline)
    pictures = [leaf for leaf in leaves if isinstance(leaf.point, ImagePoint)]
    encoded, encoding, said = await _encode(pictures, model, limits, label, deadline)
    found = given | drawn | encoded
    latents = np.stack([_latent(point, pointer, found) for pointer, point in points])
    return Places(latents, together(drawing, encoding), {"encoded": said} if said else {})


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


def choose_method(
    wanted: EncodingMethod | None, model: GenerativeModel, *, pointer: str = "/method", draws: int = 0
) -> EncodingMethod:
    """What is wanted; else the first that the model offers. Raises InvalidInput where it cannot, or cannot draw so."""
    offered = model.encoding_methods
    if wanted is not None and wanted not in offered:
        detail = f"{model.ref} encodes by {' or '.join(offered)}, not by {wanted}"
        raise InvalidInput(detail, errors=[FieldError(pointer, detail)])
    method = wanted or offered[0]
    if draws and method != "encoder":
        detail = "a search finds one latent a picture: there is no posterior to draw from"
        raise InvalidInput(detail, errors=[FieldError("/draws", detail, limit=0)])
    return method


def displacement(name: str, model: GenerativeModel, pointer: str) -> Latent:
    """One step (D,) along the direction of that name. Raises InvalidInput, which says what there is."""
    known = model.directions.by_name if model.directions else {}
    if name in known:
        return known[name]
    there = f"its directions are {', '.join(known)}" if known else "it was published without directions"
    detail = f"{model.ref} has no direction {shorten(name)}: {there}"
    raise InvalidInput(detail, errors=[FieldError(f"{pointer}/direction", detail)])


def _leaves(point: Displacement, pointer: str) -> Iterator[_Leaf]:
    if isinstance(point, MeanPoint):
        for index, part in enumerate(point.mean):
            yield from _leaves(part, f"{pointer}/mean/{index}")
    else:
        yield _Leaf(point, pointer)


def _latent(point: Displacement, pointer: str, found: dict[str, Latent]) -> Latent:
    if not isinstance(point, MeanPoint):
        return found[pointer]
    parts = [_latent(part, f"{pointer}/mean/{index}", found) for index, part in enumerate(point.mean)]
    mean: Latent = np.stack(parts).mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _given(leaf: _Leaf, model: GenerativeModel) -> Latent | None:
    """What needs no graph; None of others."""
    if isinstance(leaf.point, DirectionPoint):
        return displacement(leaf.point.direction, model, leaf.pointer)
    if not isinstance(leaf.point, LatentPoint):
        return None
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
) -> tuple[dict[str, Latent], Timing, list[dict[str, Any]]]:
    """Latents by pointer, and what is said of each picture: those of one method are encoded in one run."""
    if not leaves:
        return {}, NO_TIME, []
    if "encode" not in model.capabilities:
        raise CapabilityNotOffered(f"{model.ref} cannot encode the picture of a Point", capabilities=model.capabilities)
    methods = [_method(leaf, model) for leaf in leaves]
    found: dict[str, Latent] = {}
    said: dict[str, dict[str, Any]] = {}
    timings = []
    for method in dict.fromkeys(methods):
        chosen = [leaf for leaf, its in zip(leaves, methods, strict=True) if its == method]
        labels = _labels(chosen, model, label, encoding_roles(method))
        pictures = await in_thread(_decode, chosen, model, limits)
        encoded = await model.encode(pictures, labels=labels, deadline=deadline, method=method)
        encoded = await with_error(encoded, pictures, model, labels, deadline)
        for index, leaf in enumerate(chosen):
            found[leaf.pointer] = encoded.mean[index]
            mse = None if encoded.mse is None else encoded.mse[index]
            said[leaf.pointer] = {"pointer": leaf.pointer, "method": method, "mse": mse}
        timings.append(encoded.timing)
    return found, together(*timings), [said[leaf.pointer] for leaf in leaves]


async def with_error(
    encoded: Encoded, pictures: NDArray[np.uint8], model: GenerativeModel, labels: Indices | None, deadline: float
) -> Encoded:
    """The same, and of a GAN the error of the means' images: its generator never learned to draw given pictures.

    Unless it is known, or the generator would have to be told a class that nobody said.
    """
    told = labels is not None or not model.takes_label("latent_to_image")
    if model.manifest.family != "gan" or encoded.mse is not None or not told:
        return encoded
    decoded = await model.decode(encoded.mean, labels=labels, deadline=deadline)
    error = squared_errors(pictures, decoded.images)
    return replace(encoded, mse=error, timing=together(encoded.timing, decoded.timing))


def _method(leaf: _Leaf, model: GenerativeModel) -> EncodingMethod:
    assert isinstance(leaf.point, ImagePoint)  # noqa: S101  only these come here
    return choose_method(leaf.point.method, model, pointer=f"{leaf.pointer}/method")


def _labels(
    leaves: Sequence[_Leaf], model: GenerativeModel, label: int | None, roles: Sequence[GraphRole]
) -> Indices | None:
    """The class that each picture is encoded as: its own, or that of the request."""
    found = [
        one_label(own, model, roles, pointer=f"{leaf.pointer}/label") if own is not None else label
        for leaf in leaves
        if isinstance(leaf.point, ImagePoint)
        for own in [leaf.point.label]
    ]
    return np.array(found, np.int64) if model.takes_label(*roles) else None


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
