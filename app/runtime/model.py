"""GenerativeModel: what one model version can do, in arrays. Noise is drawn here, rows are batched below."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.density.bounds import Bounds, Tally
from app.density.outliers import OutlierDetector, Verdict
from app.directions import Directions
from app.errors import CapabilityNotOffered
from app.images.pixels import observe, to_bytes
from app.latent.arithmetic import log_prior_nats
from app.latent.noise import Stream, draw_labels, standard_normal
from app.manifest import LABEL, GraphRole, Manifest
from app.runtime.answers import (
    Classified,
    Decoded,
    Drawn,
    Encoded,
    EncodingMethod,
    Inferred,
    Noise,
    PixelEvidence,
    PriorTerms,
    Realism,
    Samples,
    Scores,
    Timing,
    together,
)
from app.runtime.batch import Array, Run, Tensors
from app.runtime.batcher import Answer, Batcher
from app.runtime.evidence import fold, unfold
from app.runtime.inverting import Inverter, encoding_methods, encoding_roles
from app.runtime.scoring import Draws, Effort, Indices, draws_in_parts, weigh_pictures
from app.runtime.session import Interruption
from app.runtime.statistics import GraphStatistics
from app.runtime.threads import in_thread
from app.runtime.tuning import Plan
from app.runtime.version import Version
from app.telemetry import Metrics

_FEW_ROWS = 64
"""Rows of noise below which a hop to a thread costs more than drawing them."""
_PICTURES = "pictures"
"""An output that no graph has: its images in 8 bits."""

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
"""The index of each row's class, for graphs that take one."""


class GenerativeModel:
    """One model version. Every method may run concurrently; `deadline` is a `time.monotonic()` moment.

    `labels` (N,) are needed where a graph that is run takes a label (`takes_label`), and ignored by the others.
    All raise CapabilityNotOffered where the version lacks the graph, and what `Batcher.submit` raises.
    """

    def __init__(self, version: Version, *, queue_rows: int, metrics: Metrics | None = None) -> None:
        self._version = version
        self.ref = f"{version.manifest.name}@{version.manifest.version}"
        """`name@version`."""
        self._capabilities = version.manifest.capabilities  # derived anew at each look: kept
        self.encoding_methods = encoding_methods(version.manifest)
        """How it can encode, first what it does unasked; empty where it cannot."""
        self._inverter = Inverter()
        self._conditional = version.manifest.conditional_roles
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
    def directions(self) -> Directions | None:
        """Named displacements of latents, where it was published with any."""
        return self._version.directions

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What a client may ask for."""
        return self._capabilities

    def takes_label(self, *roles: GraphRole) -> bool:
        """Whether any of these graphs takes a label."""
        return not self._conditional.isdisjoint(roles)

    def encoding_takes_label(self, method: EncodingMethod | None = None) -> bool:
        """Whether encoding in this way, or unasked, needs labels."""
        return self.takes_label(*encoding_roles(method or self.encoding_methods[0]))

    def draw_labels(self, seed: int, indices: Sequence[int]) -> Labels | None:
        """The labels (N,) that sampling with this seed draws at `indices` from p(y); None where samples have none."""
        if not self.takes_label("noise_to_latent", "latent_to_image"):
            return None
        return draw_labels(seed, indices, self.manifest.prior_of_labels)

    async def sample(
        self,
        seed: int,
        indices: Sequence[int],
        *,
        temperature: float = 1.0,
        truncation: float | None = None,
        labels: Labels | None = None,
        deadline: float | None = None,
    ) -> Samples:
        """Pictures from the prior: those at `indices` of a seed, the same whatever else is sampled.

        `temperature` scales the noise; `truncation` conditions it on |z| ≤ truncation before that.
        """
        draw = partial(self.seed_noise, seed, indices, temperature=temperature, truncation=truncation)
        noise = draw() if len(indices) <= _FEW_ROWS else await in_thread(draw)
        drawn = await self.latents_of(noise, labels=labels, deadline=deadline)
        decoded = await self.decode(drawn.latents, labels=labels, deadline=deadline)
        return Samples(drawn.latents, decoded.images, together(drawn.timing, decoded.timing))

    def seed_noise(
        self, seed: int, indices: Sequence[int], *, temperature: float = 1.0, truncation: float | None = None
    ) -> Floats:
        """The noise (N, noise size) that sampling with this seed has at `indices`; selectors are left as drawn."""
        manifest = self.manifest
        noise = standard_normal(seed, indices, manifest.noise_size, truncation=truncation) * np.float32(temperature)
        if selectors := manifest.latent.selectors:
            noise[:, :selectors] = standard_normal(seed, indices, selectors)
        return noise

    async def latents_of(self, noise: Floats, *, labels: Labels | None = None, deadline: float | None = None) -> Drawn:
        """The latents (N,D) that the prior makes of noise (N, noise size): the noise itself where it has no graph."""
        if "noise_to_latent" not in self._batchers:
            return Drawn(noise, Timing(0.0, 0.0))
        answer = await self._ask("noise_to_latent", "sample", {"noise": noise}, deadline, labels)
        return Drawn(answer.outputs["latent"], _timing(answer))

    async def noise_of(self, latents: Floats, *, deadline: float | None = None) -> Noise:
        """The noise that the prior makes latents (N,D) of: the inverse of `latents_of`."""
        answer = await self._ask("latent_to_noise", "walk through its prior's noise", {"latent": latents}, deadline)
        return Noise(answer.outputs["noise"], _timing(answer))

    async def prior_terms(self, latents: Floats, *, deadline: float | None = None) -> PriorTerms:
        """How likely the prior makes latents (N,D), by its formula or its graph, and which component of a mixture."""
        if "latent_to_prior" not in self._batchers:
            return PriorTerms(log_prior_nats(latents, self.manifest.latent.prior), None, Timing(0.0, 0.0))
        answer = await self._ask("latent_to_prior", "state its prior", {"latent": latents}, deadline)
        return PriorTerms(answer.outputs["log_prior"], answer.outputs.get("component"), _timing(answer))

    async def decode(self, latents: Floats, *, labels: Labels | None = None, deadline: float | None = None) -> Decoded:
        """Pictures of latents (N,D)."""
        answer = await self._ask("latent_to_image", "decode", {"latent": latents}, deadline, labels)
        return Decoded(answer.outputs[_PICTURES], _timing(answer))

    async def encode(
        self,
        pictures: Bytes,
        *,
        draws: int = 0,
        seed: int = 0,
        labels: Labels | None = None,
        deadline: float | None = None,
        method: EncodingMethod | None = None,
    ) -> Encoded:
        """Posteriors of pictures (N,H,W,C), with `draws` samples each; picture i draws from index i of the seed.

        Where an encoder states no mean, its central draw stands for it. A search has no draws.
        """
        if "optimize" in self.encoding_methods and (method or self.encoding_methods[0]) == "optimize":
            return await self._inverter.encode(self, pictures, labels=labels, deadline=deadline)
        self._require("image_to_latent", "encode")
        count, size = len(pictures), self.manifest.latent.size
        noise = np.zeros((count, 1 + draws, size), np.float32)
        drawn = await in_thread(self._noise, seed, range(count), copies=draws, stream=Stream.POSTERIOR)
        noise[:, 1:] = drawn
        feeds = {
            "image": np.repeat(observe(pictures, self.manifest.image), 1 + draws, axis=0),
            "noise": noise.reshape(-1, size),
        }
        told = None if labels is None else np.repeat(labels, 1 + draws)
        answer = await self._ask("image_to_latent", "encode", feeds, deadline, told)
        outputs = {name: array.reshape(count, 1 + draws, size) for name, array in answer.outputs.items()}
        mean, scale = outputs.get("mean", outputs["latent"])[:, 0], outputs.get("scale")
        return Encoded(mean, None if scale is None else scale[:, 0], outputs["latent"][:, 1:], _timing(answer))

    async def score(
        self,
        pictures: Bytes,
        *,
        effort: Effort,
        seed: int,
        labels: Labels | None = None,
        deadline: float | None = None,
    ) -> Scores:
        """Bounds on log p(x) of pictures (N,H,W,C), from as much `effort` as that is; with labels on log p(x|y).

        Picture i draws from index i of the seed; fewer samples are the first of more. Verdicts are from as many samples
        as the version was calibrated with, whatever was asked for: the first of these, or more than these.
        """
        self._require("image_to_evidence", "score")
        images, size = observe(pictures, self.manifest.image), self.manifest.latent.size
        detector = self._version.outliers

        async def weigh(chosen: Indices, start: int, stop: int) -> tuple[Mapping[str, Array], Answer]:
            count, samples = len(chosen), stop - start
            noise = await in_thread(self._importance_noise, seed, chosen, start, stop)
            told = None if labels is None else labels[chosen]
            answer = await self._weigh(images[chosen], noise, deadline, told)
            return unfold(answer.outputs, count, samples), answer

        found = await weigh_pictures(weigh, len(pictures), size, effort, opening=detector.samples if detector else 0)
        verdicts = None if detector is None else await self._judge(detector, pictures, found.opening, labels, deadline)
        order, timing = range(len(pictures)), together(*map(_timing, found.answers))
        return Scores([found.bounds[i] for i in order], [found.samples[i] for i in order], verdicts, timing)

    async def pixel_evidence(
        self,
        pictures: Bytes,
        samples: Sequence[int],
        *,
        seed: int,
        labels: Labels | None = None,
        deadline: float | None = None,
    ) -> PixelEvidence:
        """What each pixel of pictures (N,H,W,C) adds to E_q[log p(x|z)], over the draws that `score` took of each."""
        self._require("latent_to_pixel_evidence", "tell pixels apart")
        images, space = observe(pictures, self.manifest.image), self.manifest.image
        sums, timings = np.zeros((len(pictures), space.height, space.width)), []
        for part in draws_in_parts(samples):
            rows = np.repeat([draws.picture for draws in part], [len(draws) for draws in part])
            feeds, told = {"image": images[rows]}, None if labels is None else labels[rows]
            noise = await in_thread(self._noise_of_draws, seed, part)
            drawn = await self._ask("image_to_latent", "encode", feeds | {"noise": noise}, deadline, told)
            feeds["latent"] = drawn.outputs["latent"]
            answer = await self._ask("latent_to_pixel_evidence", "score", feeds, deadline, told)
            for draws in part:
                sums[draws.picture] += answer.outputs["log_likelihood"][rows == draws.picture].sum(axis=0, dtype=float)
            timings += [_timing(drawn), _timing(answer)]
        nats = (sums / np.reshape(samples, (-1, 1, 1))).astype(np.float32)
        return PixelEvidence(nats, together(*timings))

    async def score_labels(
        self, pictures: Bytes, *, samples: int, seed: int, deadline: float | None = None
    ) -> tuple[list[list[Bounds]], Timing]:
        """Bounds on log p(x|y) of pictures (N,H,W,C) under every label, from the draws that `score` takes."""
        self._require("image_to_evidence", "score")
        count, classes = len(pictures), len(self.manifest.classes)
        noise = await in_thread(self._noise, seed, range(count), copies=samples, stream=Stream.IMPORTANCE)
        images = np.repeat(observe(pictures, self.manifest.image), classes, axis=0)
        shared = np.repeat(noise, classes, axis=0)
        answer = await self._weigh(images, shared, deadline, np.tile(np.arange(classes), count))
        found = Tally.of(**unfold(answer.outputs, count * classes, samples)).bounds()
        return [found[row : row + classes] for row in range(0, len(found), classes)], _timing(answer)

    async def classify(self, pictures: Bytes, *, deadline: float | None = None) -> Classified:
        """What the classifier says of pictures (N,H,W,C)."""
        self._require("image_to_class", "classify")
        feeds = {"image": observe(pictures, self.manifest.image)}
        answer = await self._ask("image_to_class", "classify", feeds, deadline)
        return Classified(answer.outputs["logits"], _timing(answer))

    async def realism(self, pictures: Bytes, *, labels: Labels | None = None, deadline: float | None = None) -> Realism:
        """What the discriminator says of pictures (N,H,W,C), and what that is worth."""
        self._require("image_to_realism", "realism")
        feeds = {"image": observe(pictures, self.manifest.image)}
        answer = await self._ask("image_to_realism", "realism", feeds, deadline, labels)
        logits, known = answer.outputs["logit"], self.manifest.realism
        ratios = None if known is None else known.slope * logits.astype(np.float64) + known.intercept
        return Realism(logits, ratios, _timing(answer))

    async def infer(self, role: GraphRole, feeds: Tensors, *, deadline: float | None = None) -> Inferred:
        """One graph's outputs for its inputs, both as its signature says, rows first; no noise is drawn for it."""
        if role == "image_to_evidence":
            count, samples = feeds["noise"].shape[:2]
            answer = await self._weigh(feeds["image"], feeds["noise"], deadline, feeds.get(LABEL))
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
        self,
        detector: OutlierDetector,
        pictures: Bytes,
        found: list[Bounds],
        labels: Labels | None,
        deadline: float | None,
    ) -> list[Verdict]:
        """Verdicts on pictures with bounds from as many samples as the detector wants."""
        codes = None
        if detector.needs_codes:
            codes = (await self.encode(pictures, labels=labels, deadline=deadline)).mean
        return await in_thread(detector.judge, found, pictures, self.manifest.image, codes)

    def _noise(self, seed: int, indices: Iterable[int], *, copies: int, stream: Stream, first: int = 0) -> Floats:
        """Noise (N, copies, D) of the posterior's draws, from the `first` of each image on."""
        size = self.manifest.latent.size
        noise = standard_normal(seed, indices, copies * size, stream=stream, start=first * size)
        return noise.reshape(len(noise), copies, size)

    def _importance_noise(self, seed: int, indices: Iterable[int], start: int, stop: int) -> Floats:
        """Noise (N, stop − start, D) of importance samples."""
        indices = [int(index) for index in indices]
        return self._noise(seed, indices, copies=stop - start, stream=Stream.IMPORTANCE, first=start)

    def _noise_of_draws(self, seed: int, part: Sequence[Draws]) -> Floats:
        """The same, a row a draw."""
        noise = [self._importance_noise(seed, [draws.picture], draws.start, draws.stop)[0] for draws in part]
        return np.concatenate(noise)

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

    async def _weigh(self, images: Array, noise: Floats, deadline: float | None, labels: Labels | None) -> Answer:
        """Log terms of images (N,C,H,W) at noise (N,K,D), still folded."""
        feeds = fold(images, noise)
        told = None if labels is None else np.repeat(labels, len(feeds["image"]) // len(images))
        return await self._ask("image_to_evidence", "score", feeds, deadline, told)

    async def _ask(
        self, role: GraphRole, capability: str, feeds: Tensors, deadline: float | None, labels: Labels | None = None
    ) -> Answer:
        self._require(role, capability)
        if labels is not None and role in self._conditional:
            feeds = {**feeds, LABEL: labels}
        return await self._batchers[role].submit(feeds, deadline=deadline)


def _timing(answer: Answer) -> Timing:
    return Timing(answer.queue_s, answer.run_s)
