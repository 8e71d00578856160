"""Picture files to and from arrays: PNG, JPEG and WebP in; PNG, WebP, GIF and APNG out. The only import of Pillow.

How a picture becomes a model's input, in this order: the first frame; EXIF orientation applied; 16 bits cut to their
high byte; transparency laid on the background; colour profiles ignored; converted to grey (ITU-R 601 luma) or RGB;
scaled by Lanczos with antialiasing to fit inside the model's size, its aspect kept; centred on the background.
Training reads its folders through the same function, so a model meets in service what it met in training.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from app.errors import CorruptImage, ImageTooLarge, InvalidInput, UnsupportedImage
from app.images.headers import declared_size, media_type_of
from app.manifest import ImageSpace

Bytes = npt.NDArray[np.uint8]
AnimationKind = Literal["gif", "webp", "apng"]

# The library's own guard warns, and counts against one limit for the process; every read here has a limit of its own.
Image.MAX_IMAGE_PIXELS = None

# What Pillow's decoders are known to raise on damaged files; they share no base.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    struct.error,
    zlib.error,
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation but 1, which is upright."""


def read_picture(data: bytes, space: ImageSpace, *, max_pixels: int) -> Bytes:
    """A PNG, JPEG or WebP file as the model sees it: uint8 (H,W,C) of `space`, by the rule at the top of this module.

    Raises InvalidInput when there are no bytes, UnsupportedImage for other formats, ImageTooLarge when the header
    declares more than `max_pixels` (nothing is decoded then), CorruptImage when the data does not decode.
    """
    if not data:
        raise InvalidInput("the picture is empty: there are no bytes")
    media_type = media_type_of(data)
    if media_type is None:
        raise UnsupportedImage("the bytes are not a PNG, JPEG or WebP picture")
    if (size := declared_size(data, media_type)) is None:
        raise CorruptImage("the picture's header is damaged or incomplete")
    _check_pixels(size, max_pixels)
    try:
        picture = Image.open(io.BytesIO(data), formats=[media_type.removeprefix("image/").upper()])
        _check_pixels(picture.size, max_pixels)  # the decoder may have found another header than we did
        picture.load()
        return _fit(_flatten(_upright(picture), space), space)
    except _DECODER_ERRORS as error:
        raise CorruptImage("the picture's data is damaged or incomplete") from error


def encode_webp(picture: Bytes) -> bytes:
    """A picture (H,W,C) as lossless WebP."""
    buffer = io.BytesIO()
    _image(picture).save(buffer, format="WEBP", lossless=True)
    return buffer.getvalue()


def encode_animation(frames: Bytes, kind: AnimationKind, *, frame_ms: int = 80) -> bytes:
    """Frames (F,H,W,C) as an animation that repeats for ever.

    Lossless, save that colours in GIF are reduced to 256 a frame. Neighbouring equal frames are stored as one that is
    shown longer. GIF holds times in hundredths of a second: `frame_ms` is a multiple of 10 there, or is rounded down.
    """
    first, *rest = [_image(frame) for frame in frames]
    buffer = io.BytesIO()
    first.save(
        buffer,
        format={"gif": "GIF", "webp": "WEBP", "apng": "PNG"}[kind],
        save_all=True,
        append_images=rest,
        duration=frame_ms,
        loop=0,
        lossless=True,  # WebP's alone; the others are lossless or ignore it
    )
    return buffer.getvalue()


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageTooLarge(f"the picture has {width} × {height} pixels; at most {max_pixels} pixels are decoded")


def _upright(picture: Image.Image) -> Image.Image:
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except _DECODER_ERRORS:  # a damaged EXIF block says nothing about the pixels
        orientation = None
    undo = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return picture if undo is None else picture.transpose(undo)


def _flatten(picture: Image.Image, space: ImageSpace) -> Image.Image:
    """Without transparency, 8 bits, in the model's channels."""
    if picture.mode.startswith("I"):  # 16-bit grey
        picture = Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))
    if picture.has_transparency_data:
        coloured = picture.convert("RGBA")
        ground = Image.new("RGBA", coloured.size, (*space.background, 255))
        picture = Image.alpha_composite(ground, coloured)
    return picture.convert("RGB").convert(_mode(space))


def _fit(picture: Image.Image, space: ImageSpace) -> Bytes:
    """Scaled to fit inside the model's size with its aspect kept (at least one pixel), centred on the background."""
    scale = min(space.width / picture.width, space.height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    scaled = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)
    if size != (space.width, space.height):
        ground = Image.new("RGB", (space.width, space.height), space.background).convert(_mode(space))
        ground.paste(scaled, ((space.width - size[0]) // 2, (space.height - size[1]) // 2))
        scaled = ground
    return np.array(scaled, np.uint8).reshape(space.height, space.width, space.channels)


def _mode(space: ImageSpace) -> Literal["L", "RGB"]:
    return "L" if space.channels == 1 else "RGB"


def _image(picture: Bytes) -> Image.Image:
    return Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
