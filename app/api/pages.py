"""The pages for people: the front page and the documentation. They load nothing from elsewhere."""

from __future__ import annotations

import html
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.api.openapi import document
from app.api.service import ServiceOf
from app.errors import NotFound, shorten
from app.runtime.repository import Entry

router = APIRouter(include_in_schema=False)

OWN_FILES = Path(__file__).parent / "static"

_OWN_PICTURES = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; frame-ancestors 'none'"
}
_SWAGGER = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
}
"""Swagger UI sets style attributes and draws its icons from data: addresses."""

_FRONT_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>LatentServe</title><link rel="stylesheet" href="static/landing.css">
</head>
<body><main>
<h1>LatentServe</h1>
<p>Sample, encode, decode, walk through and score the latent spaces of image models over HTTP.</p>
<nav><a href="docs">API documentation</a><a href="v1/models">Models as JSON</a><a href="readyz">Health</a></nav>
{models}
</main></body>
</html>
"""

_DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>LatentServe API</title><link rel="stylesheet" href="static/swagger-ui.css">
</head>
<body><div id="swagger-ui"></div>
<script src="static/swagger-ui-bundle.js"></script><script src="static/docs.js"></script></body>
</html>
"""


def _swagger_files() -> Path:
    """Where Swagger UI's files lie; found without importing the package, of which nothing else is used."""
    found = importlib.util.find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise RuntimeError("fastapi-offline, which brings Swagger UI's files, is not installed")
    return Path(found.origin).parent / "static"


def static_files() -> Mapping[str, tuple[bytes, str]]:
    """Every file that the pages load, by name, with its media type."""
    swagger = _swagger_files()
    return {
        "landing.css": ((OWN_FILES / "landing.css").read_bytes(), "text/css"),
        "docs.js": ((OWN_FILES / "docs.js").read_bytes(), "text/javascript"),
        "swagger-ui.css": ((swagger / "swagger-ui.css").read_bytes(), "text/css"),
        "swagger-ui-bundle.js": ((swagger / "swagger-ui-bundle.js").read_bytes(), "text/javascript"),
    }


@router.get("/")
async def front_page(service: ServiceOf) -> HTMLResponse:
    """What is served here, with samples."""
    items = "".join(_item(entry) for entry in service.repository.entries())
    models = f'<ul class="models">{items}</ul>' if items else "<p>No model is published yet.</p>"
    return HTMLResponse(_FRONT_PAGE.format(models=models), headers=_OWN_PICTURES)


def _item(entry: Entry) -> str:
    name, ref = html.escape(entry.name), f"{entry.name}@{entry.version}"
    if entry.model is None or entry.manifest is None:
        return f"<li><div><h2>{name}</h2><p>{html.escape(entry.reason or '')}</p></div></li>"
    title, text = html.escape(entry.manifest.title), html.escape(entry.manifest.summary)
    link = f'<a href="v1/models/{ref}">{name}</a>'
    picture = f"v1/models/{ref}/sample.png?seed=7&amp;count=16"
    image = f'<img src="{picture}" alt="Sixteen samples of {title}">' if "sample" in entry.model.capabilities else ""
    return (
        f"<li>{image}<div><h2>{title}</h2><p>{link} · {', '.join(entry.model.capabilities)}</p><p>{text}</p></div></li>"
    )


@router.get("/docs")
async def docs_page() -> HTMLResponse:
    """Swagger UI."""
    return HTMLResponse(_DOCS_PAGE, headers=_SWAGGER)


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    """The document that clients are made from."""
    return JSONResponse(document(request.app))


@router.get("/static/{name}")
async def static_file(name: str, request: Request) -> Response:
    """One file of the pages."""
    files: Mapping[str, tuple[bytes, str]] = request.app.state.static_files
    if name not in files:
        raise NotFound(f"there is no file {shorten(name)}")
    data, media_type = files[name]
    return Response(data, media_type=media_type, headers={"Cache-Control": "public, max-age=3600"})
