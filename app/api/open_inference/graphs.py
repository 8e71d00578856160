"""Which graph an address means."""

from typing import Annotated

from fastapi import Depends, Path, Request

from app.api.open_inference.documents import ServedGraph, served_name
from app.api.service import ServiceOf
from app.errors import ModelNotFound, shorten
from app.runtime.repository import ModelRepository

GraphName = Annotated[str, Path(description="`<model>.<role>`", examples=["tiny_vae.latent_to_image"])]


async def served_graph(model: GraphName, request: Request, service: ServiceOf) -> ServedGraph:
    """The graph that an address names, in the version that it names or else the newest that is served.

    Raises:
        ModelNotFound, ModelUnavailable: there is none, or its model is not served now.
    """
    return find_graph(service.repository, model, request.path_params.get("version"))


def find_graph(repository: ModelRepository, wanted: str, version: str | None) -> ServedGraph:
    """`served_graph` without the request."""
    name, _, role = wanted.partition(".")
    found = repository.get(name if version is None else f"{name}@{version}")
    if role not in found.manifest.roles:
        graphs = ", ".join(served_name(name, graph.role) for graph in found.manifest.graphs)
        raise ModelNotFound(f"there is no graph {shorten(wanted)}; {found.ref} is served as {graphs}")
    return ServedGraph(found, next(graph for graph in found.manifest.graphs if graph.role == role))


Graph = Annotated[ServedGraph, Depends(served_graph)]
