"""ONNX graphs from nodes and constants, for models that are made without PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.manifest import LABEL

Shape = Sequence[int | str]


def graph(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Shape],
    outputs: dict[str, Shape],
    constants: dict[str, NDArray[Any]],
) -> onnx.ModelProto:
    """A float32 model of these nodes; integer constants stay integers."""
    initializers = [
        numpy_helper.from_array(value.astype(np.int64 if value.dtype.kind == "i" else np.float32), name)
        for name, value in constants.items()
    ]
    body = helper.make_graph(nodes, "tiny", value_infos(inputs), value_infos(outputs), initializers)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def value_infos(tensors: dict[str, Shape]) -> list[onnx.ValueInfoProto]:
    """Tensors of these shapes, names being dimensions that vary: labels are int64, everything else float32."""
    types = {name: TensorProto.INT64 if name == LABEL else TensorProto.FLOAT for name in tensors}
    return [helper.make_tensor_value_info(name, types[name], list(shape)) for name, shape in tensors.items()]
