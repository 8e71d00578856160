"""Tensors on the wire of the Open Inference Protocol: types by name, JSON lists and little-endian bytes. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.api.payloads import MAX_COORDINATE
from app.errors import FieldError, InvalidInput, shorten
from app.manifest import DType, TensorSpec

DATATYPES: dict[DType, str] = {"float32": "FP32", "int64": "INT64"}
"""The protocol's name of every type that a served graph may have."""

_LITTLE_ENDIAN: dict[DType, np.dtype[Any]] = {"float32": np.dtype("<f4"), "int64": np.dtype("<i8")}
_NUMBERS: dict[DType, str] = {"float32": "fiu", "int64": "iu"}
"""Kinds of numpy array that JSON numbers may become before they are a tensor of that type."""


def describe(spec: TensorSpec) -> dict[str, Any]:
    """Name, datatype and shape of a graph's input or output; −1 where the size varies."""
    shape = [size if isinstance(size, int) else -1 for size in spec.shape]
    return {"name": spec.name, "datatype": DATATYPES[spec.dtype], "shape": shape}


def check_shape(spec: TensorSpec, shape: Sequence[int], pointer: str) -> None:
    """Raise InvalidInput unless `shape` is one that the graph takes, with at least one number in it."""
    fits = len(shape) == len(spec.shape) and all(
        size == fixed if isinstance(fixed, int) else size >= 1 for size, fixed in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise wrong_field(
            f"{pointer}/shape", f"{spec.name} has the shape {describe(spec)['shape']}, not {shorten(shape)}"
        )


def from_bytes(data: memoryview, spec: TensorSpec, shape: Sequence[int], pointer: str) -> NDArray[Any]:
    """A tensor from its row-major little-endian bytes, as a read-only view of them; raises InvalidInput.

    Bytes that do not lie where numbers of their type may are copied: JSON before them has any length.
    """
    dtype = _LITTLE_ENDIAN[spec.dtype]
    needed = math.prod(shape) * dtype.itemsize
    if len(data) != needed:
        raise wrong_field(pointer, f"{spec.name} of this shape has {needed} bytes, not {len(data)}")
    numbers = np.require(np.frombuffer(data, dtype), requirements="A")
    return _within_bounds(numbers, spec, pointer).reshape(shape)


def from_list(data: Sequence[Any], spec: TensorSpec, shape: Sequence[int], pointer: str) -> NDArray[Any]:
    """A tensor from JSON numbers, flat or nested, row by row; raises InvalidInput."""
    try:
        numbers = np.array(data)
    except ValueError:
        raise wrong_field(f"{pointer}/data", f"{spec.name}: lists within lists must be equally long") from None
    if numbers.dtype.kind not in _NUMBERS[spec.dtype]:
        raise wrong_field(
            f"{pointer}/data", f"{spec.name}: every value must be a number that {DATATYPES[spec.dtype]} holds"
        )
    if numbers.size != math.prod(shape):
        raise wrong_field(
            f"{pointer}/data", f"{spec.name} of this shape has {math.prod(shape)} numbers, not {numbers.size}"
        )
    return _within_bounds(numbers, spec, pointer).astype(_LITTLE_ENDIAN[spec.dtype]).reshape(shape)


def to_bytes(array: NDArray[Any], spec: TensorSpec) -> memoryview:
    """A tensor's row-major little-endian bytes, without a copy where it lies in memory like that."""
    return np.ascontiguousarray(array, _LITTLE_ENDIAN[spec.dtype]).reshape(-1).view(np.uint8).data


def wrong_field(pointer: str, detail: str) -> InvalidInput:
    """What to raise about one field."""
    return InvalidInput(detail, errors=[FieldError(pointer, detail)])


def _within_bounds(numbers: NDArray[Any], spec: TensorSpec, pointer: str) -> NDArray[Any]:
    """`numbers` unless one is not finite or so large that a graph's answer might not be."""
    # Written so that NaN, which min and max hand on and which compares false, counts as out of bounds.
    if spec.dtype == "float32" and not (numbers.min() >= -MAX_COORDINATE and numbers.max() <= MAX_COORDINATE):
        raise wrong_field(pointer, f"{spec.name}: every number must be finite and within ±{MAX_COORDINATE:g}")
    if numbers.dtype == np.uint64 and numbers.max() > np.iinfo(np.int64).max:
        raise wrong_field(pointer, f"{spec.name}: a number does not fit into INT64")
    return numbers
