"""How latents are sent and pictures read back, one function a form."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.harness.load import Call
from benchmarks.harness.models import Latents, Model, Pictures

JSON, NPY, RAW = "application/json", "application/x-npy", "application/octet-stream"

ALL_CELLS = tuple((clients, count) for count in (1, 64) for clients in (1, 8, 64))
"""(clients, latents a request)."""
WRONG_BY = 1
"""Levels of 255 by which a pixel may differ: a batch of another size may round the last bit otherwise."""


class WrongAnswer(Exception):
    """The pictures are not the graph's."""


@dataclass(frozen=True)
class Wire:
    """One form of request and answer of one server."""

    name: str
    path: str
    model: Model
    write: Callable[[Latents], bytes]
    read: Callable[[bytes], npt.NDArray[np.uint8]] | None
    """None: the answer holds no pictures."""
    content_type: str = JSON
    accept: str = JSON
    cells: tuple[tuple[int, int], ...] = ALL_CELLS

    def only_at(self, *, clients: int, count: int) -> Wire:
        """The same, measured in one cell alone."""
        return replace(self, cells=((clients, count),))

    def call(self, count: int) -> Call:
        """A request with `count` latents."""
        return Call(self.path, self.write(self.model.latents(count)), self.content_type, self.accept)

    def check(self, body: bytes, count: int) -> None:
        """Raise WrongAnswer unless `body` holds the pictures that bare onnxruntime makes of the same latents."""
        if self.read is None:
            return
        wanted = self.model.pictures(self.model.latents(count))
        found = self.read(body)
        if found.size != wanted.size:
            raise WrongAnswer(f"{self.name}: {found.size} numbers for {wanted.size}")
        worst = np.abs(found.reshape(wanted.shape).astype(int) - wanted).max()
        if worst > WRONG_BY:
            raise WrongAnswer(f"{self.name}: pixels are off by up to {worst} of 255")


def latents_json(latents: Latents) -> bytes:
    """{"latents": [[…], …]}."""
    return json.dumps({"latents": _numbers(latents)}).encode()


def latents_v2(latents: Latents) -> bytes:
    """The Open Inference Protocol's JSON."""
    flat = [number for row in _numbers(latents) for number in row]
    tensor = {"name": "latent", "shape": list(latents.shape), "datatype": "FP32", "data": flat}
    return json.dumps({"inputs": [tensor]}).encode()


def latents_raw(latents: Latents) -> bytes:
    """float32, little-endian."""
    return latents.astype("<f4").tobytes()


def latents_npy(latents: Latents) -> bytes:
    """A .npy file."""
    file = io.BytesIO()
    np.save(file, latents)
    return file.getvalue()


def pictures_raw(body: bytes) -> Pictures:
    """Bytes without a header."""
    return np.frombuffer(body, np.uint8)


def pictures_npy(body: bytes) -> Pictures:
    """A .npy file."""
    return np.asarray(np.load(io.BytesIO(body)), np.uint8)


def pictures_png(body: bytes) -> Pictures:
    """{"images": [{"png": base64}, …]}."""
    files = [base64.b64decode(image["png"]) for image in json.loads(body)["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])


def pictures_lists(body: bytes) -> Pictures:
    """{"images": [[…], …]}."""
    return np.asarray(json.loads(body)["images"], np.uint8)


def pictures_list(body: bytes) -> Pictures:
    """[[…], …]."""
    return np.asarray(json.loads(body), np.uint8)


def pictures_v2(body: bytes) -> Pictures:
    """The Open Inference Protocol's numbers."""
    return np.asarray(json.loads(body)["outputs"][0]["data"], np.uint8)


def pictures_v2_base64(body: bytes) -> Pictures:
    """The Open Inference Protocol's strings, base64."""
    texts = json.loads(body)["outputs"][0]["data"]
    return np.frombuffer(b"".join(base64.b64decode(text) for text in texts), np.uint8)


def _numbers(latents: Latents) -> list[list[float]]:
    # As doubles the four digits that the latents were rounded to would come out as seventeen.
    return [[float(str(number)) for number in row] for row in latents]
