"""Arrays in: `.npy` files and headerless floats, held to what they claim before any memory is taken for them."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from app.api.payloads import MAX_COORDINATE
from app.errors import FieldError, InvalidInput, shorten

MAX_HEADER_BYTES = 512
"""numpy writes 128; the header is read by Python's literal parser, so it is kept short."""


def read_npy(body: bytes, dtype: str) -> NDArray[Any]:
    """The array in a `.npy` file (versions 1 and 2, C order) of `dtype` ("float32", "uint8"), as a read-only view.

    Raises:
        InvalidInput: not such a file, another dtype or order, or not as many bytes as its shape needs.
    """
    stream = io.BytesIO(body)
    shape, fortran, found = _read_header(stream)
    if found != np.dtype(dtype).newbyteorder("<") or fortran:
        raise InvalidInput(f"the array must be little-endian {dtype} in C order, got {shorten(found)}")
    payload = memoryview(body)[stream.tell() :]
    if any(length < 0 for length in shape) or len(payload) != math.prod(shape) * found.itemsize:
        raise InvalidInput(f"the array's shape {shorten(shape)} does not fit the {len(payload)} bytes that follow it")
    return np.frombuffer(payload, found).reshape(shape)


def _read_header(stream: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = npy.read_magic(stream)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[version]
        shape, fortran, dtype = read(stream, max_header_size=MAX_HEADER_BYTES)
    except (ValueError, KeyError, TypeError, SyntaxError) as error:
        raise InvalidInput(f"the body is no .npy file that is read here: {shorten(error)}") from None
    return shape, fortran, dtype


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
