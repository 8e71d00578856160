"""How many nats it takes to write a picture down without any model of what pictures show: its complexity.

A density model finds flat pictures likely and busy ones unlikely, whatever they show. Serrà et al. ("Input complexity
and out-of-distribution detection with likelihood-based generative models", ICLR 2020, arXiv:1909.11480) take the length
of the picture in a general-purpose compressor off −log p(x). Compressors change between builds and would move every
calibrated p-value; here the length is that of an ideal adaptive coder, in closed form, and depends on no library.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from app.manifest import ImageSpace

Bytes = npt.NDArray[np.uint8]
Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
"""Rows up and columns to the left of the pixels that a bit is predicted from; those outside the picture are 0."""
_CONTEXTS = 2 ** (1 + len(_NEIGHBOURS))
_FEW_CONTEXTS = 2**3
"""Those of the plane above and the first two neighbours."""
_BITS = 8


def code_length_nats(pictures: Bytes, space: ImageSpace) -> Doubles:
    """The length (N,) of pictures (N,H,W,C) as their model observes them, losslessly coded bit by bit.

    Pictures in grey levels are cut into the eight bit planes of their Gray code, thresholded ones are one plane. A bit
    is predicted from neighbours that come before it in its plane and from the same pixel's bit in the plane above, by
    the Krichevsky-Trofimov estimator of its context. Each plane takes the shortest of two such codes and of its bits as
    they are, which costs a choice among three.
    """
    bits_first = np.moveaxis(pictures, -1, 1)  # (N, C, H, W)
    if space.observation == "threshold":
        planes = [(bits_first >= 255 * space.threshold).astype(np.uint8)]
    else:
        grey_code = bits_first ^ (bits_first >> np.uint8(1))
        planes = [(grey_code >> np.uint8(bit)) & np.uint8(1) for bit in reversed(range(_BITS))]
    above, total = np.zeros(bits_first.shape, np.uint8), np.zeros(len(pictures))
    for plane in planes:
        total += _plane_nats(plane, above)
        above = plane
    return total


def _plane_nats(plane: Bytes, above: Bytes) -> Doubles:
    """The length of one plane (N,C,H,W) of bits, by the best of three codes."""
    context = above.copy()
    for place, (up, left) in enumerate(_NEIGHBOURS, start=1):
        context += _shifted(plane, up, left) << np.uint8(place)
    counts = _counts(plane, context)
    few = counts.reshape(len(plane), -1, _FEW_CONTEXTS, 2).sum(axis=1)
    plain = np.full(len(plane), plane[0].size * math.log(2))
    codes = [_adaptive_nats(counts), _adaptive_nats(few), plain]
    shortest: Doubles = np.min(codes, axis=0)
    return shortest + math.log(len(codes))


def _shifted(plane: Bytes, up: int, left: int) -> Bytes:
    """The bit `up` rows above and `left` columns to the left of each pixel."""
    height, width = plane.shape[2:]
    padded = np.pad(plane, ((0, 0), (0, 0), (up, 0), (max(left, 0), max(-left, 0))))
    start = max(-left, 0)
    return padded[:, :, :height, start : start + width]


def _counts(bits: Bytes, context: Bytes) -> Integers:
    """How many bits of each image (N,C,H,W) are 0 and are 1 in each context: (N, contexts, 2)."""
    count, cells = len(bits), 2 * _CONTEXTS
    image = cells * np.arange(count)[:, None]
    found = np.bincount(
        (image + (2 * context.astype(np.int16) + bits).reshape(count, -1)).ravel(), minlength=count * cells
    )
    return found.reshape(count, _CONTEXTS, 2)


def _adaptive_nats(counts: Integers) -> Doubles:
    """Σ over contexts of −log P(k ones among n bits in their order), from counts (N, contexts, 2).

    P = Γ(k + ½) Γ(n − k + ½) / (π Γ(n + 1)): Krichevsky & Trofimov, "The performance of universal encoding", IEEE
    Trans. Information Theory 27 (1981). The adaptive coder's product telescopes into it, whatever the bits' order.
    """
    seen = counts.sum(axis=2)
    steps = np.arange(seen.max(), dtype=np.float64)
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(steps + 1))])  # log Γ(n + 1)
    log_half = np.concatenate([[0.0], np.cumsum(np.log(steps + 0.5))])  # log Γ(k + ½) − log √π
    nats: Doubles = log_factorial[seen].sum(axis=1) - log_half[counts].sum(axis=(1, 2))
    return nats
