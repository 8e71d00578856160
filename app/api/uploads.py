"""Pictures in: a raw file, a multipart form, JSON with base64, or an array; out come the model's (N, H, W, C) bytes."""

from __future__ import annotations

import base64
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from fastapi import Request
from numpy.typing import NDArray
from pydantic import Field, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.api.arrays import read_npy
from app.api.payloads import JSON, Base64Image, Body, Labels, Options, media_type_of_body, read_json
from app.api.problems import invalid_fields
from app.api.service import Limits
from app.errors import (
    EmptyImage,
    FieldError,
    ImageTooLarge,
    InvalidInput,
    RequestError,
    UnsupportedImage,
    UnsupportedMediaType,
    shorten,
)
from app.images.headers import media_type_of
from app.images.png import encode_png
from app.manifest import ImageSpace
from app.runtime.model import GenerativeModel
from app.runtime.threads import in_thread

PICTURE_TYPES = ("image/png", "image/jpeg", "image/webp")
MULTIPART = "multipart/form-data"
NPY = "application/x-npy"
UPLOAD_TYPES = (*PICTURE_TYPES, MULTIPART, JSON, NPY)

MAX_FORM_FIELDS = 16
"""Text parts of a form; the options are fewer."""

_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,", re.IGNORECASE)


class PicturesRequest(Body):
    """Pictures as base64."""

    images: list[Base64Image] = Field(min_length=1)
    label: Labels | None = Field(None, description="Conditional models need it.")


@dataclass(frozen=True, slots=True)
class Upload:
    """Pictures as they came, and the options that came with them in the body."""

    files: Sequence[bytes] = ()
    array: NDArray[np.uint8] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.files) if self.array is None else len(self.array)


OptionsT = TypeVar("OptionsT", bound=Options)
T = TypeVar("T")


class _InMemoryParser(MultiPartParser):
    """Never spools to disk: the body is in memory already, and there may be no disk to write to."""

    spool_max_size = sys.maxsize


async def read_pictures(
    request: Request, model: GenerativeModel, limits: Limits, kind: type[PicturesRequest] = PicturesRequest
) -> tuple[NDArray[np.uint8], Mapping[str, Any]]:
    """The pictures of a request as (N, H, W, C) in the model's size and channels, and the options from its body.

    Raises:
        UnsupportedMediaType, UnsupportedImage, ImageTooLarge, CorruptImage, InvalidInput: with the index of the first
            bad picture; there is no partial answer.
    """
    upload = await _read_upload(request, kind)
    limits.check_images(len(upload), model, "/images")
    space = model.manifest.image
    if upload.array is not None:
        return await in_thread(fit_array, upload.array, space, limits.image_pixels), upload.fields
    return await in_thread(_decode_all, upload.files, space, limits.image_pixels), upload.fields


def merged(kind: type[OptionsT], address: OptionsT, fields: Mapping[str, Any]) -> OptionsT:
    """Options from the address and the body together, all but the label (`app.api.labels.given_labels`).

    Raises:
        InvalidInput: one is given in both places, or a form's text is no such option.
    """
    given = address.model_dump(exclude_unset=True, exclude={"label"})
    fields = {name: value for name, value in fields.items() if name != "label"}
    if both := sorted(given.keys() & fields.keys()):
        raise InvalidInput(f"{both[0]} is given both in the address and in the body")
    try:
        return kind.model_validate(given | fields)
    except ValidationError as error:
        raise invalid_fields(error.errors(include_url=False)) from None


async def _read_upload(request: Request, kind: type[PicturesRequest]) -> Upload:
    sent = media_type_of_body(request)
    if not await request.body():
        raise EmptyImage("the body is empty; send a picture")
    if sent == MULTIPART:
        return await read_form(request)
    if sent == JSON:
        body = await read_json(request, kind)
        files = await in_thread(_from_base64, body.images)
        return Upload(files, fields=body.model_dump(exclude={"images"}, exclude_unset=True))
    if sent == NPY:
        return Upload(array=read_npy(await request.body(), "uint8"))
    if sent in PICTURE_TYPES:
        return Upload([_of_type(await request.body(), sent)])
    raise UnsupportedMediaType(f"pictures are not read as {shorten(sent) or 'an unnamed type'}", accepted=UPLOAD_TYPES)


async def read_form(request: Request) -> Upload:
    """The files and texts of a multipart form; raises RequestError and what a single picture may be refused with."""
    try:
        form = await _InMemoryParser(request.headers, request.stream(), max_fields=MAX_FORM_FIELDS).parse()
    except MultiPartException as error:
        raise RequestError(f"the form cannot be read: {shorten(error)}") from None
    try:
        files = [await _part(part, index) for index, part in enumerate(_image_parts(form))]
        texts = {name: value for name, value in form.multi_items() if isinstance(value, str)}
    finally:
        await form.close()
    if not files:
        raise EmptyImage("the form has no part named image")
    return Upload(files, fields=texts)


def _image_parts(form: FormData) -> list[UploadFile]:
    for name, value in form.multi_items():
        if isinstance(value, UploadFile) and name != "image":
            raise InvalidInput(f"files come as parts named image, this one is named {shorten(name)}")
        if isinstance(value, str) and name == "image":
            raise InvalidInput("the part image must be a file: give it a filename")
    return [part for part in form.getlist("image") if isinstance(part, UploadFile)]


async def _part(part: UploadFile, index: int) -> bytes:
    claimed = (part.content_type or "").split(";")[0].strip().lower()
    data = await part.read()
    return at_index(index, partial(_of_type, data, claimed)) if claimed.startswith("image/") else data


def _from_base64(texts: Sequence[str]) -> list[bytes]:
    return [at_index(index, partial(from_base64, text, f"/images/{index}", index)) for index, text in enumerate(texts)]


def from_base64(text: str, pointer: str, index: int | None = None) -> bytes:
    """The bytes of a picture in base64 or in a `data:` URL; nothing is ever fetched.

    Raises:
        InvalidInput: it is not base64.
        UnsupportedImage: a `data:` URL of another type, or one whose type is not that of its bytes.
    """
    claimed = _DATA_URL.match(text)
    try:
        data = base64.b64decode(text[claimed.end() :] if claimed else text, validate=True)
    except ValueError:
        detail = "not base64 of a picture (addresses are not fetched)"
        raise InvalidInput(f"{pointer}: {detail}", errors=[FieldError(pointer, detail, index=index)]) from None
    return _of_type(data, claimed[1].lower()) if claimed else data


def _of_type(data: bytes, claimed: str) -> bytes:
    if not data:
        raise EmptyImage("the picture has no bytes")
    if claimed not in PICTURE_TYPES:
        raise UnsupportedImage(f"pictures are {', '.join(PICTURE_TYPES)}, not {shorten(claimed)}")
    if (found := media_type_of(data)) is not None and found != claimed:
        raise UnsupportedImage(f"the content is {found}, not {claimed} as it says")
    return data


def fit_array(array: NDArray[np.uint8], space: ImageSpace, max_pixels: int) -> NDArray[np.uint8]:
    """uint8 (N, H, W, C) or (N, H, W), grey or colour, of any size, as the model's; raises InvalidInput, ImageTooLarge.

    Other sizes and channels go the way of any picture, as a lossless file, so that they are fitted by the same rule.
    """
    images = array[..., None] if array.ndim == 3 else array
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise InvalidInput(f"the array must be uint8 (N, H, W) or (N, H, W, 1 or 3), got {shorten(array.shape)}")
    if images.shape[1:] == (space.height, space.width, space.channels):
        return images
    if images.shape[1] * images.shape[2] > max_pixels:
        raise ImageTooLarge(f"at most {max_pixels} pixels a picture are read, this is {shorten(array.shape)}")
    return np.stack([decode_picture(encode_png(image), space, max_pixels) for image in images])


def _decode_all(files: Sequence[bytes], space: ImageSpace, max_pixels: int) -> NDArray[np.uint8]:
    decode = partial(decode_picture, space=space, max_pixels=max_pixels)
    return np.stack([at_index(index, partial(decode, data)) for index, data in enumerate(files)])


def decode_picture(data: bytes, space: ImageSpace, max_pixels: int) -> NDArray[np.uint8]:
    """One file as (H, W, C); raises EmptyImage and what `read_picture` raises."""
    from app.images.raster import read_picture  # noqa: PLC0415  it imports Pillow, which no start waits for

    if not data:
        raise EmptyImage("the picture has no bytes")
    return read_picture(data, space, max_pixels=max_pixels)


def at_index(index: int, work: Callable[[], T]) -> T:
    """`work()`, whose refusal names the picture that it is about."""
    try:
        return work()
    except RequestError as error:
        if not error.errors:
            error.errors = (FieldError(f"/images/{index}", error.detail, index=index),)
        raise
