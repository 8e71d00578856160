"""Weights in half precision: half the bytes to keep and to fetch, and the same arithmetic as before.

Two steps that belong together. `round_weights` makes the weights of the copy that is exported representable in float16,
before anything is compared or measured: every published number is of these very weights. `store_in_half_precision`
then writes what float16 holds exactly as float16, behind a Cast that the runtime folds when it loads the file; so it
loses nothing, and whatever was left unrounded stays in float32.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

SMALLEST_HALVED = 4096
"""Numbers in a tensor below which a Cast costs about as much as it saves."""
LARGEST_ROUNDING = 2.0**-11
"""Of a tensor, root mean square, relative to its own: float16 keeps 11 bits of a number between 6e-5 and 65504."""
MULTIPLYING = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
"""Layers whose weights are rounded: sums over many of them average the error out. Scales, determinants and other
numbers that enter a density by themselves are none of them."""


def round_weights(model: nn.Module) -> list[str]:
    """Round large weights in place to the nearest float16; returns the names of those that it would hurt and were kept.

    A tensor is kept where a number is beyond float16's range or its rounding exceeds `LARGEST_ROUNDING`, as it does
    where most of its numbers are too small for float16's exponents.
    """
    kept = []
    for name, module in model.named_modules():
        if isinstance(module, MULTIPLYING) and module.weight.numel() >= SMALLEST_HALVED:
            rounded = module.weight.detach().half().float()
            if _rounding(module.weight.detach(), rounded) <= LARGEST_ROUNDING:
                module.weight.data = rounded
            else:
                kept.append(f"{name}.weight")
    return kept


def _rounding(exact: Tensor, rounded: Tensor) -> float:
    """Root mean square error relative to the root mean square; infinite where a number overflowed."""
    error, size = torch.linalg.vector_norm(rounded - exact), torch.linalg.vector_norm(exact)
    return float(error / size) if size > 0 else 0.0


def store_in_half_precision(model: onnx.ModelProto) -> None:
    """Keep each large float32 initialiser that float16 holds exactly as float16, cast back where the graph begins."""
    casts = []
    for tensor in model.graph.initializer:
        half = _exact_half(tensor)
        if half is not None:
            stored = f"{tensor.name}.float16"
            casts.append(helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT))
            tensor.CopyFrom(numpy_helper.from_array(half, stored))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _exact_half(tensor: TensorProto) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]] | None:
    """The tensor in float16, or None where it is small, of another type, or not the same in it."""
    if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_HALVED:
        return None
    exact = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):  # a number beyond float16's range becomes infinite, hence unequal
        half = exact.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), exact) else None
