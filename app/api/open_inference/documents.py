"""What the Open Inference Protocol tells of a server, its graphs and its repository, as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.api.open_inference.tensors import DATATYPES, describe
from app.manifest import GraphRole, GraphSignature, TensorSpec
from app.runtime.model import GenerativeModel
from app.runtime.repository import Published
from app.runtime.statistics import GraphStatistics, Tally

EXTENSIONS = (
    "binary_tensor_data",
    "model_repository",
    "model_repository(unload_dependents)",
    "model_configuration",
    "statistics",
    "schedule_policy",
    "parameters",
)

PLATFORM = "onnxruntime_onnx"


@dataclass(frozen=True, slots=True)
class ServedGraph:
    """One graph of one model version, which the protocol calls a model."""

    model: GenerativeModel
    signature: GraphSignature

    @property
    def name(self) -> str:
        """`<model>.<role>`."""
        return served_name(self.model.manifest.name, self.signature.role)

    @property
    def version(self) -> int:
        """The model's version."""
        return self.model.manifest.version


def served_name(model: str, role: GraphRole) -> str:
    """What the protocol calls a graph."""
    return f"{model}.{role}"


def server_metadata(version: str) -> dict[str, Any]:
    """Who answers, and which extensions of the protocol."""
    return {"name": "latentserve", "version": version, "extensions": EXTENSIONS}


def model_metadata(graph: ServedGraph, versions: Sequence[int]) -> dict[str, Any]:
    """Inputs and outputs of a graph, and the versions that it is served in."""
    return {
        "name": graph.name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": [describe(spec) for spec in graph.signature.inputs],
        "outputs": [describe(spec) for spec in graph.signature.outputs],
    }


def model_configuration(graph: ServedGraph, max_batch_size: int) -> dict[str, Any]:
    """A graph in the terms of Triton's model configuration, where the rows of a batch are no dimension."""
    return {
        "name": graph.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "max_batch_size": max_batch_size,
        "input": [_configured(spec) for spec in graph.signature.inputs],
        "output": [_configured(spec) for spec in graph.signature.outputs],
        "dynamic_batching": {"preserve_ordering": False},
    }


def _configured(spec: TensorSpec) -> dict[str, Any]:
    dims = describe(spec)["shape"][1:]
    return {"name": spec.name, "data_type": f"TYPE_{DATATYPES[spec.dtype]}", "dims": dims}


def statistics(graphs: Iterable[ServedGraph]) -> dict[str, Any]:
    """What graphs have done since they were loaded, whoever asked: requests to `/v1` count too."""
    return {"model_stats": [_statistics(graph, graph.model.statistics(graph.signature.role)) for graph in graphs]}


def _statistics(graph: ServedGraph, found: GraphStatistics) -> dict[str, Any]:
    """Stacking the rows of a batch and taking its answer apart are part of `compute_infer`."""
    nothing = Tally(found.success.count)
    tallies = {"success": found.success, "fail": found.failure, "queue": found.queue, "compute_input": nothing}
    tallies |= {"compute_infer": found.run, "compute_output": nothing, "cache_hit": Tally(), "cache_miss": Tally()}
    return {
        "name": graph.name,
        "version": str(graph.version),
        "last_inference": round((found.last_request_s or 0) * 1000),
        "inference_count": found.rows,
        "execution_count": sum(tally.count for tally in found.batches.values()),
        "inference_stats": {name: _duration(tally) for name, tally in tallies.items()},
        "response_stats": {},
        "batch_stats": [_batch(size, tally) for size, tally in sorted(found.batches.items())],
        "memory_usage": [],
    }


def _duration(tally: Tally) -> dict[str, int]:
    return {"count": tally.count, "ns": round(tally.seconds * 1e9)}


def _batch(size: int, tally: Tally) -> dict[str, Any]:
    nothing = _duration(Tally(tally.count))
    return {
        "batch_size": size,
        "compute_input": nothing,
        "compute_infer": _duration(tally),
        "compute_output": nothing,
    }


def repository_index(published: Iterable[Published], *, ready: bool) -> list[dict[str, str]]:
    """Every graph of every version with its state; with `ready`, those alone that are served.

    A version whose manifest could not be read stands there by the model's name.
    """
    return [
        {"name": name, "version": str(version.version), "state": _state(version), "reason": version.reason or ""}
        for version in published
        if version.model or not ready
        for name in served_names(version)
    ]


def served_names(version: Published) -> list[str]:
    """What the protocol calls the graphs of a version."""
    if version.manifest is None:
        return [version.name]
    return [served_name(version.name, graph.role) for graph in version.manifest.graphs]


def _state(version: Published) -> str:
    return "READY" if version.model else "UNAVAILABLE"
