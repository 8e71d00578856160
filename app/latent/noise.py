"""Noise from a counter-based generator, keyed by (seed, stream, index) and by nothing else.

Index i of a seed gives the same numbers whatever else is drawn, in whatever order, on whatever worker. Random bits come
from Philox4x64-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011), and become
normal variates through the inverse distribution function written out below, so that what a seed means depends on no
library's sampling method.
"""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_SEED = 2**63 - 1
"""The largest seed; seeds start at 0."""

_NUMBERS_AT_ONCE = 2**14
_BLOCK_WORDS = 4
"""64-bit words that Philox makes at a time."""

_thread = threading.local()

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


class Stream(IntEnum):
    """What noise is for. Streams of one seed are independent of each other."""

    SAMPLE = 0
    POSTERIOR = 1
    IMPORTANCE = 2
    LABEL = 3
    ANNEALING = 4
    REVERSED_ANNEALING = 5
    PIXELS = 6
    REFINEMENT = 7


def draw_seed() -> int:
    """A fresh seed from the operating system, below 2⁵³ so that JavaScript holds it exactly."""
    return secrets.randbelow(2**53)


def standard_normal(
    seed: int,
    indices: Iterable[int],
    size: int,
    *,
    stream: Stream = Stream.SAMPLE,
    truncation: float | None = None,
    start: int = 0,
) -> Floats:
    """Standard normal noise, one row of `size` numbers an index, as float32 (len(indices), size).

    With `truncation` t > 0 the normal is conditioned on |z| ≤ t, by inversion, so a row depends smoothly on t. A
    shorter row is the beginning of a longer one; `start` is how many numbers of the longer one are left out.
    """
    centred = _centred_uniforms(philox_words(seed, indices, size, stream, start))
    if truncation is None:
        return _quantiles(centred)
    central_mass = math.erf(truncation / math.sqrt(2))
    bound = _float32_towards_zero(truncation)
    return np.clip(_quantiles(centred * central_mass), -bound, bound)


def draw_labels(seed: int, indices: Iterable[int], probabilities: Sequence[float]) -> npt.NDArray[np.int64]:
    """The class that each index of a seed draws by its probability, (len(indices),), from a stream of its own.

    With u uniform on [0, 1), 53 bits of the stream's first word, class c is drawn where the probabilities before c sum
    up to u or less, and those up to c to more.
    """
    words = philox_words(seed, indices, 1, Stream.LABEL)[:, 0]
    uniforms = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    below = np.cumsum(np.asarray(probabilities, np.float64))[:-1]  # the last class takes what rounding leaves
    return np.searchsorted(below, uniforms, side="right").astype(np.int64)


def philox_words(
    seed: int, indices: Iterable[int], count: int, stream: Stream, start: int = 0
) -> npt.NDArray[np.uint64]:
    """`count` 64-bit words, from `start` on, of Philox4x64-10 for each index, (len(indices), count).

    The key is (seed, 0), the counter (1…, index, stream, 0): numpy increments it before its first block of four words,
    so blocks count from 1.
    """
    generator, state = _generator()
    blocks, skipped = divmod(start, _BLOCK_WORDS)
    place = state["state"] = {"key": np.array((seed, 0), np.uint64)}
    counters = np.array([(blocks, index, stream, 0) for index in indices], np.uint64).reshape(-1, 4)
    rows = np.empty((len(counters), count), np.uint64)
    for row, counter in zip(rows, counters, strict=True):
        place["counter"] = counter
        generator.state = state
        row[:] = generator.random_raw(skipped + count)[skipped:]
    return rows


def _generator() -> tuple[np.random.Philox, Any]:
    """This thread's generator, with its state at the start of a block: setting that is cheaper than making another."""
    if not hasattr(_thread, "generator"):
        _thread.generator = np.random.Philox(key=0)
        _thread.state = _thread.generator.state
    return _thread.generator, _thread.state


def _quantiles(centred: Doubles) -> Floats:
    """`normal_quantile` rounded, of a part after the other: what it computes on the way stays in the caches."""
    found = np.empty(centred.size, np.float32)
    flat = centred.reshape(-1)
    for start in range(0, flat.size, _NUMBERS_AT_ONCE):
        part = slice(start, start + _NUMBERS_AT_ONCE)
        found[part] = normal_quantile(flat[part])
    return found.reshape(centred.shape)


def normal_quantile(centred: Doubles) -> Doubles:
    """Φ⁻¹(½ + q) for q = `centred` in (−½, ½), to about 1 part in 10¹⁶; q keeps its precision around the median.

    Wichura, "Algorithm AS 241: The percentage points of the normal distribution", Applied Statistics 37 (1988),
    routine PPND16: rational approximations in ½ ± 0.425, and in r = √(−ln p) on the tail p outside.
    """
    quantile = centred * _ratio(_CENTRE, np.maximum(0.180625 - centred * centred, 0))
    tail = np.abs(centred) > 0.425
    if tail.any():
        radius = np.sqrt(-np.log(0.5 - np.abs(centred[tail])))
        beyond = _ratio(_NEAR_TAIL, radius - 1.6)
        if (far := radius > 5).any():
            beyond[far] = _ratio(_FAR_TAIL, radius[far] - 5)
        quantile[tail] = np.copysign(beyond, centred[tail])
    return quantile


def _centred_uniforms(words: npt.NDArray[np.uint64]) -> Doubles:
    """Uniforms on (−½, ½): midpoints of 2⁵² equal cells. One bit more and the outermost midpoint would round to ½."""
    return ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52 - 0.5


def _float32_towards_zero(value: float) -> np.float32:
    nearest = np.float32(value)
    return nearest if nearest <= value else np.nextafter(nearest, np.float32(0))


def _polynomials(numerator: tuple[float, ...], denominator: tuple[float, ...]) -> Doubles:
    """Two polynomials as (degree + 1, 2, 1), constant terms first."""
    return np.array((numerator, denominator)).T[:, :, None].copy()


def _ratio(coefficients: Doubles, x: Doubles) -> Doubles:
    """The quotient of two polynomials at x, by Horner's rule for both at once."""
    flat = x.reshape(-1)
    both = np.repeat(coefficients[-1], flat.size, axis=1)  # (2, n)
    for terms in coefficients[-2::-1]:
        both *= flat
        both += terms
    quotient: Doubles = both[0] / both[1]
    return quotient.reshape(x.shape)


# fmt: off
# AS 241's a and b, c and d, e and f: numerators and denominators, constant term first.
_CENTRE = _polynomials(
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
     4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3),
)
_NEAR_TAIL = _polynomials(
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
     1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9),
)
_FAR_TAIL = _polynomials(
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
     2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15),
)
# fmt: on
