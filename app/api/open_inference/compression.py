"""Compressed bodies, both ways: gzip (RFC 1952) and deflate in its zlib wrapper (RFC 1950). Pure."""

from __future__ import annotations

import zlib
from typing import Literal

from app.errors import FieldError, PayloadTooLarge, RequestError, UnsupportedMediaType, shorten

Coding = Literal["gzip", "deflate"]

_WINDOW: dict[Coding, int] = {"gzip": 31, "deflate": 15}
"""zlib's `wbits`: a window of 32 KiB, plus 16 for gzip's header."""

_FASTEST = 1
"""Floats of images shrink little at any level."""


def decompress(body: bytes, coding: str, limit: int) -> bytes:
    """`body` as it was before its `Content-Encoding`; memory grows to `limit` bytes and no further.

    Raises:
        UnsupportedMediaType: another coding, or several.
        PayloadTooLarge: there would be more than `limit` bytes.
        RequestError: not such data, cut off, or followed by something else.
    """
    known = _coding(coding)
    if known is None:
        raise UnsupportedMediaType(f"bodies are read plain, as gzip or as deflate, not as {shorten(coding)}")
    stream = zlib.decompressobj(_WINDOW[known])
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error:
        raise RequestError(f"the body is no {known} data") from None
    if len(plain) > limit:
        detail = f"at most {limit} bytes are read once decompressed"
        raise PayloadTooLarge(detail, errors=[FieldError("", detail, limit=limit)])
    if not stream.eof or stream.unused_data:
        raise RequestError(f"the body is not one whole {known} stream")
    return plain


def compress(body: bytes, coding: Coding) -> bytes:
    """`body` in `coding`, fast rather than small; the same input, the same bytes."""
    stream = zlib.compressobj(_FASTEST, wbits=_WINDOW[coding])
    return stream.compress(body) + stream.flush()


def asked_for(accept_encoding: str) -> Coding | None:
    """The coding of an `Accept-Encoding` that names exactly one.

    Longer lists are what HTTP libraries send by themselves: there nobody asked, and plain floats are faster.
    """
    return _coding(accept_encoding)


def _coding(text: str) -> Coding | None:
    match text.strip().lower():
        case "gzip" | "x-gzip":
            return "gzip"
        case "deflate":
            return "deflate"
        case _:
            return None
