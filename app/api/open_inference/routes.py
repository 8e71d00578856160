"""`/v2`: the Open Inference Protocol over REST. Routes translate; what a body means is decided in `messages`.

Bodies are read as they are, whatever their Content-Type says: the protocol's own clients send none. Anything but a 200
is an error to them, so nothing here redirects.
"""

import time
from functools import partial
from typing import Annotated

import numpy as np
from fastapi import Header, Request
from numpy.typing import NDArray
from starlette.responses import Response

from app.api.declared import Router
from app.api.negotiation import server_timing
from app.api.open_inference import documents, openapi
from app.api.open_inference.bodies import json_answer, off_loop, plain_body
from app.api.open_inference.compression import asked_for, compress
from app.api.open_inference.documents import ServedGraph
from app.api.open_inference.graphs import Graph
from app.api.open_inference.messages import HEADER, Inference, parse, render
from app.api.open_inference.tensors import wrong_field
from app.api.service import Deadline, Service, ServiceOf
from app.errors import shorten
from app.manifest import LABEL

router = Router(tags=["open inference protocol"])


@router.get("/v2/", include_in_schema=False)
@router.get("/v2", **openapi.SERVER_METADATA)
async def server_metadata(request: Request) -> Response:
    """The service's name and the protocol's extensions that it speaks."""
    return json_answer(documents.server_metadata(request.app.version))


@router.get("/v2/health/live", **openapi.LIVE)
async def server_live() -> Response:
    """Always 200 while the event loop turns."""
    return json_answer({"live": True})


@router.get("/v2/health/ready", **openapi.READY)
async def server_ready(service: ServiceOf) -> Response:
    """200 while a model is served and the service is not draining."""
    return json_answer({"ready": service.ready}, 200 if service.ready else 503)


@router.get("/v2/models/stats", **openapi.ALL_STATISTICS)
async def all_statistics(service: ServiceOf) -> Response:
    """Of every graph that is served now."""
    graphs = (
        ServedGraph(version.model, graph)
        for version in service.repository.published()
        if version.model is not None
        for graph in version.model.manifest.graphs
    )
    return json_answer(documents.statistics(graphs))


async def model_metadata(graph: Graph, service: ServiceOf) -> Response:
    """Inputs, outputs and versions of a graph."""
    versions = [
        version.version
        for version in service.repository.published()
        if version.model is not None and graph.name in documents.served_names(version)
    ]
    return json_answer(documents.model_metadata(graph, versions))


async def model_ready(graph: Graph) -> Response:
    """200 where the graph is served."""
    return json_answer({"name": graph.name, "ready": True})


async def model_configuration(graph: Graph, service: ServiceOf) -> Response:
    """A graph in the terms of Triton's model configuration; a request holds `max_batch_size` rows at most."""
    most = service.limits.most_images(graph.model.manifest.image)
    return json_answer(documents.model_configuration(graph, most))


async def model_statistics(graph: Graph) -> Response:
    """Of one version of a graph since it was loaded, in nanoseconds."""
    return json_answer(documents.statistics([graph]))


async def infer(
    request: Request,
    graph: Graph,
    service: ServiceOf,
    deadline: Deadline,
    inference_header_content_length: Annotated[str | None, Header(description=openapi.HEADER_LENGTH)] = None,
) -> Response:
    """One run of a graph on the rows of this request, stacked with those of others."""
    body = await plain_body(request, service)
    read = partial(parse, body, inference_header_content_length, graph.signature)
    inference = await off_loop(read, len(body))
    _check_limits(service, graph, inference)
    if inference.timeout_s is not None:
        deadline = min(deadline, time.monotonic() + inference.timeout_s)
    found = await graph.model.infer(graph.signature.role, inference.feeds, deadline=deadline)
    write = partial(render, inference, found.outputs, graph.signature, name=graph.name, version=graph.version)
    began = time.monotonic()
    answer, json_length = await off_loop(write, sum(array.nbytes for array in found.outputs.values()))
    response = await _answer(answer, json_length, request.headers.get("accept-encoding", ""))
    response.headers["Server-Timing"] = server_timing(found.timing, time.monotonic() - began)
    return response


def _check_limits(service: Service, graph: ServedGraph, inference: Inference) -> None:
    service.limits.check_images(inference.rows, graph.model, "/inputs")
    if LABEL in inference.feeds:
        _check_labels(inference.feeds[LABEL], len(graph.model.manifest.classes))
    if graph.signature.role == "image_to_evidence":
        service.limits.check_samples(inference.feeds["noise"].shape[1], inference.rows)


def _check_labels(labels: NDArray[np.int64], classes: int) -> None:
    """A graph may read whatever lies beside its classes: raise InvalidInput where a label is none of them."""
    if bad := [int(label) for label in labels if not 0 <= label < classes]:
        raise wrong_field("/inputs", f"{LABEL}: a class is from 0 to {classes - 1}, not {shorten(bad[0])}")


async def _answer(body: bytes, json_length: int | None, accept_encoding: str) -> Response:
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    media_type = "application/json"
    if json_length is not None:
        headers[HEADER], media_type = str(json_length), "application/octet-stream"
    if coding := asked_for(accept_encoding):
        body = await off_loop(partial(compress, body, coding), len(body))
        headers["Content-Encoding"] = coding
    return Response(body, media_type=media_type, headers=headers)


for _version in ("", "/versions/{version}"):
    for _suffix, _route, _documented in (
        ("", model_metadata, openapi.MODEL_METADATA),
        ("/ready", model_ready, openapi.MODEL_READY),
        ("/config", model_configuration, openapi.MODEL_CONFIGURATION),
        ("/stats", model_statistics, openapi.MODEL_STATISTICS),
        ("/infer", infer, openapi.INFER),
    ):
        router.add_api_route(
            f"/v2/models/{{model}}{_version}{_suffix}",
            _route,
            methods=["POST" if _route is infer else "GET"],
            **openapi.by_version(_documented, pinned=bool(_version)),
        )
