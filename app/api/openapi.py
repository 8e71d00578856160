"""The OpenAPI document: what every operation reads, answers and refuses, so that a client can be made from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from app.api.declared import Application, Later
from app.api.negotiation import MEDIA_TYPES, Format
from app.api.problems import PROBLEM_MEDIA_TYPE, Problem
from app.errors import (
    BodyStalled,
    CapabilityNotOffered,
    CorruptImage,
    DeadlineExceeded,
    EmptyImage,
    ImageTooLarge,
    InvalidInput,
    LatentServeError,
    MalformedJson,
    ModelNotFound,
    ModelOutputInvalid,
    ModelUnavailable,
    NotAcceptable,
    Overloaded,
    PayloadTooLarge,
    ShuttingDown,
    Unauthorized,
    UnsupportedImage,
    UnsupportedMediaType,
)

Kind = type[LatentServeError]

LOOKING: tuple[Kind, ...] = (Unauthorized, ModelNotFound, NotAcceptable, InvalidInput, ModelUnavailable)
"""What any call that names a model may be refused with."""
RUNNING: tuple[Kind, ...] = (
    *LOOKING, CapabilityNotOffered, Overloaded, ShuttingDown, DeadlineExceeded, ModelOutputInvalid,
)  # fmt: skip
READING: tuple[Kind, ...] = (*RUNNING, MalformedJson, BodyStalled, PayloadTooLarge, UnsupportedMediaType)
SEEING: tuple[Kind, ...] = (*READING, EmptyImage, CorruptImage, ImageTooLarge, UnsupportedImage)

BINARY = {"type": "string", "format": "binary"}
REFERENCE = "#/components/schemas/{model}"

TINY_PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAR0lEQVR4nGNkYefmZPj+9ScLu4icJMPzR29YuOWsDRguMHxn4ZQ0"
    "cGJguPeIiQEKWL4/v8DAcOH5d5avjxjuMTx/9JURph0ABhYYpktMn5AAAAAASUVORK5CYII="
)
"""A soft spot on 8×8 grey pixels, for examples."""

Examples = Mapping[str, Mapping[str, Any]]
Headers = Mapping[str, Mapping[str, Any]]
"""What an answer says beside its body: the description and schema of each name."""


def reads(
    body: type[BaseModel], examples: Examples, others: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """`openapi_extra` of an operation that reads `body` as JSON, and the media types in `others`."""
    named = {name: {"summary": name, "value": value} for name, value in examples.items()}
    content = {
        "application/json": {
            "schema": Later(partial(body.model_json_schema, ref_template=REFERENCE)),
            "examples": named,
        }
    }
    return {"requestBody": {"required": True, "content": content | dict(others or {})}}


def pictures_in(options: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """The media types, beside JSON, that pictures arrive in."""
    form = Later(partial(_form, options))
    files = {f"image/{kind}": {"schema": BINARY} for kind in ("png", "jpeg", "webp")}
    return {**files, "multipart/form-data": {"schema": form}, "application/x-npy": {"schema": BINARY}}


def _form(options: type[BaseModel]) -> dict[str, Any]:
    fields = options.model_json_schema()["properties"] if options.model_fields else {}
    images = {"type": "array", "items": BINARY, "description": "One part named `image` for each picture."}
    return {"type": "object", "required": ["image"], "properties": {"image": images} | fields}


def answers(
    answer: type[BaseModel],
    *kinds: Kind,
    formats: Sequence[Format] = ("json",),
    description: str = "Done.",
    headers: Headers | None = None,
) -> dict[int | str, dict[str, Any]]:
    """`responses` of an operation: its answer in each format, and its problems with an example each."""
    content = {MEDIA_TYPES[name]: {"schema": BINARY} for name in formats if name != "json"}
    done = {"model": answer, "description": description, "content": content, **_stating(headers)}
    return {200: done, **refusals(*kinds)}


def binary_answer(
    media_type: str, *kinds: Kind, description: str, headers: Headers | None = None
) -> dict[int | str, dict[str, Any]]:
    """`responses` of an operation that answers one binary type."""
    done = {"description": description, "content": {media_type: {"schema": BINARY}}, **_stating(headers)}
    return {200: done, **refusals(*kinds)}


def _stating(headers: Headers | None) -> dict[str, Any]:
    return {"headers": dict(headers)} if headers else {}


def refusals(*kinds: Kind) -> dict[int | str, dict[str, Any]]:
    """Problem responses, by status."""
    grouped: dict[int, list[Kind]] = {}
    for kind in kinds:
        grouped.setdefault(kind.status, []).append(kind)
    return {status: _refusal(found) for status, found in sorted(grouped.items())}


def _refusal(kinds: Iterable[Kind]) -> dict[str, Any]:
    examples = {kind.code: {"summary": kind.title, "value": _example(kind)} for kind in kinds}
    schema = {"$ref": REFERENCE.format(model=Problem.__name__)}
    titles = "; ".join(kind.title for kind in kinds)
    return {"description": titles, "content": {PROBLEM_MEDIA_TYPE: {"schema": schema, "examples": examples}}}


def _example(kind: Kind) -> dict[str, Any]:
    example = {
        "type": f"/problems/{kind.code}",
        "title": kind.title,
        "status": kind.status,
        "detail": "What was wrong with this request, in a sentence.",
        "code": kind.code,
        "request_id": "5f0c1f0a9c7e4d0f8a3c",
    }
    return example | ({"capabilities": ["sample", "decode"]} if kind is CapabilityNotOffered else {})


def document(application: Application) -> dict[str, Any]:
    """The application's OpenAPI document, made once; schemas of bodies stand among the components."""
    if application.openapi_schema is None:
        application.complete()
        found = get_openapi(
            title=application.title,
            version=application.version,
            description=application.description,
            routes=application.routes,
            tags=application.openapi_tags,
        )
        schemas: dict[str, Any] = found.setdefault("components", {}).setdefault("schemas", {})
        schemas |= _hoisted(Problem.model_json_schema(ref_template=REFERENCE), Problem.__name__)
        for media in _json_bodies(found):
            schema = media["schema"]
            schemas |= _hoisted(schema, schema["title"])
            media["schema"] = {"$ref": REFERENCE.format(model=schema["title"])}
        _forget_framework_errors(found)
        found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{}, {"key": []}]
        application.openapi_schema = found
    return application.openapi_schema


def _forget_framework_errors(found: dict[str, Any]) -> None:
    """FastAPI declares its own form of 422 wherever an address has parameters; here all errors are problems."""
    for operations in found["paths"].values():
        for operation in operations.values():
            if "application/json" in operation["responses"].get("422", {}).get("content", {}):
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        found["components"]["schemas"].pop(name, None)


def _hoisted(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return {**schema.pop("$defs", {}), name: schema}


def _json_bodies(found: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for operations in found["paths"].values():
        for operation in operations.values():
            content = operation.get("requestBody", {}).get("content", {})
            if "title" in content.get("application/json", {}).get("schema", {}):
                yield content["application/json"]
