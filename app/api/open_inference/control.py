"""The model repository on `/v2`: its index for every caller; loading and unloading for administrators."""

from typing import get_args

from fastapi import Depends, Request
from starlette.responses import Response

from app.api.declared import Router
from app.api.open_inference import documents, openapi
from app.api.open_inference.bodies import json_answer, plain_body, read_message
from app.api.open_inference.envelope import IndexRequest, RepositoryRequest
from app.api.open_inference.graphs import GraphName
from app.api.service import ServiceOf
from app.errors import Forbidden, ModelNotFound, NotSupported, shorten
from app.manifest import GraphRole
from app.runtime.repository import ModelRepository

router = Router(tags=["open inference protocol"])


async def administrator(request: Request, service: ServiceOf) -> None:
    """Raise Forbidden unless an administrator asks, NotSupported where only one of several processes would hear it."""
    if not getattr(request.state, "admin", False):
        raise Forbidden("models are loaded and unloaded with a key of the admin keys file")
    if not service.alone:
        raise NotSupported("with several workers, publish and remove versions in the models folder: all of them see it")


@router.post("/v2/repository/index", **openapi.INDEX)
async def repository_index(request: Request, service: ServiceOf) -> Response:
    """Every graph of every version, and whether it is served."""
    wish = read_message(await plain_body(request, service), IndexRequest)
    return json_answer(documents.repository_index(service.repository.published(), ready=wish.ready))


@router.post("/v2/repository/models/{model}/load", dependencies=[Depends(administrator)], **openapi.LOAD)
async def load(model: GraphName, request: Request, service: ServiceOf) -> Response:
    """Serve a model as it lies in the models folder; all its graphs, whichever of them is named."""
    wish = read_message(await plain_body(request, service), RepositoryRequest)
    if overrides := wish.parameters.overrides:
        raise NotSupported(f"models are loaded as they are published, never with a {shorten(overrides[0])} of the call")
    await service.repository.load(_model_name(service.repository, model))
    return json_answer({})


@router.post("/v2/repository/models/{model}/unload", dependencies=[Depends(administrator)], **openapi.UNLOAD)
async def unload(model: GraphName, request: Request, service: ServiceOf) -> Response:
    """Serve a model no longer; all its graphs, whichever is named. Answers when what they were asked is answered."""
    read_message(await plain_body(request, service), RepositoryRequest)
    await service.repository.unload(_model_name(service.repository, model))
    return json_answer({})


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
