"""The wire types that routes share: strict JSON, seeds, numbers, Points, and the options of an address.

JSON is read strictly: no "3" for 3, no true for 1, no 1.0 for an integer, no repeated key, no unknown field.
"""

import json
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import Request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from app.api.problems import invalid_fields
from app.errors import InvalidInput, MalformedJson, UnsupportedMediaType, shorten
from app.latent.noise import MAX_SEED
from app.runtime.answers import EncodingMethod
from app.runtime.threads import in_thread

JSON = "application/json"

MAX_COORDINATE = 1e3
"""|z| beyond this is far outside any latent space that was trained; the cap keeps every image finite."""

MAX_MEAN_POINTS = 64
MAX_LABELS = 65536
LARGE_BODY_BYTES = 2**16
"""Above it, JSON is parsed in a thread."""


class AnswerPart(BaseModel):
    """An answer or a part of one, as the documentation describes it: built when somebody asks for that."""

    model_config = ConfigDict(defer_build=True)


class Body(BaseModel):
    """A JSON body or a part of one."""

    # Built when first used: building them all would be a tenth of every start.
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Options(BaseModel):
    """What may be said in the address (`?seed=7`), where everything is text."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class PictureOptions(Options):
    """How pictures travel."""

    format: str | None = Field(None, description="json, png, webp, npy, raw; for walks also gif, apng. Beats `Accept`.")
    columns: int | None = Field(None, ge=1, le=256, description="Columns of a contact sheet; about square when absent.")


ENCODING_METHODS = (
    "encoder: what the model's own encoder says, and what null means where there is one. optimize: a search for the "
    "latent whose image is nearest, by the generator's gradient."
)
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Coordinate = Annotated[float, Field(ge=-MAX_COORDINATE, le=MAX_COORDINATE)]
Base64Image = Annotated[str, Field(description="A PNG, JPEG or WebP file as base64; a `data:` URL is accepted.")]


def _label(value: object) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("label", "A label is the name of a class or its index")
    return value


def _labels(value: object) -> int | str | list[int | str]:
    if not isinstance(value, list):
        return _label(value)
    if not 0 < len(value) <= MAX_LABELS:
        raise PydanticCustomError("label", "Labels are one, or one for each image")
    return [_label(part) for part in value]


_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}
Label = Annotated[
    int | str, PlainValidator(_label), WithJsonSchema(_SCHEMA | {"description": "A class, by name or by index."})
]
Labels = Annotated[
    int | str | list[int | str],
    PlainValidator(_labels),
    WithJsonSchema(
        {
            "anyOf": [*_SCHEMA["anyOf"], {"type": "array", "items": _SCHEMA, "minItems": 1}],
            "description": "A class, by name or by index; or a list with one for each image.",
        }
    ),
]
"""What a request may say: one, or one for each image."""


class LabelOptions(Options):
    """A label in an address."""

    label: str | None = Field(
        None,
        description="A class, by name or by index, or one for each image, separated by commas. "
        "Conditional models need it; the others take none.",
    )


class EncodedPoint(AnswerPart):
    """How the picture of a Point became a latent, and the error of the image there: of GANs, or found by a search."""

    pointer: str
    method: EncodingMethod
    mse: float | None = Field(description="Of the pixels in [0, 1].")


class EncodedPoints(AnswerPart):
    """What an answer says of the pictures among the Points it was made from."""

    encoded: list[EncodedPoint] | None = Field(None, description="Stated where a Point is a picture.")


class LabelledImage(AnswerPart):
    """An image, and the class that it was made as or read as."""

    label: int | None = Field(None, description="On conditional models: the index of its class among their `classes`.")


class LatentPoint(Body):
    """A place by its coordinates."""

    latent: list[Coordinate] = Field(min_length=1)


class SeedPoint(Body):
    """The latent that sampling with `seed` gives at `index`."""

    seed: Seed
    index: int = Field(0, ge=0, lt=2**31)


class ImagePoint(Body):
    """Where the model's encoder puts a picture, or a search finds it."""

    image: Base64Image
    label: Label | None = Field(None, description="What it is a picture of, where not of the request's label.")
    method: EncodingMethod | None = Field(None, description=ENCODING_METHODS)


class MeanPoint(Body):
    """The average of several places."""

    mean: list["Point"] = Field(min_length=1, max_length=MAX_MEAN_POINTS)


class DirectionPoint(Body):
    """A displacement that has a name."""

    direction: str = Field(max_length=64, description="One of the model's `directions`: one step along it.")


def _kind_of(value: Any) -> str | None:  # noqa: ANN401  anything that JSON can hold
    names = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return next((f"<{kind}>" for kind in ("latent", "seed", "image", "mean") if kind in names), None)


def _kind_of_term(value: Any) -> str | None:  # noqa: ANN401  anything that JSON can hold
    names = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    return _kind_of(value) or ("<direction>" if "direction" in names else None)


def _no_displacement(value: Any) -> Any:  # noqa: ANN401  anything that JSON can hold
    """`value`, unless it is a direction: a name for something else is better called that than unknown."""
    if _kind_of_term(value) == "<direction>":
        detail = "A direction is a displacement and no Point: it is for terms of arithmetic and dimensions of traverse"
        raise PydanticCustomError("point_kind", detail)
    return value


def _kind_of_axis(value: Any) -> str:  # noqa: ANN401  anything that JSON can hold
    return "<direction>" if isinstance(value, dict | DirectionPoint) else "<dimension>"


Point = Annotated[
    Annotated[LatentPoint, Tag("<latent>")]
    | Annotated[SeedPoint, Tag("<seed>")]
    | Annotated[ImagePoint, Tag("<image>")]
    | Annotated[MeanPoint, Tag("<mean>")],
    Discriminator(
        _kind_of,
        custom_error_type="point_kind",
        custom_error_message="A Point is an object with exactly one of latent, seed, image, mean",
    ),
    BeforeValidator(_no_displacement),
]
Displacement = Annotated[
    Annotated[LatentPoint, Tag("<latent>")]
    | Annotated[SeedPoint, Tag("<seed>")]
    | Annotated[ImagePoint, Tag("<image>")]
    | Annotated[MeanPoint, Tag("<mean>")]
    | Annotated[DirectionPoint, Tag("<direction>")],
    Discriminator(
        _kind_of_term,
        custom_error_type="point_kind",
        custom_error_message="A term is an object with exactly one of latent, seed, image, mean, direction",
    ),
]
"""A Point, or a direction that leads from one to another."""
Axis = Annotated[
    Annotated[Annotated[int, Field(ge=0)], Tag("<dimension>")] | Annotated[DirectionPoint, Tag("<direction>")],
    Discriminator(_kind_of_axis),
]
"""What can be varied: one of a latent's numbers, or how far it lies along a direction."""

B = TypeVar("B", bound=BaseModel)


def json_body(kind: type[B]) -> Callable[[Request], Awaitable[B]]:
    """A dependency: the request's JSON body as a `kind`."""

    async def read(request: Request) -> B:
        return await read_json(request, kind)

    return read


async def read_json(request: Request, kind: type[B]) -> B:
    """The request's JSON body as a `kind`.

    Raises:
        UnsupportedMediaType: the body says that it is something else.
        MalformedJson: it is not JSON, too deep, or repeats a key.
        InvalidInput: it is empty, or its values are not accepted.
    """
    body = await request.body()
    if not body:
        raise InvalidInput("the body is empty; send a JSON object")
    if (sent := media_type_of_body(request)) != JSON:
        raise UnsupportedMediaType(f"send {JSON}, not {shorten(sent) or 'an unnamed type'}", accepted=[JSON])
    if len(body) > LARGE_BODY_BYTES:
        return await in_thread(parse_json, body, kind)
    return parse_json(body, kind)


def media_type_of_body(request: Request) -> str:
    """`Content-Type` without its parameters, in lower case; empty when absent."""
    sent = request.headers.get("content-type", "")
    return sent if sent == JSON else sent.split(";")[0].strip().lower()


def parse_json(body: bytes, kind: type[B]) -> B:
    """Bytes to a `kind`, strictly; raises MalformedJson or InvalidInput."""
    try:
        found = kind.model_validate_json(body)
    except ValidationError:
        return _parse_slowly(body, kind)  # which knows what is wrong
    return found if _is_flat(body, found) else _parse_slowly(body, kind)


def _is_flat(body: bytes, found: BaseModel) -> bool:
    """One object, whose only strings are its keys, each there once: a repeated key would add two quotation marks."""
    return body.count(b"{") == 1 and body.count(b'"') == 2 * len(found.model_fields_set)


def _parse_slowly(body: bytes, kind: type[B]) -> B:
    try:
        content = json.loads(body.decode("utf-8"), object_pairs_hook=_no_repeated_keys)
    except RecursionError:
        raise MalformedJson("the body is nested too deeply") from None
    except ValueError as error:  # not UTF-8, not JSON, or an integer of thousands of digits
        raise MalformedJson(f"the body is not JSON: {shorten(error)}") from None
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False)) from None


def _no_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise MalformedJson(f"the key {shorten(key)} appears twice in one object")
        found[key] = value
    return found
