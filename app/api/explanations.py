"""The addresses that problems name as their type: `/problems/<slug>` answers for every error of the tree."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from app.api.declared import Router
from app.api.openapi import refusals
from app.api.problems import problem_kinds
from app.errors import NotFound, shorten

router = Router(tags=["problems"])


def _catalogue() -> Iterator[dict[str, Any]]:
    for code, kind in sorted(problem_kinds().items()):
        yield {
            "type": f"/problems/{code}",
            "code": code,
            "status": kind.status,
            "title": kind.title,
            "explanation": " ".join((kind.__doc__ or "").split()),
        }


@router.get("/problems", summary="Every problem that an answer may name", operation_id="list_problems")
async def list_problems() -> JSONResponse:
    """The whole table."""
    return JSONResponse({"problems": list(_catalogue())})


@router.get(
    "/problems/{code}",
    summary="What one problem means",
    operation_id="explain_problem",
    responses=refusals(NotFound),
)
async def explain_problem(code: str, request: Request) -> Response:
    """One row, as JSON, or as a page for a browser."""
    for row in _catalogue():
        if row["code"] == code:
            if "text/html" in request.headers.get("accept", ""):
                return HTMLResponse(_page(row))
            return JSONResponse(row)
    raise NotFound(f"there is no problem {shorten(code)}; /problems lists all")


def _page(row: Mapping[str, Any]) -> str:
    code, title, text = (html.escape(str(row[name])) for name in ("code", "title", "explanation"))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<link rel="stylesheet" href="/static/text.css"><main><p><a href="/">LatentServe</a></p>'
        f"<h1>{title}</h1><p><code>{code}</code> · HTTP {row['status']}</p><p>{text}</p></main></html>"
    )
