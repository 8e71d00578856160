"""Arrays in: `.npy` files and headerless floats, held to what they claim before any memory is taken for them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.api.payloads import MAX_COORDINATE
from app.errors import FieldError, InvalidInput, shorten

MAX_HEADER_BYTES = 512
"""numpy writes 128."""

# numpy reads the header, a Python literal, with Python's parser, which fails in many ways on hostile text. Of the plain
# arrays read here it has three entries, which these find in whatever order and spacing.
_MAGIC = b"\x93NUMPY"
_DTYPE = re.compile(rb"""['"]descr['"]\s*:\s*['"]([^'"]{1,16})['"]""")
_ORDER = re.compile(rb"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(rb"""['"]shape['"]\s*:\s*\(\s*((?:\d{1,18}\s*,\s*)*(?:\d{1,18}\s*)?)\)""")

_DTYPES = {"float32": "<f4", "uint8": "|u1"}


def read_npy(body: bytes, dtype: str) -> NDArray[Any]:
    """The array in a `.npy` file (versions 1 and 2, C order) of `dtype` ("float32", "uint8"), as a read-only view.

    Raises:
        InvalidInput: not such a file, another dtype or order, or not as many bytes as its shape needs.
    """
    header, payload = _split(body)
    found, order, shape = (pattern.search(header) for pattern in (_DTYPE, _ORDER, _SHAPE))
    if not (found and order and shape):
        raise InvalidInput("the header of the .npy file does not describe a plain array")
    if (found[1].decode("latin-1"), order[1]) != (_DTYPES[dtype], b"False"):
        wanted = f"little-endian {dtype} in C order"
        raise InvalidInput(f"the array must be {wanted}, got {shorten(found[1].decode('latin-1'))}")
    lengths = [int(number) for number in re.findall(rb"\d+", shape[1])]
    if len(payload) != math.prod(lengths) * np.dtype(dtype).itemsize:
        raise InvalidInput(f"the shape {shorten(tuple(lengths))} does not fit the {len(payload)} bytes that follow it")
    return np.frombuffer(payload, _DTYPES[dtype]).reshape(lengths)


def _split(body: bytes) -> tuple[bytes, bytes]:
    """Header and data of a `.npy` file (numpy's NEP 1): magic, version, header length, header, data."""
    width = {b"\x01\x00": 2, b"\x02\x00": 4}.get(body[6:8])
    if not body.startswith(_MAGIC) or width is None:
        raise InvalidInput("the body is no .npy file of version 1 or 2")
    start = 8 + width
    length = int.from_bytes(body[8:start], "little")
    if length > min(MAX_HEADER_BYTES, len(body) - start):
        raise InvalidInput(f"the header of the .npy file is cut off, or longer than {MAX_HEADER_BYTES} bytes")
    return body[start : start + length], body[start + length :]


def read_latents_npy(body: bytes, size: int) -> NDArray[np.float32]:
    """float32 (N, `size`) from a `.npy` file; raises InvalidInput."""
    latents = read_npy(body, "float32")
    if latents.ndim != 2:
        raise InvalidInput(f"the array must be (N, {size}), got {shorten(latents.shape)}")
    return check_latents(latents, size)


def read_latents_raw(body: bytes, size: int) -> NDArray[np.float32]:
    """float32 (N, `size`) from little-endian bytes without a header; raises InvalidInput."""
    if len(body) % (4 * size):
        raise InvalidInput(f"{len(body)} bytes are no whole number of latents of {size} float32 (4·{size} bytes each)")
    return check_latents(np.frombuffer(body, "<f4").reshape(-1, size), size)


def read_latents_json(rows: Sequence[Sequence[float]], size: int, pointer: str = "/latents") -> NDArray[np.float32]:
    """float32 (N, `size`) from lists of numbers, every row of the right length; raises InvalidInput."""
    for index, row in enumerate(rows):
        check_length(len(row), size, f"{pointer}/{index}", index)
    return np.asarray(rows, np.float32).reshape(len(rows), size)


def check_length(length: int, size: int, pointer: str, index: int | None = None) -> None:
    """Raise InvalidInput when a latent has another length than the model's."""
    if length != size:
        detail = f"this model's latents have {size} numbers, this one has {length}"
        raise InvalidInput(f"{pointer}: {detail}", errors=[FieldError(pointer, detail, limit=size, index=index)])


def check_latents(latents: NDArray[np.float32], size: int, pointer: str = "/latents") -> NDArray[np.float32]:
    """`latents` (N, `size`), at least one, finite and within the cap; raises InvalidInput naming the first bad row."""
    if len(latents) == 0:
        raise InvalidInput("there are no latents", errors=[FieldError(pointer, "at least one is needed")])
    check_length(latents.shape[1], size, f"{pointer}/0", 0)
    # Written so that NaN, which compares false, counts as out of range.
    bad = np.flatnonzero(~(np.abs(latents) <= MAX_COORDINATE).all(axis=1))
    if bad.size:
        index, detail = int(bad[0]), f"every number must be finite and within ±{MAX_COORDINATE:g}"
        error = FieldError(f"{pointer}/{index}", detail, limit=MAX_COORDINATE, index=index)
        raise InvalidInput(f"latent {index}: {detail}", errors=[error])
    return latents
