"""The weights that meet a latent first, read from the exported decoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from jaxtyping import Float64
from onnx import numpy_helper

from app.manifest import Manifest


def first_layer(manifest: Manifest, folder: Path) -> Float64[np.ndarray, "features d"] | None:
    """What the decoder's first layer multiplies latents by; None where no one dense layer reads them as they come.

    Batch norm behind it is part of it, as exported. Large weights are stored in half precision, behind a Cast.
    """
    if "latent_to_image" not in manifest.roles:
        return None
    graph = onnx.load(folder / manifest.graph("latent_to_image").file).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    cast = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    readers = [node for node in graph.node if "latent" in node.input]
    if len(readers) != 1 or readers[0].op_type not in ("Gemm", "MatMul") or readers[0].input[0] != "latent":
        return None
    (reader,) = readers
    name = reader.input[1]
    tensor = constants.get(cast.get(name, name))
    if tensor is None:
        return None
    weight = numpy_helper.to_array(tensor).astype(np.float64)
    is_transposed = any(attribute.name == "transB" and attribute.i for attribute in reader.attribute)
    return weight if is_transposed else weight.T
