"""How `/v2` stands in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from app.api.dialects import status_of
from app.api.open_inference.envelope import IndexRequest, InferenceRequest, RepositoryRequest
from app.api.openapi import BINARY, Examples, Kind, reads
from app.errors import (
    BodyStalled,
    DeadlineExceeded,
    Forbidden,
    InvalidInput,
    LoadRefused,
    ModelNotFound,
    ModelOutputInvalid,
    ModelUnavailable,
    NotSupported,
    Overloaded,
    PayloadTooLarge,
    ShuttingDown,
    Unauthorized,
    UnsupportedMediaType,
)

HEADER_LENGTH = "How many bytes of the body are JSON, where binary tensors follow; 0: the body is one tensor's bytes."

Operation = dict[str, Any]
"""What a route's decorator is told besides its address."""

_SERVING: tuple[Kind, ...] = (Unauthorized, ModelNotFound, ModelUnavailable)
_READING: tuple[Kind, ...] = (Unauthorized, InvalidInput, BodyStalled, PayloadTooLarge, UnsupportedMediaType)
_RUNNING: tuple[Kind, ...] = (*_READING, *_SERVING, Overloaded, ShuttingDown, DeadlineExceeded, ModelOutputInvalid)
_CONTROLLING: tuple[Kind, ...] = (*_READING, Forbidden, ModelNotFound, NotSupported)

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}

_GRAPH = {"name": "tiny_vae.latent_to_image", "version": "1"}
_LATENT = {"name": "latent", "datatype": "FP32", "shape": [-1, 2]}
_IMAGE = {"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}
_DURATION = {"count": 12, "ns": 3400000}


def _operation(name: str, summary: str, example: object, *kinds: Kind) -> Operation:
    answer = {"schema": {"type": "array" if isinstance(example, list) else "object"}, "example": example}
    return {
        "operation_id": f"v2_{name}",
        "summary": summary,
        "responses": {200: {"description": "Done.", "content": {"application/json": answer}}, **_refusals(kinds)},
    }


def _reading(operation: Operation, body: type[BaseModel], examples: Examples) -> Operation:
    """An operation with an optional JSON body."""
    extra = reads(body, examples)
    extra["requestBody"]["required"] = False
    return operation | {"openapi_extra": extra}


def _refusals(kinds: tuple[Kind, ...]) -> dict[int | str, dict[str, Any]]:
    """Errors by status, with an example of each kind."""
    found: dict[int, dict[str, Any]] = {}
    for kind in dict.fromkeys(kinds):
        example = {"error": "What was wrong with this request, in a sentence."}
        found.setdefault(status_of(kind), {})[kind.code] = {"summary": kind.title, "value": example}
    return {
        status: {
            "description": "; ".join(example["summary"] for example in examples.values()),
            "content": {"application/json": {"schema": _ERROR, "examples": examples}},
        }
        for status, examples in sorted(found.items())
    }


def by_version(operation: Operation, *, pinned: bool) -> Operation:
    """The operation at the address that names no version, or at the one that does."""
    if not pinned:
        return operation
    extra: Mapping[str, Any] = operation.get("openapi_extra", {})
    version = {"name": "version", "in": "path", "required": True, "schema": {"type": "string"}, "example": "1"}
    return operation | {
        "operation_id": f"{operation['operation_id']}_of_version",
        "summary": f"{operation['summary']}, of one version",
        "openapi_extra": {**extra, "parameters": [version]},
    }


SERVER_METADATA = _operation(
    "server_metadata",
    "Describe the server",
    {"name": "latentserve", "version": "1", "extensions": ["binary_tensor_data"]},
    Unauthorized,
)
LIVE = _operation("server_live", "Does the process answer?", {"live": True})
READY = _operation("server_ready", "Is any model served?", {"ready": True})
READY["responses"][503] = {"description": "No model is served, or the service is draining.", "content": {}}

MODEL_METADATA = _operation(
    "model_metadata",
    "Describe a graph",
    {
        "name": _GRAPH["name"],
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [_LATENT],
        "outputs": [_IMAGE],
    },
    *_SERVING,
)
MODEL_READY = _operation("model_ready", "Is a graph served?", {"name": _GRAPH["name"], "ready": True}, *_SERVING)
MODEL_CONFIGURATION = _operation(
    "model_configuration",
    "Describe a graph as Triton's configuration",
    {"name": _GRAPH["name"], "platform": "onnxruntime_onnx", "max_batch_size": 256},
    *_SERVING,
)
_STATISTICS = {"model_stats": [{**_GRAPH, "inference_count": 96, "inference_stats": {"success": _DURATION}}]}
MODEL_STATISTICS = _operation("model_statistics", "What a graph has done", _STATISTICS, *_SERVING)
ALL_STATISTICS = _operation("statistics", "What all graphs have done", _STATISTICS, Unauthorized)

INFER = _operation(
    "infer",
    "Run a graph",
    {
        "model_name": _GRAPH["name"],
        "model_version": "1",
        "id": "my-request",
        "outputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64}],
    },
    *_RUNNING,
)
INFER["responses"][200]["content"]["application/octet-stream"] = {"schema": BINARY}
INFER["openapi_extra"] = reads(
    InferenceRequest,
    {
        "Two latents": {"inputs": [_LATENT | {"shape": [2, 2], "data": [[0.0, 0.0], [1.5, -0.5]]}]},
        "With an id and a time limit of a second": {
            "id": "my-request",
            "parameters": {"timeout": 1000000},
            "inputs": [_LATENT | {"shape": [1, 2], "data": [0.0, 0.0]}],
            "outputs": [{"name": "image"}],
        },
    },
    {"application/octet-stream": {"schema": BINARY | {"description": "JSON, then the bytes of binary tensors"}}},
)

INDEX = _reading(
    _operation("repository_index", "List every graph", [{**_GRAPH, "state": "READY", "reason": ""}], *_READING),
    IndexRequest,
    {"All": {}, "Those that are served": {"ready": True}},
)
LOAD = _reading(
    _operation("load_model", "Serve a model as it is published", {}, *_CONTROLLING, LoadRefused),
    RepositoryRequest,
    {"As it is": {}},
)
UNLOAD = _reading(
    _operation("unload_model", "Serve a model no longer", {}, *_CONTROLLING),
    RepositoryRequest,
    {"As clients send it": {"parameters": {"unload_dependents": False}}},
)
