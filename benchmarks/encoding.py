"""Pictures out as PNG, 64 a request, against the graph and the encoder alone: `python -m benchmarks.encoding`.

The limit is a process a core that runs the bare graph on 64 latents and encodes the 64 pictures with the service's own
encoder, over and over: as one PNG, which is what `Accept: image/png` gets, or as 64, which the service sends as JSON
with a receipt and the latent of each. The encoders themselves are compared first, on the same pictures.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import struct
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from operator import truediv
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
from PIL import Image

from app.images.pixels import contact_sheet, to_bytes
from app.images.png import encode_png
from benchmarks.harness.bare import runs_per_s, session
from benchmarks.harness.contenders import decode_wires, latentserve
from benchmarks.harness.load import Call, press, require_wrk, settle
from benchmarks.harness.models import Model, read_model, repository, small_decoder
from benchmarks.harness.options import parser
from benchmarks.harness.report import Bar, bars, circumstances, publish, table
from benchmarks.harness.wires import JSON

Encoder = Callable[[npt.NDArray[np.uint8]], bytes]

Rates = dict[tuple[int, str], list[float]]
"""Images a second of each round, by processes and form."""

COUNT, CLIENTS = 64, 8
PROCESSES = (1, 2)
PILLOW_LEVELS, ZLIB_LEVELS = (1, 6, 9), (0, 1, 4, 6, 9)
SHEET, EACH = "one PNG", "64 PNGs"
LIMITS = {"sample, one PNG": SHEET, "sample, 64 PNGs": EACH, "decode, 64 PNGs": EACH}
"""The requests, and what the graph and the encoder alone make of the same pictures."""


def main() -> int:
    """Measure and print."""
    chosen = parser(__doc__).parse_args()
    require_wrk()
    rounds, seconds = (1, 1) if chosen.quick else (chosen.rounds, 3)
    root = repository("encoding")
    model = small_decoder(root)
    encoders = _compare_encoders(model, 0.2 if chosen.quick else 1.0)
    bare: Rates = {(processes, form): [] for processes in PROCESSES for form in (SHEET, EACH)}
    served: Rates = {(processes, form): [] for processes in PROCESSES for form in LIMITS}
    for _ in range(rounds):
        for (processes, form), rates in bare.items():
            rates.append(_bare_images_per_s(model, form, processes, seconds))
        for processes in PROCESSES:
            for form, rate in _served_images_per_s(root, model, processes, seconds).items():
                served[processes, form].append(rate)
    publish("encoding", _report(encoders, bare, served), chosen.markdown)
    return 0


def _compare_encoders(model: Model, seconds: float) -> str:
    pictures = _shaped(model, model.pictures(model.latents(COUNT)))
    encoders: dict[str, Encoder] = {"the service's": encode_png}
    encoders |= {f"zlib {level}": partial(_zlib_png, level=level) for level in ZLIB_LEVELS}
    encoders |= {f"Pillow {level}": partial(_pillow_png, level=level) for level in PILLOW_LEVELS}
    rows = []
    for name, encode in encoders.items():
        files = [encode(picture) for picture in pictures]
        rate = COUNT * runs_per_s([partial(_encode_all, encode, pictures)], seconds)
        rows.append([name, f"{1e6 / rate:.1f}", f"{sum(map(len, files)) / COUNT:,.0f}"])
    return table(["encoder, level", "µs a picture", "bytes a picture"], rows)


def _shaped(model: Model, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    space = model.manifest.image
    return pictures.reshape(-1, space.height, space.width, space.channels)


def _encode_all(encode: Encoder, pictures: npt.NDArray[np.uint8]) -> list[bytes]:
    return [encode(picture) for picture in pictures]


def _pillow_png(picture: npt.NDArray[np.uint8], *, level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture.squeeze()).save(file, "PNG", compress_level=level)
    return file.getvalue()


def _zlib_png(picture: npt.NDArray[np.uint8], *, level: int) -> bytes:
    """The least that is a PNG: no line filtered, one chunk of data."""
    height, width, channels = picture.shape
    lines = np.zeros((height, 1 + width * channels), np.uint8)
    lines[:, 1:] = picture.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), level)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _bare_images_per_s(model: Model, form: str, processes: int, seconds: float) -> float:
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.5] * processes))  # so that none starts while another is measured
        return sum(pool.map(_graph_and_encoder, *([each] * processes for each in (model.folder, form, seconds))))


def _graph_and_encoder(folder: Path, form: str, seconds: float) -> float:
    """Images a second of one process."""
    model = read_model(folder)
    opened, latents, pixel_range = session(model, threads=1), model.latents(COUNT), model.manifest.image.pixel_range

    def run() -> None:
        pictures = to_bytes(np.asarray(opened.run(["image"], {"latent": latents})[0]), pixel_range)
        _encode_all(encode_png, pictures if form == EACH else contact_sheet(pictures)[None])

    run()
    return COUNT * runs_per_s([run], seconds)


def _served_images_per_s(root: Path, model: Model, workers: int, seconds: int) -> dict[str, float]:
    sample = Call(f"/v1/models/{model.name}/sample", json.dumps({"count": COUNT, "seed": 7}).encode(), JSON, JSON)
    to_pngs = next(wire for wire in decode_wires(model) if wire.accept == JSON)
    calls = dict(zip(LIMITS, (replace(sample, accept="image/png"), sample, to_pngs.call(COUNT)), strict=True))
    rates = {}
    with latentserve(root, (), workers=workers).serve() as server:
        for form, call in calls.items():
            press(server.url, call, clients=CLIENTS, seconds=1)
            settle(server.url, call)
            rates[form] = COUNT * press(server.url, call, clients=CLIENTS, seconds=seconds).requests_per_s
    return rates


def _report(encoders: str, bare: Rates, served: Rates) -> str:
    # Of one round each: what the machine gives changes from round to round.
    shares = {(of, form): median(map(truediv, rates, bare[of, LIMITS[form]])) for (of, form), rates in served.items()}
    rows = [
        [f"graph and encoder, {form}, processes: {of}", f"{median(rates):,.0f}", "1"]
        for (of, form), rates in bare.items()
    ]
    rows += [
        [f"{form}, workers: {of}", f"{median(rates):,.0f}", f"{shares[of, form]:.3f}"]
        for (of, form), rates in served.items()
    ]
    kept = [
        Bar(f"{form}, workers: {of}, images / graph and encoder", share, 0.8, True)
        for (of, form), share in shares.items()
        if LIMITS[form] == SHEET  # JSON has base64, receipts and latents to write, which the limit has not
    ]
    return "\n\n".join(
        [
            circumstances("onnxruntime", "pillow", "numpy") + f" zlib {zlib.ZLIB_RUNTIME_VERSION}.",
            encoders,
            f"{COUNT} pictures a request, as one PNG with its receipt or as JSON of {COUNT}, {CLIENTS} clients:",
            table(["", "images/s", "of the limit"], rows),
            bars(kept),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
