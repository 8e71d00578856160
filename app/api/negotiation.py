"""The one place that turns arrays of pictures into what the caller accepts, and says how long everything took."""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from binascii import b2a_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotAcceptable
from app.images.pixels import contact_sheet, heat_map, sheet_columns
from app.images.png import encode_png
from app.runtime.answers import Timing
from app.runtime.model import GenerativeModel
from app.runtime.session import RUNTIME
from app.runtime.threads import in_thread
from app.tracing import record_stage

Format = Literal["json", "png", "webp", "npy", "raw", "gif", "apng"]

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "png": "image/png",
    "webp": "image/webp",
    "npy": "application/x-npy",
    "raw": "application/octet-stream",
    "gif": "image/gif",
    "apng": "image/apng",
}

STILLS: tuple[Format, ...] = ("json", "png", "webp", "npy", "raw")
WALKS: tuple[Format, ...] = (*STILLS, "gif", "apng")

SMALL_WORK = 2**15
"""Numbers to encode below which a hop to a thread costs more than the work itself."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  an HTTP token, not a secret
_RANGE = re.compile(rf"({_TOKEN})/({_TOKEN})((?:\s*;\s*{_TOKEN}=(?:{_TOKEN}|\"[^\"]*\"))*)")
_QUALITY = re.compile(r";\s*q=([01](?:\.\d{0,3})?)\s*(?:;|$)", re.IGNORECASE)


@lru_cache(maxsize=256)
def choose(accept: str | None, wanted: str | None, offered: tuple[Format, ...]) -> Format:
    """The format to answer in: `wanted` (`?format=`) where given, else the best of `accept` (RFC 9110 §12.5.1).

    Ties go to the earlier of `offered`. A malformed `Accept` counts as `*/*`.

    Raises:
        NotAcceptable: nothing that is offered is accepted; the message lists what is.
    """
    if wanted is not None:
        qualities = {name: float(name == wanted) for name in offered}
    else:
        ranges = _ranges(accept or "*/*")
        qualities = {name: _quality(MEDIA_TYPES[name], ranges) for name in offered}
    best = max(offered, key=lambda name: qualities[name])
    if qualities[best] <= 0:
        raise NotAcceptable("this can be answered as " + ", ".join(f"{MEDIA_TYPES[n]} (format={n})" for n in offered))
    return best


def _ranges(accept: str) -> list[tuple[str, float]]:
    ranges = []
    for part in filter(None, (part.strip() for part in accept.split(","))):
        found = _RANGE.fullmatch(part)
        if found is None:
            return [("*/*", 1.0)]
        quality = _QUALITY.search(found[3])
        ranges.append((f"{found[1]}/{found[2]}".lower(), min(float(quality[1]), 1.0) if quality else 1.0))
    return ranges or [("*/*", 1.0)]


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """The quality of the most specific range that covers `media_type`; 0 when none does."""
    accepted, (kind, _) = dict(ranges), media_type.split("/")
    for pattern in (media_type, f"{kind}/*", "*/*"):
        if pattern in accepted:
            return accepted[pattern]
    return 0.0


@dataclass(frozen=True, slots=True)
class ImageAnswer:
    """Pictures and what is known of them, before it is decided how they travel.

    `origins` is what the receipts say made each image (None: its latent), `notes` what the JSON says of each beside
    its picture and latent, `summary` what the JSON says once.
    """

    model: GenerativeModel
    operation: str
    images: NDArray[np.uint8]
    """(N, H, W, C)"""
    latents: NDArray[np.float32]
    """(N, D)"""
    timing: Timing
    origins: Sequence[Mapping[str, Any]] | None = None
    notes: Sequence[Mapping[str, Any]] | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    labels: NDArray[np.int64] | None = None
    """(N,), where the model is conditional; receipts and JSON state the index of each one's class."""
    acceptance: float | None = None
    """The mean acceptance rate of the chains that chose the images, where any did; a header in every format."""

    def render(self, chosen: Format, columns: int | None, *, animated: bool) -> bytes:
        """The body of the answer in one format."""
        match chosen:
            case "json":
                return dump_arrays(self._json())
            case "npy":
                return _npy(self.images)
            case "raw":
                return self.images.tobytes()
            case "png":
                return self._png(columns)
            case "gif" | "apng" | "webp":
                from app.images import raster  # noqa: PLC0415  it imports Pillow, which no start waits for

                if chosen == "webp" and not animated:
                    return raster.encode_webp(self._sheet(columns))
                return raster.encode_animation(self.images, chosen)

    def png(self, index: int) -> bytes:
        """One image with its receipt."""
        origin = self._origin(index)
        return self._png_of(index, dump_arrays(self._common([origin])), origin)

    def _png_of(self, index: int, common: bytes, origin: Mapping[str, Any]) -> bytes:
        """One image whose receipt is `common`, which is JSON already, and its own origin."""
        return encode_png(self.images[index], (common[:-1] + b"," + dump_arrays(origin)[1:]).decode())

    def _sheet(self, columns: int | None) -> NDArray[np.uint8]:
        return self.images[0] if len(self.images) == 1 else contact_sheet(self.images, columns)

    def _png(self, columns: int | None) -> bytes:
        if len(self.images) == 1:
            return self.png(0)
        origins = [self._origin(index) for index in range(len(self.images))]
        sheet = self._common(origins) | {"columns": sheet_columns(len(origins), columns), "images": origins}
        return encode_png(self._sheet(columns), dump_arrays(sheet).decode())

    def _json(self) -> dict[str, Any]:
        return {
            "model": self.model.manifest.name,
            "version": self.model.manifest.version,
            **self.summary,
            "images": list(self._json_images()),
        }

    def _json_images(self) -> Iterator[dict[str, Any]]:
        """Each image as JSON; what many receipts share, and a latent that stands in one and beside it, is said once."""
        shared: dict[bool, bytes] = {}
        for index in range(len(self.images)):
            latent = orjson.Fragment(dump_arrays(self.latents[index]))
            origin = self._origin(index, latent)
            if (drawn := "seed" in origin) not in shared:
                shared[drawn] = dump_arrays(self._common([origin]))
            png = b2a_base64(self._png_of(index, shared[drawn], origin), newline=False)
            notes = self.notes[index] if self.notes is not None else {}
            quoted = orjson.Fragment(b'"' + png + b'"')
            yield {"index": index, "png": quoted, "latent": latent, **self._label(index), **notes}

    def _common(self, origins: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What is said once of images with these origins: those of seeds depend on the prior's graph, if it has one."""
        manifest = self.model.manifest
        drawn = any("seed" in origin for origin in origins) and "noise_to_latent" in manifest.roles
        prior = {"noise_to_latent_sha256": manifest.graph("noise_to_latent").sha256} if drawn else {}
        return {
            "model": manifest.name,
            "version": manifest.version,
            "graph_sha256": manifest.graph("latent_to_image").sha256,
            **prior,
            "runtime": RUNTIME,
            "operation": self.operation,
        }

    def _origin(self, index: int, latent: orjson.Fragment | None = None) -> dict[str, Any]:
        """What made an image; its latent may be JSON already."""
        if self.origins is not None:
            return {**self.origins[index], **self._label(index)}
        return {"latent": self.latents[index] if latent is None else latent, **self._label(index)}

    def _label(self, index: int) -> dict[str, int]:
        return {} if self.labels is None else {"label": int(self.labels[index])}


async def answer_images(
    answer: ImageAnswer, chosen: Format, *, columns: int | None = None, animated: bool = False
) -> Response:
    """`answer` in the chosen format, encoded off the event loop when there is much of it."""
    body, encode_s = await _timed(lambda: answer.render(chosen, columns, animated=animated), answer.images.size)
    headers = _headers(answer.model, MEDIA_TYPES[chosen], answer.timing, encode_s, answer.seed)
    headers.append((b"vary", b"Accept"))
    if answer.acceptance is not None:
        headers.append((b"x-acceptance", repr(answer.acceptance).encode()))  # every digit, as in JSON
    if chosen == "raw":
        headers += [(b"x-shape", ",".join(map(str, answer.images.shape)).encode()), (b"x-dtype", b"uint8")]
    return _Whole(body, headers)


async def answer_json(
    model: GenerativeModel,
    content: Callable[[], Mapping[str, Any]],
    *,
    size: int,
    timing: Timing,
    seed: int | None = None,
    dump: Callable[[Mapping[str, Any]], bytes] | None = None,
) -> Response:
    """What `content` builds as JSON, after the model's name and version; `size` is how many numbers it holds."""
    named = {"model": model.manifest.name, "version": model.manifest.version}
    body, encode_s = await _timed(lambda: (dump or dump_json)(named | dict(content())), size)
    return _Whole(body, _headers(model, MEDIA_TYPES["json"], timing, encode_s, seed))


async def answer_map(
    model: GenerativeModel, values: NDArray[np.float32], chosen: Format, *, timing: Timing, seed: int
) -> Response:
    """One number a pixel of N pictures (N, H, W): as npy, or as a heat map, the largest of all black."""
    sheet = partial(_npy, values) if chosen == "npy" else partial(_heat_png, values)
    body, encode_s = await _timed(sheet, values.size)
    extent = f"{values.min():.6g},{values.max():.6g}"
    headers = _headers(model, MEDIA_TYPES[chosen], timing, encode_s, seed)
    return _Whole(body, [*headers, (b"vary", b"Accept"), (b"x-range-nats", extent.encode())])


class _Whole(Response):
    """An answer whose headers are bytes already, which Starlette would encode anew for each."""

    def __init__(self, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code, self.background, self.body = 200, None, body
        self.raw_headers = [*headers, (b"content-length", b"%d" % len(body))]


def _headers(
    model: GenerativeModel, media_type: str, timing: Timing, encode_s: float, seed: int | None
) -> list[tuple[bytes, bytes]]:
    """The headers of every answer that a model made."""
    headers = [*_same_headers(model.ref, media_type), (b"server-timing", server_timing(timing, encode_s).encode())]
    if seed is not None:
        headers.append((b"x-seed", b"%d" % seed))
    return headers


@lru_cache(maxsize=256)
def _same_headers(ref: str, media_type: str) -> tuple[tuple[bytes, bytes], ...]:
    return (b"x-model", ref.encode()), (b"cache-control", b"no-store"), (b"content-type", media_type.encode())


def server_timing(timing: Timing, encode_s: float) -> str:
    """The value of `Server-Timing`, in milliseconds."""
    queue_ms, run_ms, encode_ms = timing.queue_s * 1000, timing.run_s * 1000, encode_s * 1000
    return f"queue;dur={queue_ms:.2f}, run;dur={run_ms:.2f}, encode;dur={encode_ms:.2f}"


def with_etag(request: Request, response: Response) -> Response:
    """`response` with a strong ETag of its bytes, or 304 where the caller has them (RFC 9110 §13.1.2)."""
    etag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    response.headers["ETag"] = etag
    candidates = request.headers.get("if-none-match", "").split(",")
    if not any(candidate.strip().removeprefix("W/") in (etag, "*") for candidate in candidates):
        return response
    kept = {name: value for name, value in response.headers.items() if name not in ("content-length", "content-type")}
    return Response(status_code=304, headers=kept)


async def _timed(work: Callable[[], bytes], size: int) -> tuple[bytes, float]:
    start = time.monotonic()
    body = work() if size < SMALL_WORK else await in_thread(work)
    end = time.monotonic()
    record_stage("encode", start, end, {"latentserve.bytes": len(body)})
    return body, end - start


def dump_json(content: Mapping[str, Any]) -> bytes:
    """Compact JSON; a number that is not finite is a fault of ours and raises ValueError."""
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def dump_arrays(content: Mapping[str, Any] | NDArray[np.float32]) -> bytes:
    """Compact JSON of content with float32 arrays in it, which must be finite, as all that a batcher answers is.

    Numbers have the fewest digits that give the same float32 back (0.1, not 0.10000000149011612).
    """
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)


def _heat_png(values: NDArray[np.float32]) -> bytes:
    return encode_png(contact_sheet(heat_map(values)))


def _npy(images: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, images, allow_pickle=False)
    return buffer.getvalue()
