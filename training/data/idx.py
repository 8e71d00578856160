"""The IDX format of the MNIST files: two zero bytes, a type, the number of dimensions, the dimensions, the bytes.

Defined on the MNIST database's page (LeCun, Cortes, Burges 1998). Only unsigned bytes (type 8) occur here.
"""

from __future__ import annotations

import struct

import numpy as np
from jaxtyping import UInt8

from training.data.splits import DataError

_UNSIGNED_BYTE = 0x08


def parse_idx(content: bytes) -> UInt8[np.ndarray, "..."]:
    """The array in an unpacked IDX file. DataError when the header or the length is not that of one."""
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] != _UNSIGNED_BYTE:
        raise DataError(f"not an IDX file of unsigned bytes: it starts with {content[:4].hex(' ')}")
    dimensions = content[3]
    header_bytes = 4 + 4 * dimensions
    if len(content) < header_bytes:
        raise DataError(f"the IDX file ends within its header, after {len(content)} bytes")
    shape = struct.unpack(f">{dimensions}I", content[4:header_bytes])
    values = np.frombuffer(content, np.uint8, offset=header_bytes)
    if len(values) != np.prod(shape, dtype=np.int64):
        raise DataError(f"the IDX file states {' by '.join(map(str, shape))} bytes but holds {len(values)}")
    return values.reshape(shape)
