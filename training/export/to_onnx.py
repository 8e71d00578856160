"""From a PyTorch module to one self-contained ONNX file; what several of them repeat is shared afterwards."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
import torch

from app.manifest import GraphSignature
from app.runtime.session import describe_graph, file_sha256
from training.export.graphs import Graph
from training.export.storage import store_in_half_precision

OPSET = 20
RANDOM_OPERATORS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
EXAMPLE_SIZES = {"batch": 2, "samples": 3}
"""Not 1 (the exporter would take it for a constant) and not alike (it would take them for the same dimension)."""


def write_graph(graph: Graph, folder: Path) -> GraphSignature:
    """Export to `<folder>/<role>.onnx` and return the signature as onnxruntime reads it back."""
    path = folder / f"{graph.role}.onnx"
    _export(graph, path)
    _compact(path)
    _refuse_random_and_external(path)
    inputs, outputs = describe_graph(path)
    return GraphSignature(role=graph.role, file=path.name, sha256=file_sha256(path), inputs=inputs, outputs=outputs)


def _export(graph: Graph, path: Path) -> None:
    examples = graph.random_inputs(EXAMPLE_SIZES, torch.Generator().manual_seed(0))
    varying = {
        name: {axis: torch.export.Dim(size) for axis, size in enumerate(shape) if isinstance(size, str)}
        for name, shape in graph.inputs.items()
    }
    graph.module(*examples.values())  # what is wrong with it is said here in its own words
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():  # the exporter warns of its own internals
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.module,
            tuple(examples.values()),
            path,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=tuple(varying.values()),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def _compact(path: Path) -> None:
    """Store large weights in half precision, and drop the exporter's notes: source lines and paths of this machine."""
    model = onnx.load(path, load_external_data=False)
    store_in_half_precision(model)
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
    onnx.save(model, path)


def _refuse_random_and_external(path: Path) -> None:
    """A graph must answer from its inputs and its own file alone."""
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model)
    if drawn := sorted({node.op_type for node in _nodes(model) if node.op_type in RANDOM_OPERATORS}):
        raise ValueError(f"{path.name} draws its own noise ({', '.join(drawn)}): make the noise an input")
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise ValueError(f"{path.name} keeps weights in other files")


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node: of the graph, of the functions that it calls, and of the branches within."""
    yield from _within(model.graph.node)
    for function in model.functions:
        yield from _within(function.node)


def _within(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for branch in (attribute.g, *attribute.graphs):
                yield from _within(branch.node)
