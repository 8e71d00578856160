"""Golden cases: a graph must answer here what it answered where it was published."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
import numpy.typing as npt

from app.errors import ModelRejected
from app.manifest import GoldenCase, Tensor
from app.runtime.session import GraphSession

_LITTLE_ENDIAN = {"float32": "<f4", "int64": "<i8"}


def verify_golden(session: GraphSession, case: GoldenCase) -> None:
    """Run the case's inputs and compare with its outputs, within its tolerances. Raises ModelRejected."""
    feeds = {name: as_array(tensor) for name, tensor in case.inputs.items()}
    try:
        answers = session.run(feeds)
    except Exception as error:  # onnxruntime's exceptions share no base
        raise ModelRejected(f"{case.role}: the golden inputs do not run ({type(error).__name__})") from error
    for name, tensor in case.outputs.items():
        _compare(case, name, answers.get(name), as_array(tensor))


def as_array(tensor: Tensor) -> npt.NDArray[Any]:
    """The array that a manifest holds as text. Raises ModelRejected when bytes and shape do not fit."""
    try:
        flat = np.frombuffer(base64.b64decode(tensor.base64, validate=True), _LITTLE_ENDIAN[tensor.dtype])
        return flat.astype(tensor.dtype).reshape(tensor.shape)
    except (binascii.Error, ValueError) as error:
        raise ModelRejected(f"a golden tensor is not base64 of {tensor.dtype}{list(tensor.shape)}") from error


def _compare(case: GoldenCase, name: str, answer: npt.NDArray[Any] | None, golden: npt.NDArray[Any]) -> None:
    if answer is None or answer.shape != golden.shape:
        raise ModelRejected(f"{case.role}: it does not answer the golden output {name} in its shape")
    if not np.allclose(answer, golden, rtol=case.relative_tolerance, atol=case.absolute_tolerance):
        error = float(np.max(np.abs(answer - golden)))
        raise ModelRejected(f"{case.role}: {name} is off its golden output by up to {error:.3g}")
