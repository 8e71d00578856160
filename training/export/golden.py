"""Golden cases: what each published graph answered to known inputs, for every server that loads it to check."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.manifest import DType, GoldenCase, Tensor
from app.runtime.session import GraphSession
from training.export.graphs import Graph
from training.export.parity import KINK_TOLERANCE, Tolerance, is_gradient

SIZES = {"batch": 2, "samples": 2}
SEED = 7


def golden_case(graph: Graph, session: GraphSession) -> GoldenCase:
    """Run the graph on fixed random inputs and keep both sides."""
    inputs = graph.random_inputs(SIZES, torch.Generator().manual_seed(SEED))
    feeds = {name: tensor.numpy() for name, tensor in inputs.items()}
    outputs, tolerance = _steady(session.run(feeds)), Tolerance.of(graph)
    for name, array in outputs.items():
        tolerance = tolerance.for_terms(graph.role, array)
        tolerance = tolerance.beside_largest(KINK_TOLERANCE, array) if is_gradient(name) else tolerance
    return GoldenCase(
        role=graph.role,
        inputs={name: _as_text(array) for name, array in feeds.items()},
        outputs={name: _as_text(array) for name, array in outputs.items()},
        absolute_tolerance=tolerance.absolute,
        relative_tolerance=tolerance.relative,
    )


def _steady(outputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Those that are no gradients, where there are any: another processor may round to the other side of a kink."""
    return {name: array for name, array in outputs.items() if not is_gradient(name)} or outputs


def _as_text(array: NDArray[Any]) -> Tensor:
    dtype: DType = "int64" if array.dtype.kind == "i" else "float32"
    data = np.ascontiguousarray(array, np.dtype(dtype).newbyteorder("<")).tobytes()
    return Tensor(dtype=dtype, shape=array.shape, base64=base64.b64encode(data).decode())
