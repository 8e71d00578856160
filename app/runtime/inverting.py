"""Latents of pictures by search, for models whose generator has a gradient: `app.latent.inversion` on served graphs.

Every step is two runs of graphs, which wait their turn in the graphs' queues like any other request's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from app.images.pixels import observe
from app.latent.inversion import Generator, Inverted, Search, invert, nearest
from app.manifest import LABEL, GraphRole, ImageSpace, Manifest
from app.runtime.answers import Bytes, Encoded, EncodingMethod, Floats, Inferred, Samples, Timing, together
from app.runtime.batch import Tensors
from app.runtime.threads import in_thread

FROM_AN_ENCODER, FROM_SAMPLES = Search(steps=50), Search(steps=120)
"""How the service searches. What an encoder says lies nearer than any sample; from samples alone, more steps find more
than more starts do (docs/adversarial.md)."""
GALLERY_SEED = 0
GALLERY_IMAGES, GALLERY_BYTES = 1024, 2**23
"""Samples that searches start from, the nearest of them: so many at most, and pictures of so many bytes."""
ROWS_AT_ONCE = 128
"""Of one request in a graph's queue."""
NUMBERS_AT_ONCE = 2**17
"""Of pixels: what is computed between two runs is done on the event loop, and must be short."""

Labels = npt.NDArray[np.int64]


def encoding_methods(manifest: Manifest) -> tuple[EncodingMethod, ...]:
    """How a version can turn pictures into latents; first what it does unasked."""
    encoder: tuple[EncodingMethod, ...] = ("encoder",) if "image_to_latent" in manifest.roles else ()
    searched = {"latent_to_image", "latent_gradient"} <= manifest.roles and manifest.latent.prior != "none"
    return (*encoder, "optimize") if searched else encoder


def search_of(manifest: Manifest) -> Search:
    """How latents of pictures are searched for in a version: the protocol of the errors that it answers."""
    return FROM_AN_ENCODER if "image_to_latent" in manifest.roles else FROM_SAMPLES


def encoding_roles(method: EncodingMethod) -> tuple[GraphRole, ...]:
    """The graphs that a picture goes through, where the model has them."""
    encoder: tuple[GraphRole, ...] = ("image_to_latent",)
    return encoder if method == "encoder" else (*encoder, "noise_to_latent", "latent_to_image", "latent_gradient")


class Searched(Protocol):
    """What a search asks of a model; `GenerativeModel` says what each method does."""

    @property
    def manifest(self) -> Manifest:
        """The version's manifest."""
        ...

    def takes_label(self, *roles: GraphRole) -> bool:
        """Whether any of these graphs takes a label."""
        ...

    async def infer(self, role: GraphRole, feeds: Tensors, *, deadline: float | None = None) -> Inferred:
        """One graph's outputs."""
        ...

    async def sample(
        self, seed: int, indices: Sequence[int], *, labels: Labels | None = None, deadline: float | None = None
    ) -> Samples:
        """Pictures from the prior."""
        ...

    async def encode(
        self,
        pictures: Bytes,
        *,
        labels: Labels | None = None,
        deadline: float | None = None,
        method: EncodingMethod | None = None,
    ) -> Encoded:
        """What the encoder says, where there is one."""
        ...


@dataclass(frozen=True)
class Gallery:
    """Samples: latents (N, D) from the prior and the pictures (N, H, W, C) there."""

    latents: Floats
    pictures: Bytes

    @cached_property
    def typical_norm(self) -> float:
        """Of latents: the median."""
        return float(np.median(np.linalg.norm(self.latents.astype(np.float64), axis=1)))


@dataclass(frozen=True, slots=True)
class _Run:
    """The graphs as one request sees them: its rows' labels, its deadline, and how long they took."""

    model: Searched
    labels: Labels | None
    deadline: float | None
    timings: list[Timing] = field(default_factory=list)

    def of_rows(self, rows: slice, repeats: int) -> _Run:
        """The same for some of the rows, each of them several times."""
        labels = None if self.labels is None else self.labels[rows].repeat(repeats)
        return _Run(self.model, labels, self.deadline, self.timings)

    async def decode(self, latents: Floats) -> Floats:
        return await self._ask("latent_to_image", {"latent": latents}, "image")

    async def pull_back(self, latents: Floats, cotangents: Floats) -> Floats:
        return await self._ask("latent_gradient", {"latent": latents, "cotangent": cotangents}, "gradient")

    async def _ask(self, role: GraphRole, feeds: Tensors, output: str) -> Floats:
        if self.labels is not None and self.model.takes_label(role):
            feeds = {**feeds, LABEL: self.labels}
        found = await self.model.infer(role, feeds, deadline=self.deadline)
        self.timings.append(found.timing)
        outputs: Floats = found.outputs[output]
        return outputs


class Inverter:
    """Searches the latents of one model, which it does not hold; keeps the samples that searches start from."""

    def __init__(self) -> None:
        self._galleries: dict[int | None, Gallery] = {}

    async def encode(
        self, model: Searched, pictures: Bytes, *, labels: Labels | None, deadline: float | None
    ) -> Encoded:
        """The latents found for pictures (N, H, W, C), each the same in whatever company, and the errors reached."""
        run, how = _Run(model, labels, deadline), search_of(model.manifest)
        galleries = await self._galleries_of(run, len(pictures))
        starts = await in_thread(_starts, pictures, galleries, how.restarts)
        if "image_to_latent" in model.manifest.roles:
            encoded = await model.encode(pictures, labels=labels, deadline=deadline, method="encoder")
            starts = np.concatenate([encoded.mean[:, None], starts[:, :-1]], axis=1)
            run.timings.append(encoded.timing)
        norms = np.array([gallery.typical_norm for gallery in galleries])
        parts = [
            await _search(run.of_rows(rows, how.restarts), pictures[rows], starts[rows], norms[rows], how)
            for rows in _parts(len(pictures), model.manifest.image, how)
        ]
        latents, mse = (np.concatenate(found) for found in zip(*parts, strict=True))
        draws = np.zeros((len(latents), 0, latents.shape[1]), np.float32)
        return Encoded(latents, None, draws, together(*run.timings), "optimize", mse)

    async def _galleries_of(self, run: _Run, count: int) -> list[Gallery]:
        """One for each picture: that of its class."""
        classes: list[int | None] = [None] * count if run.labels is None else run.labels.tolist()
        for label in dict.fromkeys(classes):
            if label not in self._galleries:
                self._galleries[label] = await _drawn(label, run)
        return [self._galleries[label] for label in classes]


async def _drawn(label: int | None, run: _Run) -> Gallery:
    """In parts, so that others have their turn."""
    most, found = min(GALLERY_IMAGES, max(1, GALLERY_BYTES // _numbers(run.model.manifest.image))), []
    for first in range(0, most, ROWS_AT_ONCE):
        indices = range(first, min(first + ROWS_AT_ONCE, most))
        labels = None if label is None else np.full(len(indices), label, np.int64)
        found.append(await run.model.sample(GALLERY_SEED, indices, labels=labels, deadline=run.deadline))
        run.timings.append(found[-1].timing)
    return Gallery(np.concatenate([part.latents for part in found]), np.concatenate([part.images for part in found]))


async def _search(run: _Run, pictures: Bytes, starts: Floats, norms: npt.NDArray[np.float64], how: Search) -> Inverted:
    space = run.model.manifest.image
    width = space.pixel_range.high - space.pixel_range.low
    return await invert(observe(pictures, space), starts, Generator(run.decode, run.pull_back, width, norms), how)


def _parts(count: int, space: ImageSpace, how: Search) -> Iterator[slice]:
    """Pictures whose searches go on together."""
    size = max(1, min(ROWS_AT_ONCE, NUMBERS_AT_ONCE // _numbers(space)) // how.restarts)
    return (slice(start, start + size) for start in range(0, count, size))


def _numbers(space: ImageSpace) -> int:
    """Of one picture."""
    return space.height * space.width * space.channels


def _starts(pictures: Bytes, galleries: Sequence[Gallery], count: int) -> Floats:
    """The latents (N, count, D) of the samples nearest to each picture."""
    found = [
        gallery.latents[nearest(picture, gallery.pictures, count)]
        for picture, gallery in zip(pictures, galleries, strict=True)
    ]
    return np.stack(found)
