"""What a model answers with: arrays, one row a picture or latent, and how long they took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from app.density.bounds import Bounds
from app.density.outliers import Verdict
from app.runtime.batch import Tensors

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
EncodingMethod = Literal["encoder", "optimize"]
"""How pictures become latents: by a net, or by a search for the latent whose image is nearest."""


class Timing(NamedTuple):
    """Seconds that a request waited for the graph and ran in it."""

    queue_s: float
    run_s: float


def together(*timings: Timing) -> Timing:
    """The stages of one request after another."""
    return Timing(sum(timing.queue_s for timing in timings), sum(timing.run_s for timing in timings))


class Drawn(NamedTuple):
    """Latents (N,D) that the prior made of noise."""

    latents: Floats
    timing: Timing


class Noise(NamedTuple):
    """Noise (N, noise size) behind latents."""

    noise: Floats
    timing: Timing


class PriorTerms(NamedTuple):
    """Of N latents: log p(z) (N,) in nats, None where no density is known; of a mixture log p(k|z) (N, components)."""

    log_prior_nats: npt.NDArray[np.floating] | None
    log_component: Floats | None
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
    """Of N pictures: posterior mean (N,D), scale (N,D) where the encoder has one, draws (N,draws,D).

    The latents that a search found are the means. `mse` (N,), where it is known, is the error of the means' images, of
    pixels in [0, 1].
    """

    mean: Floats
    scale: Floats | None
    draws: Floats
    timing: Timing
    method: EncodingMethod = "encoder"
    mse: npt.NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Scores:
    """Of each picture: bounds on log p(x), from how many samples, and, where that is calibrated, how unusual it is."""

    bounds: list[Bounds]
    samples: list[int]
    verdicts: list[Verdict] | None
    timing: Timing


@dataclass(frozen=True, slots=True)
class PixelEvidence:
    """Nats that each pixel adds to the reconstruction term, (N,H,W)."""

    nats: Floats
    timing: Timing


@dataclass(frozen=True, slots=True)
class Realism:
    """The discriminator's logits (N,), and, where these are calibrated, log p_data/p_generator (N,)."""

    logits: Floats
    log_ratios: npt.NDArray[np.float64] | None
    timing: Timing


@dataclass(frozen=True, slots=True)
class Refined:
    """Samples that the discriminator chose among proposals, and the share (N,) of these that each chain moved to."""

    latents: Floats
    images: Bytes
    acceptance: npt.NDArray[np.float64]
    timing: Timing


@dataclass(frozen=True, slots=True)
class Classified:
    """The classifier's logits (N, classes)."""

    logits: Floats
    timing: Timing


@dataclass(frozen=True, slots=True)
class Inferred:
    """One graph's outputs, rows first."""

    outputs: Tensors
    timing: Timing
