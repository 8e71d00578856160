"""What a picture file says it is: its type and how many pixels, read from its first bytes before any decoder runs."""

from __future__ import annotations

import struct

Size = tuple[int, int]
"""Width and height in pixels."""

_JPEG_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""Start-of-frame markers: C0 … CF but Huffman tables, the reserved JPG, and arithmetic conditioning."""
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length behind them: TEM, the restarts, start of image."""


def media_type_of(data: bytes) -> str | None:
    """The media type that a file's signature shows, of the three that are read here; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def declared_size(data: bytes, media_type: str) -> Size | None:
    """Width and height as the header of a PNG, JPEG or WebP file states them; None when it states no such thing."""
    try:
        match media_type:
            case "image/png":
                return _png(data)
            case "image/jpeg":
                return _jpeg(data)
            case "image/webp":
                return _webp(data)
    except (struct.error, IndexError):
        return None
    return None


def _png(data: bytes) -> Size | None:
    """The IHDR chunk comes first (PNG specification, 11.2.1)."""
    return _some(*struct.unpack_from(">II", data, 16)) if data[12:16] == b"IHDR" else None


def _jpeg(data: bytes) -> Size | None:
    """Walk the marker segments to the first start of frame (ITU-T T.81, B.1.1 and B.2.2)."""
    position = 2
    while True:
        while data[position] != 0xFF:
            position += 1
        while data[position] == 0xFF:
            position += 1
        marker = data[position]
        position += 1
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            return _some(width, height)
        if marker not in _JPEG_BARE:
            position += struct.unpack_from(">H", data, position)[0]


def _webp(data: bytes) -> Size | None:
    """The first chunk tells: extended, lossless or lossy (RFC 9649, 2.5 – 2.7)."""
    match data[12:16]:
        case b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        case b"VP8L":
            (bits,) = struct.unpack_from("<I", data, 21)
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return _some(width & 0x3FFF, height & 0x3FFF)
    return None


def _some(width: int, height: int) -> Size | None:
    return (width, height) if width and height else None
