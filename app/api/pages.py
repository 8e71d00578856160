"""The pages for people: the explorer and the documentation. They load nothing from elsewhere."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from fastapi import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.api.declared import Router
from app.api.explorer import Explorer
from app.api.negotiation import with_etag
from app.api.openapi import document
from app.errors import NotFound, shorten

router = Router(include_in_schema=False)

_FOR_EVER = "public, max-age=31536000, immutable"

OWN_FILES = Path(__file__).parent / "static"

_EXPLORER_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",  # pictures come in answers, and are made in the page
        "connect-src 'self' data:",  # a picture that came in an answer is saved as a file
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_SWAGGER = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
}
"""Swagger UI sets style attributes and draws its icons from data: addresses."""

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
        "text.css": ((OWN_FILES / "text.css").read_bytes(), "text/css"),
        "docs.js": ((OWN_FILES / "docs.js").read_bytes(), "text/javascript"),
        "swagger-ui.css": ((swagger / "swagger-ui.css").read_bytes(), "text/css"),
        "swagger-ui-bundle.js": ((swagger / "swagger-ui-bundle.js").read_bytes(), "text/javascript"),
    }


@router.get("/")
async def front_page(request: Request) -> Response:
    """The explorer: a page where latent space can be walked."""
    explorer: Explorer = request.app.state.explorer
    headers = {"Content-Security-Policy": _EXPLORER_POLICY, "Cache-Control": "no-cache"}
    return with_etag(request, HTMLResponse(explorer.page, headers=headers))


@router.get("/explorer/{path:path}")
async def explorer_file(path: str, request: Request) -> Response:
    """One file of the explorer: kept for ever where its address holds the digest, else asked for again each time."""
    explorer: Explorer = request.app.state.explorer
    folder, _, name = path.rpartition("/")
    if name not in explorer.files or "/" in folder:
        raise NotFound(f"there is no file {shorten(path)}")
    content, media_type = explorer.files[name]
    caching = _FOR_EVER if folder == explorer.digest else "no-cache"
    headers = {"Cache-Control": caching}
    return with_etag(request, Response(content, media_type=media_type, headers=headers))


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
