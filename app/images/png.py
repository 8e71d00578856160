"""PNG files of 8-bit pictures, with or without a receipt: the two or three chunks that they need, written directly.

Pillow's encoder searches filters and compresses hard; for the small pictures served here that takes twice as long
(`benchmarks/encoding.py`) and does not make the files smaller. PNG specification, third edition: 5 (chunks), 11.2
(critical chunks), 11.3.3.4 (iTXt).
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from app.images.receipts import receipt_chunk

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, COLOUR = 0, 2
LEVEL = 1
"""Of zlib: on small pictures higher ones take longer and save next to nothing."""


def encode_png(picture: npt.NDArray[np.uint8], receipt: str | None = None) -> bytes:
    """A picture (H,W,C) as PNG, with `receipt` in an iTXt chunk named `latentserve`. The same input, the same bytes."""
    height, width, channels = picture.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # each line begins with its filter: none
    lines[:, 1:] = picture.reshape(height, width * channels)
    header = struct.pack(">IIBBBBB", width, height, 8, GREY if channels == 1 else COLOUR, 0, 0, 0)
    return b"".join(
        (
            SIGNATURE,
            _chunk(b"IHDR", header),
            b"" if receipt is None else _chunk(b"iTXt", receipt_chunk(receipt)),
            _chunk(b"IDAT", zlib.compress(lines.data, LEVEL)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))
