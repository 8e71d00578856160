"""`/v2`: the Open Inference Protocol over REST. Routes translate; what a body means is decided in `messages`.

Bodies are read as they are, whatever their Content-Type says: the protocol's own clients send none. Anything but a 200
is an error to them, so nothing here redirects.
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar, get_args

from fastapi import APIRouter, Depends, Header, Path, Request
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.responses import Response

from app.api.open_inference import documents, openapi
from app.api.open_inference.compression import asked_for, compress, decompress
from app.api.open_inference.documents import ServedGraph
from app.api.open_inference.envelope import IndexRequest, RepositoryRequest
from app.api.open_inference.messages import HEADER, Inference, parse, render
from app.api.payloads import LARGE_BODY_BYTES
from app.api.problems import invalid_fields
from app.api.service import Deadline, Service, ServiceOf
from app.errors import Forbidden, ModelNotFound, NotSupported, shorten
from app.manifest import GraphRole
from app.runtime.repository import ModelRepository

T = TypeVar("T")

router = APIRouter(tags=["open inference protocol"])

GraphName = Annotated[str, Path(description="`<model>.<role>`", examples=["tiny_vae.latent_to_image"])]


async def served_graph(model: GraphName, request: Request, service: ServiceOf) -> ServedGraph:
    """The graph that an address names, in the version that it names or else the newest that is served.

    Raises:
        ModelNotFound, ModelUnavailable: there is none, or its model is not served now.
    """
    return find_graph(service.repository, model, request.path_params.get("version"))


def find_graph(repository: ModelRepository, served_name: str, version: str | None) -> ServedGraph:
    """`served_graph` without the request."""
    name, _, role = served_name.partition(".")
    found = repository.get(name if version is None else f"{name}@{version}")
    if role not in found.manifest.roles:
        graphs = ", ".join(documents.served_name(name, graph.role) for graph in found.manifest.graphs)
        raise ModelNotFound(f"there is no graph {shorten(served_name)}; {found.ref} is served as {graphs}")
    return ServedGraph(found, next(graph for graph in found.manifest.graphs if graph.role == role))


async def administrator(request: Request, service: ServiceOf) -> None:
    """Raise Forbidden unless an administrator asks, NotSupported where only one of several processes would hear it."""
    if not getattr(request.state, "admin", False):
        raise Forbidden("models are loaded and unloaded with a key of the admin keys file")
    if not service.alone:
        raise NotSupported("with several workers, publish and remove versions in the models folder: all of them see it")


Graph = Annotated[ServedGraph, Depends(served_graph)]


@router.get("/v2/", include_in_schema=False)
@router.get("/v2", **openapi.SERVER_METADATA)
async def server_metadata(request: Request) -> Response:
    """The service's name and the protocol's extensions that it speaks."""
    return _json(documents.server_metadata(request.app.version))


@router.get("/v2/health/live", **openapi.LIVE)
async def server_live() -> Response:
    """Always 200 while the event loop turns."""
    return _json({"live": True})


@router.get("/v2/health/ready", **openapi.READY)
async def server_ready(service: ServiceOf) -> Response:
    """200 while a model is served and the service is not draining."""
    return _json({"ready": service.ready}, 200 if service.ready else 503)


@router.get("/v2/models/stats", **openapi.ALL_STATISTICS)
async def all_statistics(service: ServiceOf) -> Response:
    """Of every graph that is served now."""
    graphs = (
        ServedGraph(version.model, graph)
        for version in service.repository.published()
        if version.model is not None
        for graph in version.model.manifest.graphs
    )
    return _json(documents.statistics(graphs))


async def model_metadata(graph: Graph, service: ServiceOf) -> Response:
    """Inputs, outputs and versions of a graph."""
    versions = [
        version.version
        for version in service.repository.published()
        if version.model is not None and graph.name in documents.served_names(version)
    ]
    return _json(documents.model_metadata(graph, versions))


async def model_ready(graph: Graph) -> Response:
    """200 where the graph is served."""
    return _json({"name": graph.name, "ready": True})


async def model_configuration(graph: Graph, service: ServiceOf) -> Response:
    """A graph in the terms of Triton's model configuration; a request holds `max_batch_size` rows at most."""
    most = service.limits.most_images(graph.model.manifest.image)
    return _json(documents.model_configuration(graph, most))


async def model_statistics(graph: Graph) -> Response:
    """Of one version of a graph since it was loaded, in nanoseconds."""
    return _json(documents.statistics([graph]))


async def infer(
    request: Request,
    graph: Graph,
    service: ServiceOf,
    deadline: Deadline,
    inference_header_content_length: Annotated[str | None, Header(description=openapi.HEADER_LENGTH)] = None,
) -> Response:
    """One run of a graph on the rows of this request, stacked with those of others."""
    body = await _plain_body(request, service)
    read = partial(parse, body, inference_header_content_length, graph.signature)
    inference = await _off_loop(read, len(body))
    _check_limits(service, graph, inference)
    if inference.timeout_s is not None:
        deadline = min(deadline, time.monotonic() + inference.timeout_s)
    outputs = await graph.model.infer(graph.signature.role, inference.feeds, deadline=deadline)
    write = partial(render, inference, outputs, graph.signature, name=graph.name, version=graph.version)
    answer, json_length = await _off_loop(write, sum(array.nbytes for array in outputs.values()))
    return await _answer(answer, json_length, request.headers.get("accept-encoding", ""))


def _check_limits(service: Service, graph: ServedGraph, inference: Inference) -> None:
    service.limits.check_images(inference.rows, graph.model, "/inputs")
    if graph.signature.role == "image_to_evidence":
        service.limits.check_samples(inference.feeds["noise"].shape[1], inference.rows)


async def _answer(body: bytes, json_length: int | None, accept_encoding: str) -> Response:
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    media_type = "application/json"
    if json_length is not None:
        headers[HEADER], media_type = str(json_length), "application/octet-stream"
    if coding := asked_for(accept_encoding):
        body = await _off_loop(partial(compress, body, coding), len(body))
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


@router.post("/v2/repository/index", **openapi.INDEX)
async def repository_index(request: Request, service: ServiceOf) -> Response:
    """Every graph of every version, and whether it is served."""
    wish = _message(await _plain_body(request, service), IndexRequest)
    return _json(documents.repository_index(service.repository.published(), ready=wish.ready))


@router.post("/v2/repository/models/{model}/load", dependencies=[Depends(administrator)], **openapi.LOAD)
async def load(model: GraphName, request: Request, service: ServiceOf) -> Response:
    """Serve a model as it lies in the models folder; all its graphs, whichever of them is named."""
    wish = _message(await _plain_body(request, service), RepositoryRequest)
    if overrides := wish.parameters.overrides:
        raise NotSupported(f"models are loaded as they are published, never with a {shorten(overrides[0])} of the call")
    await service.repository.load(_model_name(service.repository, model))
    return _json({})


@router.post("/v2/repository/models/{model}/unload", dependencies=[Depends(administrator)], **openapi.UNLOAD)
async def unload(model: GraphName, request: Request, service: ServiceOf) -> Response:
    """Serve a model no longer; all its graphs, whichever is named. Answers when what they were asked is answered."""
    _message(await _plain_body(request, service), RepositoryRequest)
    await service.repository.unload(_model_name(service.repository, model))
    return _json({})


def _model_name(repository: ModelRepository, served_name: str) -> str:
    """The model that a graph's name or its own name means; ModelNotFound where it is known not to have the graph."""
    name, dot, role = served_name.partition(".")
    if not dot:
        return name
    versions = [version for version in repository.published() if version.name == name and version.manifest]
    has_it = any(served_name in documents.served_names(version) for version in versions)
    if role in get_args(GraphRole) and (has_it or not versions):
        return name
    raise ModelNotFound(f"there is no graph {shorten(served_name)}")


M = TypeVar("M", IndexRequest, RepositoryRequest)


def _message(body: bytes, kind: type[M]) -> M:
    """A body of JSON, or none at all, which means its defaults."""
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False)) from None


async def _plain_body(request: Request, service: Service) -> bytes:
    """The body without its `Content-Encoding`, under the same cap."""
    body, coding = await request.body(), request.headers.get("content-encoding", "identity")
    if coding.strip().lower() == "identity":
        return body
    return await _off_loop(partial(decompress, body, coding, service.limits.body_bytes), LARGE_BODY_BYTES)


async def _off_loop(work: Callable[[], T], size: int) -> T:
    """`work()`, in a thread where `size` bytes are so many that the event loop would stand still."""
    return work() if size < LARGE_BODY_BYTES else await asyncio.to_thread(work)


def _json(content: Any, status: int = 200) -> Response:  # noqa: ANN401  a document of any form
    return Response(to_json(content), status, media_type="application/json", headers={"Cache-Control": "no-store"})
