"""Two domains from one set of pictures: half of them as they are, half turned into something else.

No picture is in both: what the domains have in common is to be found without pairs (Liu & Tuzel 2016, section 4).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from numpy.lib.stride_tricks import sliding_window_view

from training.data.splits import DataSplits, ImageSet, fingerprint

Turn = Literal["edges", "inverted"]
Pictures = UInt8[np.ndarray, "n h w c"]

ORIGINAL = "original"
"""What the domain of unchanged pictures is called; the other is called by how it was made."""


def turned(pictures: Pictures, kind: Turn) -> Pictures:
    """The pictures in the other domain: what a dilation by 3×3 pixels adds to them, or every level from above."""
    match kind:
        case "edges":
            margin = ((0, 0), (1, 1), (1, 1), (0, 0))
            windows = sliding_window_view(np.pad(pictures, margin), (3, 3), axis=(1, 2))
            edges: Pictures = windows.max(axis=(-2, -1)) - pictures
            return edges
        case "inverted":
            return 255 - pictures


def two_domains(data: DataSplits, kind: Turn) -> DataSplits:
    """Every other picture of each split turned; classes and labels are those of the domains."""
    parts = [_split(part, kind) for part in (data.train, data.validation, data.test)]
    return replace(
        data,
        name=f"{data.name}, half of it {kind}",
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        classes=(ORIGINAL, kind),
        sha256=fingerprint(*parts),
    )


def _split(images: ImageSet, kind: Turn) -> ImageSet:
    domain = np.arange(len(images)) % 2
    pictures = images.pictures.copy()
    pictures[1::2] = turned(pictures[1::2], kind)
    return replace(images, pictures=pictures, labels=domain.astype(np.int64))
