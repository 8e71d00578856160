"""Inference requests and answers of the Open Inference Protocol, between bytes and arrays. Pure.

A body is JSON, or JSON followed by the bytes of those tensors whose `parameters` hold a `binary_data_size`, in their
order; the header `Inference-Header-Content-Length` says where the JSON ends. A header of 0 marks a body that is nothing
but the bytes of the only input.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from app.api.negotiation import dump_arrays
from app.api.open_inference.envelope import InferenceRequest, InputTensor
from app.api.open_inference.tensors import (
    DATATYPES,
    check_shape,
    describe,
    from_bytes,
    from_list,
    to_bytes,
    wrong_field,
)
from app.api.problems import invalid_fields
from app.errors import RequestError, shorten
from app.manifest import GraphSignature, TensorSpec

HEADER = "Inference-Header-Content-Length"


@dataclass(frozen=True, slots=True)
class Inference:
    """A request, understood: arrays for the graph, and how each wanted output is to travel."""

    id: str | None
    feeds: Mapping[str, NDArray[Any]]
    binary: Mapping[str, bool]
    timeout_s: float | None

    @property
    def rows(self) -> int:
        """The size of the batch."""
        return len(next(iter(self.feeds.values())))


def parse(body: bytes, header_length: str | None, graph: GraphSignature) -> Inference:
    """A request for `graph` from its (decompressed) body and the header that says how long its JSON is.

    Raises:
        RequestError: the header is no length within the body.
        InvalidInput: what the body says is not JSON, not a request, or not one that this graph takes.
    """
    length = _json_length(header_length, len(body))
    if header_length is not None and length == 0:
        return _raw(memoryview(body), graph)
    message = _read(body[:length] if length < len(body) else body)
    outputs = _binary_by_output(message, graph)
    feeds = _feeds(message.inputs, memoryview(body)[length:], graph)
    timeout_us = message.parameters.timeout
    return Inference(message.id, feeds, outputs, timeout_us / 1e6 if timeout_us else None)


def render(
    inference: Inference, outputs: Mapping[str, NDArray[Any]], graph: GraphSignature, *, name: str, version: int
) -> tuple[bytes, int | None]:
    """The answer's body, and how long its JSON is where binary tensors follow."""
    specs = {spec.name: spec for spec in graph.outputs}
    described, tails = [], []
    for output, binary in inference.binary.items():
        array, spec = outputs[output], specs[output]
        shown = describe(spec) | {"shape": list(array.shape)}
        if binary:
            tails.append(to_bytes(array, spec))
            shown["parameters"] = {"binary_data_size": tails[-1].nbytes}
        else:
            shown["data"] = np.ascontiguousarray(array).reshape(-1)
        described.append(shown)
    said = {"id": inference.id} if inference.id is not None else {}
    head = dump_arrays({"model_name": name, "model_version": str(version), **said, "outputs": described})
    return b"".join([head, *tails]), len(head) if tails else None


def _json_length(header: str | None, total: int) -> int:
    if header is None:
        return total
    if not (header.isascii() and header.isdigit() and len(header) < 20 and int(header) <= total):
        raise RequestError(f"{HEADER} must be a whole number up to the body's {total} bytes, got {shorten(header)}")
    return int(header)


def _read(text: bytes) -> InferenceRequest:
    try:
        return InferenceRequest.model_validate_json(text)
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False)) from None


def _raw(data: memoryview, graph: GraphSignature) -> Inference:
    """A body of bytes alone: as many rows of the only input as they are; the outputs are bytes too."""
    spec, *others = graph.inputs
    row = spec.shape[1:]
    if others or not all(isinstance(size, int) for size in row):
        raise wrong_field("", f"bytes alone do not tell the inputs of this graph apart: {_names(graph.inputs)}")
    row_bytes = math.prod(int(size) for size in row) * np.dtype(spec.dtype).itemsize
    shape = (len(data) // row_bytes, *(int(size) for size in row))
    check_shape(spec, shape, "")
    return Inference(
        None, {spec.name: from_bytes(data, spec, shape, "")}, dict.fromkeys(_names(graph.outputs), True), None
    )


def _binary_by_output(message: InferenceRequest, graph: GraphSignature) -> dict[str, bool]:
    """The wanted outputs in the order asked for (all of them where none is named), and which travel as bytes."""
    default, known = message.parameters.binary_data_output, _names(graph.outputs)
    wanted: dict[str, bool] = {}
    for index, output in enumerate(message.outputs):
        pointer, asked = f"/outputs/{index}", output.parameters
        if output.name not in known:
            raise wrong_field(pointer, f"there is no output {shorten(output.name)}; there is {', '.join(known)}")
        if output.name in wanted:
            raise wrong_field(pointer, f"the output {output.name} is asked for twice")
        if asked.classification is not None or asked.shared_memory_region is not None:
            raise wrong_field(pointer, "the classification and shared memory extensions are not offered")
        wanted[output.name] = default if asked.binary_data is None else asked.binary_data
    return wanted or dict.fromkeys(known, default)


def _feeds(inputs: Sequence[InputTensor], tail: memoryview, graph: GraphSignature) -> dict[str, NDArray[Any]]:
    """Every input of the graph, each once, all with the same number of rows; bytes left over are an error."""
    specs = {spec.name: spec for spec in graph.inputs}
    feeds: dict[str, NDArray[Any]] = {}
    for index, sent in enumerate(inputs):
        pointer = f"/inputs/{index}"
        if (spec := specs.get(sent.name)) is None:
            raise wrong_field(pointer, f"there is no input {shorten(sent.name)}; there is {', '.join(specs)}")
        if sent.name in feeds:
            raise wrong_field(pointer, f"the input {sent.name} is given twice")
        size = sent.parameters.binary_data_size or 0
        feeds[sent.name] = _tensor(sent, spec, tail[:size], pointer)
        tail = tail[size:]
    if missing := specs.keys() - feeds.keys():
        raise wrong_field("/inputs", f"the input {sorted(missing)[0]} is missing")
    if tail:
        raise wrong_field("", f"{len(tail)} bytes follow that belong to no input")
    _check_rows(feeds)
    return {name: feeds[name] for name in specs}


def _tensor(sent: InputTensor, spec: TensorSpec, data: memoryview, pointer: str) -> NDArray[Any]:
    if sent.datatype != (datatype := DATATYPES[spec.dtype]):
        raise wrong_field(f"{pointer}/datatype", f"{spec.name} is {datatype}, not {shorten(sent.datatype)}")
    if sent.parameters.shared_memory_region is not None:
        raise wrong_field(pointer, "the shared memory extensions are not offered")
    if (sent.data is None) == (sent.parameters.binary_data_size is None):
        raise wrong_field(pointer, f"{spec.name} needs either data or a binary_data_size")
    check_shape(spec, sent.shape, pointer)
    if sent.data is not None:
        return from_list(sent.data, spec, sent.shape, pointer)
    return from_bytes(data, spec, sent.shape, pointer)


def _check_rows(feeds: Mapping[str, NDArray[Any]]) -> None:
    rows = {name: len(array) for name, array in feeds.items()}
    if len(set(rows.values())) > 1:
        raise wrong_field("/inputs", f"all inputs need the same number of rows, got {shorten(rows)}")


def _names(specs: Sequence[TensorSpec]) -> list[str]:
    return [spec.name for spec in specs]
