"""GenerativeModel: what one model version can do, in arrays. Noise is drawn here, rows are batched below."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.density.bounds import Bounds, bounds
from app.density.outliers import OutlierDetector, Verdict
from app.errors import CapabilityNotOffered
from app.images.pixels import observe, to_bytes
from app.latent.noise import Stream, standard_normal
from app.manifest import GraphRole, Manifest
from app.runtime.batch import Array, Run, Tensors
from app.runtime.batcher import Answer, Batcher
from app.runtime.evidence import fold, unfold
from app.runtime.session import Interruption
from app.runtime.statistics import GraphStatistics
from app.runtime.tuning import Plan
from app.runtime.version import Version
from app.telemetry import Metrics

_FEW_ROWS = 4
"""Rows of noise below which a hop to a thread costs more than drawing them."""
_PICTURES = "pictures"
"""An output that no graph has: its images in 8 bits."""

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Timing(NamedTuple):
    """Seconds that a request waited for the graph and ran in it."""

    queue_s: float
    run_s: float


class Drawn(NamedTuple):
    """Latents (N,D) that the prior made of noise."""

    latents: Floats
    timing: Timing


class Decoded(NamedTuple):
    """Pictures (N,H,W,C)."""

    images: Bytes
    timing: Timing


@dataclass(frozen=True, slots=True)
class Samples:
    """Pictures (N,H,W,C) and the latents (N,D) that they were decoded from."""

    latents: Floats
    images: Bytes
    timing: Timing


@dataclass(frozen=True, slots=True)
class Encoded:
    """Of N pictures: posterior mean (N,D), scale (N,D) where the encoder has one, draws (N,draws,D)."""

    mean: Floats
    scale: Floats | None
    draws: Floats
    timing: Timing


@dataclass(frozen=True, slots=True)
class Scores:
    """Bounds on log p(x), one a picture, and how unusual each is where the version is calibrated for that."""

    bounds: list[Bounds]
    verdicts: list[Verdict] | None
    timing: Timing


@dataclass(frozen=True, slots=True)
class Realism:
    """The discriminator's logits (N,): positive where it takes a picture for real."""

    logits: Floats
    timing: Timing


@dataclass(frozen=True, slots=True)
class Inferred:
    """One graph's outputs, rows first."""

    outputs: Tensors
    timing: Timing


class GenerativeModel:
    """One model version. Every method may run concurrently; `deadline` is a `time.monotonic()` moment.

    All raise CapabilityNotOffered where the version lacks the graph, and what `Batcher.submit` raises.
    """

    def __init__(self, version: Version, *, queue_rows: int, metrics: Metrics | None = None) -> None:
        self._version = version
        self.ref = f"{version.manifest.name}@{version.manifest.version}"
        """`name@version`."""
        self._capabilities = version.manifest.capabilities  # derived anew at each look: kept
        self._batchers = {
            role: Batcher(
                self._showing(session.run) if role == "latent_to_image" else session.run,
                max_batch_rows=version.plans[role].max_batch_rows,
                lanes=version.plans[role].lanes,
                queue_rows=queue_rows,
                name=f"{self.ref} {role}",
                metrics=metrics,
            )
            for role, session in version.sessions.items()
        }

    @property
    def manifest(self) -> Manifest:
        """The version's manifest."""
        return self._version.manifest

    @property
    def plans(self) -> Mapping[GraphRole, Plan]:
        """How each graph is run."""
        return self._version.plans

    @property
    def folder(self) -> Path:
        """Where the version lies."""
        return self._version.folder

    @property
    def card(self) -> str:
        """The model card, Markdown; empty when there is none."""
        return self._version.card

    @property
    def preview_png(self) -> bytes | None:
        """The preview picture."""
        return self._version.preview_png

    @property
    def map_json(self) -> bytes | None:
        """Encoded held-out images as 2-D points."""
        return self._version.map_json

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What a client may ask for."""
        return self._capabilities

    async def sample(
        self,
        seed: int,
        indices: Sequence[int],
        *,
        temperature: float = 1.0,
        truncation: float | None = None,
        deadline: float | None = None,
    ) -> Samples:
        """Pictures from the prior: those at `indices` of a seed, the same whatever else is sampled.

        `temperature` scales the noise; `truncation` conditions it on |z| ≤ truncation before that.
        """
        draw = partial(self.seed_noise, seed, indices, temperature=temperature, truncation=truncation)
        noise = draw() if len(indices) <= _FEW_ROWS else await asyncio.to_thread(draw)
        drawn = await self.latents_of(noise, deadline=deadline)
        decoded = await self.decode(drawn.latents, deadline=deadline)
        return Samples(drawn.latents, decoded.images, _together(drawn.timing, decoded.timing))

    def seed_noise(
        self, seed: int, indices: Sequence[int], *, temperature: float = 1.0, truncation: float | None = None
    ) -> Floats:
        """The noise (N, noise size) that sampling with this seed has at `indices`; selectors are left as drawn."""
        manifest = self.manifest
        noise = standard_normal(seed, indices, manifest.noise_size, truncation=truncation) * np.float32(temperature)
        if selectors := manifest.latent.selectors:
            noise[:, :selectors] = standard_normal(seed, indices, selectors)
        return noise

    async def latents_of(self, noise: Floats, *, deadline: float | None = None) -> Drawn:
        """The latents (N,D) that the prior makes of noise (N, noise size): the noise itself where it has no graph."""
        if "noise_to_latent" not in self._batchers:
            return Drawn(noise, Timing(0.0, 0.0))
        answer = await self._ask("noise_to_latent", "sample", {"noise": noise}, deadline)
        return Drawn(answer.outputs["latent"], _timing(answer))

    async def decode(self, latents: Floats, *, deadline: float | None = None) -> Decoded:
        """Pictures of latents (N,D)."""
        answer = await self._ask("latent_to_image", "decode", {"latent": latents}, deadline)
        return Decoded(answer.outputs[_PICTURES], _timing(answer))

    async def encode(self, pictures: Bytes, *, draws: int = 0, seed: int = 0, deadline: float | None = None) -> Encoded:
        """Posteriors of pictures (N,H,W,C), with `draws` samples each; picture i draws from index i of the seed.

        Where an encoder states no mean, its central draw stands for it.
        """
        self._require("image_to_latent", "encode")
        count, size = len(pictures), self.manifest.latent.size
        noise = np.zeros((count, 1 + draws, size), np.float32)
        drawn = await asyncio.to_thread(self._noise, seed, range(count), copies=draws, stream=Stream.POSTERIOR)
        noise[:, 1:] = drawn.reshape(count, draws, size)
        feeds = {
            "image": np.repeat(observe(pictures, self.manifest.image), 1 + draws, axis=0),
            "noise": noise.reshape(-1, size),
        }
        answer = await self._ask("image_to_latent", "encode", feeds, deadline)
        outputs = {name: array.reshape(count, 1 + draws, size) for name, array in answer.outputs.items()}
        mean, scale = outputs.get("mean", outputs["latent"])[:, 0], outputs.get("scale")
        return Encoded(mean, None if scale is None else scale[:, 0], outputs["latent"][:, 1:], _timing(answer))

    async def score(self, pictures: Bytes, *, samples: int, seed: int, deadline: float | None = None) -> Scores:
        """Bounds on log p(x) of pictures (N,H,W,C), from `samples` posterior samples each.

        Picture i draws from index i of the seed; fewer samples are the first of more. Verdicts are from as many samples
        as the version was calibrated with, whatever was asked for: the first of these, or more than these.
        """
        self._require("image_to_evidence", "score")
        count, size, detector = len(pictures), self.manifest.latent.size, self._version.outliers
        drawn = samples if detector is None else max(samples, detector.samples)
        noise = await asyncio.to_thread(self._noise, seed, range(count), copies=drawn, stream=Stream.IMPORTANCE)
        images = observe(pictures, self.manifest.image)
        answer = await self._weigh(images, noise.reshape(count, drawn, size), deadline)
        terms = unfold(answer.outputs, count, drawn)
        verdicts = None if detector is None else await self._judge(detector, pictures, terms, deadline)
        return Scores(_bounds(terms, samples), verdicts, _timing(answer))

    async def realism(self, pictures: Bytes, *, deadline: float | None = None) -> Realism:
        """What the discriminator says of pictures (N,H,W,C)."""
        self._require("image_to_realism", "realism")
        feeds = {"image": observe(pictures, self.manifest.image)}
        answer = await self._ask("image_to_realism", "realism", feeds, deadline)
        return Realism(answer.outputs["logit"], _timing(answer))

    async def infer(self, role: GraphRole, feeds: Tensors, *, deadline: float | None = None) -> Inferred:
        """One graph's outputs for its inputs, both as its signature says, rows first; no noise is drawn for it."""
        if role == "image_to_evidence":
            count, samples = feeds["noise"].shape[:2]
            answer = await self._weigh(feeds["image"], feeds["noise"], deadline)
            return Inferred(unfold(answer.outputs, count, samples), _timing(answer))
        answer = await self._ask(role, role, feeds, deadline)
        outputs = {spec.name: answer.outputs[spec.name] for spec in self.manifest.graph(role).outputs}
        return Inferred(outputs, _timing(answer))

    def statistics(self, role: GraphRole) -> GraphStatistics:
        """What one graph has done since it was loaded; KeyError where the version lacks it."""
        return self._batchers[role].statistics

    async def drain(self) -> None:
        """Wait until every graph is idle."""
        await asyncio.gather(*(batcher.drain() for batcher in self._batchers.values()))

    async def close(self) -> None:
        """Finish what was asked, take nothing new, let go of the graphs."""
        await asyncio.gather(*(batcher.close() for batcher in self._batchers.values()))
        for session in self._version.sessions.values():
            session.close()

    async def _judge(
        self, detector: OutlierDetector, pictures: Bytes, terms: Tensors, deadline: float | None
    ) -> list[Verdict]:
        """Verdicts on pictures whose log terms (N,K) hold at least the samples that the detector wants."""
        codes = (await self.encode(pictures, deadline=deadline)).mean if detector.needs_codes else None
        found = _bounds(terms, detector.samples)
        return await asyncio.to_thread(detector.judge, found, pictures, self.manifest.image, codes)

    def _noise(
        self,
        seed: int,
        indices: Iterable[int],
        *,
        copies: int = 1,
        stream: Stream,
    ) -> Floats:
        """Noise of the posterior's draws, `copies` an image."""
        return standard_normal(seed, indices, copies * self.manifest.latent.size, stream=stream)

    def _showing(self, run: Run) -> Run:
        """`run`, with its images as pictures beside them: converted a batch at a time, off the event loop."""
        pixel_range = self.manifest.image.pixel_range

        def run_and_show(feeds: Tensors, interruption: Interruption) -> dict[str, Array]:
            outputs = run(feeds, interruption)
            with np.errstate(invalid="ignore"):  # what is not finite is refused by the batcher
                return {**outputs, _PICTURES: to_bytes(outputs["image"], pixel_range)}

        return run_and_show

    def _require(self, role: GraphRole, capability: str) -> None:
        if role not in self._batchers:
            raise CapabilityNotOffered(f"{self.ref} cannot {capability}", capabilities=self.capabilities)

    async def _weigh(self, images: Array, noise: Floats, deadline: float | None) -> Answer:
        """Log terms of images (N,C,H,W) at noise (N,K,D), still folded."""
        return await self._ask("image_to_evidence", "score", fold(images, noise), deadline)

    async def _ask(self, role: GraphRole, capability: str, feeds: Tensors, deadline: float | None) -> Answer:
        self._require(role, capability)
        return await self._batchers[role].submit(feeds, deadline=deadline)


def _bounds(terms: Tensors, samples: int) -> list[Bounds]:
    """The bounds from the first `samples` of the log terms (N,K)."""
    count = len(next(iter(terms.values())))
    return [bounds(**{name: term[i, :samples] for name, term in terms.items()}) for i in range(count)]


def _together(*timings: Timing) -> Timing:
    return Timing(sum(timing.queue_s for timing in timings), sum(timing.run_s for timing in timings))


def _timing(answer: Answer) -> Timing:
    return Timing(answer.queue_s, answer.run_s)
