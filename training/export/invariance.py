"""Is a picture the same bytes in whatever batch, and on however many threads? It is promised, so it is checked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto

from app.manifest import GraphSignature
from app.runtime.session import GraphSession, describe_graph, file_sha256
from app.runtime.weights import Weights
from training.export.graphs import Graph
from training.export.parity import ParityError

SAMPLING_ROLES = frozenset({"noise_to_latent", "latent_to_image"})
"""What a sample goes through."""
LARGEST_BATCH = 64
"""As large as the service's batches get."""
THREADS = (1, 2)

Arrays = Mapping[str, NDArray[np.generic]]


def check_invariance(
    graph: Graph, path: Path, signature: GraphSignature, weights: Weights | None = None, *, seed: int = 0
) -> None:
    """Run rows alone and in batches of every size up to 64, at many offsets, on one thread and two: bit for bit alike.

    Raises ParityError, naming the first operator that is at fault, or both numbers of threads.
    """
    inputs = graph.random_inputs({"batch": LARGEST_BATCH}, torch.Generator().manual_seed(seed))
    feeds = {name: tensor.numpy() for name, tensor in inputs.items()}
    together = GraphSession.open(path, signature, weights=weights).run(feeds)
    for threads in THREADS:
        session = GraphSession.open(path, signature, threads=threads, weights=weights)
        for part in _parts():
            if _differing(session.run(_rows(feeds, part)), _rows(together, part)):
                raise ParityError(_explain(path, feeds, part, threads))


def _parts() -> Iterator[slice]:
    """Every row alone, then every size, each somewhere else in the batch."""
    yield from (slice(start, start + 1) for start in range(LARGEST_BATCH))
    for size in range(2, LARGEST_BATCH + 1):
        start = 7 * size % (LARGEST_BATCH - size + 1)
        yield slice(start, start + size)


def _rows(arrays: Arrays, part: slice) -> dict[str, NDArray[np.generic]]:
    return {name: array[part] for name, array in arrays.items()}


def _differing(found: Arrays, wanted: Arrays) -> list[str]:
    return [name for name, array in found.items() if array.tobytes() != wanted[name].tobytes()]


def _explain(path: Path, feeds: Arrays, part: slice, threads: int) -> str:
    size, role = part.stop - part.start, path.stem
    where = f"{role}: rows {part.start} … {part.stop - 1} have other bits in a batch of {size} than in one of 64"
    if threads > 1:
        return f"{where}, on {threads} threads; find the operator that splits a sum over threads and restructure it"
    culprit = _first_differing_node(path, feeds, part)
    if culprit is None:
        return f"{where}; the runtime's fusions hide in which operator: try the layers one by one"
    return (
        f"{where}, from {culprit.op_type} ({culprit.name or culprit.output[0]}) on. It must not look across the batch; "
        "if it does not, its inner loop treats the end of an array differently: pad its last axis to a multiple of 16, "
        "or compute it by operators that do not (Log and Softplus at narrow widths are known for it)"
    )


def _first_differing_node(path: Path, feeds: Arrays, part: slice) -> onnx.NodeProto | None:
    """The first node, in order of computation, whose floats differ, in the graph with every value made an output."""
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    kept = {output.name for output in model.graph.output}
    values = [
        value
        for value in model.graph.value_info
        if value.type.tensor_type.elem_type == TensorProto.FLOAT and value.name not in kept
    ]
    model.graph.output.extend(_batched(values))
    with tempfile.TemporaryDirectory() as folder:
        opened = Path(folder) / path.name
        onnx.save(model, opened)
        inputs, outputs = describe_graph(opened)
        signature = GraphSignature(
            role="latent_to_image", file=path.name, sha256=file_sha256(opened), inputs=inputs, outputs=outputs
        )
        session = GraphSession.open(opened, signature)
    together, alone = session.run(feeds), session.run(_rows(feeds, part))
    at_fault = set(_differing(alone, _rows(together, part)))
    return next((node for node in model.graph.node if at_fault & set(node.output)), None)


def _batched(values: Sequence[onnx.ValueInfoProto]) -> Iterator[onnx.ValueInfoProto]:
    """Those whose first dimension varies: only rows can be compared."""
    for value in values:
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and not dimensions[0].HasField("dim_value"):
            yield value
