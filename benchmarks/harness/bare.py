"""The limit of the graph: onnxruntime alone, in this process, fed with arrays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort

from benchmarks.harness.models import Model


@dataclass(frozen=True)
class Arrangement:
    """How the graph is run: sessions side by side, threads in each, rows a run."""

    sessions: int
    threads: int
    batch: int


def images_per_s(model: Model, arrangement: Arrangement, seconds: float) -> float:
    """Images that the bare graph makes a second."""
    runners = [_runner(model, arrangement) for _ in range(arrangement.sessions)]
    for run in runners:
        run()
    return arrangement.batch * runs_per_s(runners, seconds)


def runs_per_s(runners: list[Callable[[], object]], seconds: float) -> float:
    """Calls a second of all runners, each called over and over in a thread of its own."""
    counts = [0] * len(runners)
    stop_at = time.perf_counter() + seconds

    def repeat(index: int) -> None:
        while time.perf_counter() < stop_at:
            runners[index]()
            counts[index] += 1

    threads = [threading.Thread(target=repeat, args=(index,)) for index in range(len(runners))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def session(model: Model, threads: int) -> ort.InferenceSession:
    """latent_to_image with onnxruntime's defaults but for the number of threads."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model.graph, options, providers=["CPUExecutionProvider"])


def _runner(model: Model, arrangement: Arrangement) -> Callable[[], object]:
    opened = session(model, arrangement.threads)
    latents = np.ascontiguousarray(model.latents(arrangement.batch))
    return lambda: opened.run(["image"], {"latent": latents})
