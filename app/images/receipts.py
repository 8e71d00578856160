"""Receipts in PNG files: the text that says what made a picture, in an iTXt chunk of its own."""

from __future__ import annotations

import struct

RECEIPT_KEYWORD = "latentserve"
"""The chunk's keyword."""

_PLAIN = b"\x00\x00\x00\x00"
"""What stands between keyword and text: no compression, no language, no translated keyword."""


def receipt_chunk(receipt: str) -> bytes:
    """The content of the iTXt chunk that holds a receipt."""
    return RECEIPT_KEYWORD.encode() + b"\x00" + _PLAIN + receipt.encode()


def read_receipt(png: bytes) -> str | None:
    """The receipt in a PNG file; None where there is none, or where it is not stored as `encode_png` stores it.

    Chunks are walked without decoding any (PNG specification, 5.3 and 11.3.3.4). Compressed text is never one of ours.
    """
    start = RECEIPT_KEYWORD.encode() + b"\x00" + _PLAIN
    position = 8
    while position + 12 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, position)
        content = position + 8
        if kind == b"iTXt" and png.startswith(start, content) and content + length <= len(png):
            try:
                return png[content + len(start) : content + length].decode("utf-8")
            except UnicodeDecodeError:
                return None
        position = content + length + 4
    return None
