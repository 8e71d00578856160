"""Scoring 1,000 pictures with 64 importance samples each, against the bare graph: `python -m benchmarks.scoring`.

The limit is onnxruntime alone on the same cores: pictures and noise are arrays in memory before the clock starts, and
several sessions, threads and batches are tried, of which the fastest counts. The service reads the pictures from HTTP,
as many a request as its default limits allow, draws the noise itself and answers every bound as JSON.
"""

from __future__ import annotations

import http.client
import io
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from app.images.pixels import observe
from app.latent.noise import Stream, standard_normal
from app.runtime.machine import usable_cores
from app.settings import Settings
from benchmarks.harness.contenders import latentserve
from benchmarks.harness.models import Model, copied, published, repository
from benchmarks.harness.options import parser
from benchmarks.harness.report import Bar, bars, circumstances, publish, table
from benchmarks.harness.wires import NPY

Pictures = npt.NDArray[np.uint8]
Feeds = dict[str, npt.NDArray[np.float32]]

PICTURES, QUICK_PICTURES = 1000, 128
SAMPLES, SEED, CONNECTIONS = 64, 7, 4
PREFERRED = "mnist_vae"
BOUND = 1.15


@dataclass(frozen=True)
class Arrangement:
    """How the bare graph is run."""

    sessions: int
    threads: int
    pictures: int

    def __str__(self) -> str:
        return f"{self.sessions} × {self.threads} threads, {self.pictures} pictures a run"


def main() -> int:
    """Measure and print."""
    chosen = parser(__doc__).parse_args()
    rounds = 1 if chosen.quick else chosen.rounds
    root = repository("scoring")
    model = _scored(root)
    pictures = _pictures(model, QUICK_PICTURES if chosen.quick else PICTURES)
    best = min(_arrangements(), key=lambda arrangement: _bare_s(model, pictures[:QUICK_PICTURES], arrangement))
    bare: list[float] = []
    served: list[float] = []
    with latentserve(root, ()).serve() as server:
        host = server.url.removeprefix("http://")
        _served_s(host, model, pictures[:QUICK_PICTURES])
        for _ in range(rounds):
            bare.append(_bare_s(model, pictures, best))
            served.append(_served_s(host, model, pictures))
    publish("scoring", _report(model, len(pictures), best, bare, served), chosen.markdown)
    return 0


def _scored(root: Path) -> Model:
    """A published model with a density, alone in `root`."""
    found = [model for model in published() if "image_to_evidence" in model.manifest.roles]
    if not found:
        sys.exit("no published model has a density to measure")
    return copied(next((model for model in found if model.name == PREFERRED), found[0]), root)


def _pictures(model: Model, count: int) -> Pictures:
    """Samples of the model itself."""
    space = model.manifest.image
    return model.pictures(model.latents(count)).reshape(-1, space.height, space.width, space.channels)


def _arrangements() -> list[Arrangement]:
    cores = usable_cores()
    shapes = sorted({(1, cores), (cores, 1)})
    return [Arrangement(*shape, pictures) for shape in shapes for pictures in (1, 4, 16)]


def _bare_s(model: Model, pictures: Pictures, arrangement: Arrangement) -> float:
    """Seconds that the graph alone takes for all pictures."""
    size = model.manifest.latent.size
    images = observe(pictures, model.manifest.image)
    noise = standard_normal(SEED, range(len(images)), SAMPLES * size, stream=Stream.IMPORTANCE)
    noise = noise.reshape(-1, SAMPLES, size)
    starts = range(0, len(images), arrangement.pictures)
    parts = [slice(start, start + arrangement.pictures) for start in starts]
    feeds = [{"image": images[part], "noise": noise[part]} for part in parts]
    sessions = [_session(model, arrangement.threads) for _ in range(arrangement.sessions)]
    for session in sessions:
        session.run(None, feeds[0])
    shares = [feeds[index :: len(sessions)] for index in range(len(sessions))]
    began = time.perf_counter()
    with ThreadPoolExecutor(len(sessions)) as pool:
        list(pool.map(_run_all, sessions, shares))
    return time.perf_counter() - began


def _session(model: Model, threads: int) -> ort.InferenceSession:
    """image_to_evidence with onnxruntime's defaults but for the number of threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    graph = model.folder / model.manifest.graph("image_to_evidence").file
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _run_all(session: ort.InferenceSession, feeds: Sequence[Feeds]) -> None:
    for one in feeds:
        session.run(None, one)


def _served_s(host: str, model: Model, pictures: Pictures) -> float:
    """Seconds until one client with a few connections has every score."""
    most = Settings.model_fields["max_sample_images"].default // SAMPLES
    bodies = [_npy(pictures[start : start + most]) for start in range(0, len(pictures), most)]
    path = f"/v1/models/{model.name}/score?samples={SAMPLES}&seed={SEED}"
    shares = [bodies[index::CONNECTIONS] for index in range(CONNECTIONS)]
    began = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        scored = sum(pool.map(lambda share: _post_all(host, path, share), shares))
    seconds = time.perf_counter() - began
    if scored != len(pictures):
        raise ValueError(f"{scored} scores for {len(pictures)} pictures")
    return seconds


def _npy(pictures: Pictures) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, pictures)
    return buffer.getvalue()


def _post_all(host: str, path: str, bodies: Sequence[bytes]) -> int:
    """Post each over one connection; how many scores came back."""
    connection = http.client.HTTPConnection(host, timeout=120)
    scored = 0
    for body in bodies:
        connection.request("POST", path, body, {"Content-Type": NPY})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise ValueError(f"{answer.status}: {content[:200].decode(errors='replace')}")
        scored += len(json.loads(content)["scores"])
    connection.close()
    return scored


def _report(model: Model, count: int, best: Arrangement, bare: list[float], served: list[float]) -> str:
    limit, seconds = median(bare), median(served)
    rows = [
        [f"bare graph, {best}", f"{limit:.2f}", f"{count / limit:,.0f}"],
        [f"service, {CONNECTIONS} connections", f"{seconds:.2f}", f"{count / seconds:,.0f}"],
    ]
    return "\n\n".join(
        [
            circumstances("onnxruntime", "uvicorn", "numpy"),
            f"{count:,} pictures, {SAMPLES} importance samples each, {model.name}:",
            table(["", "seconds", "pictures/s"], rows),
            bars([Bar("scoring over HTTP / bare graph, seconds", seconds / limit, BOUND, at_least=False)]),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
