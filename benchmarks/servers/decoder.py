"""What every peer serves: the graph, run by onnxruntime on one thread, and its images as bytes.

Lives in the peers' own environments, so it needs numpy and onnxruntime alone and takes its orders from variables.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

PORT = int(os.environ["BENCH_PORT"])
LATENT = int(os.environ["BENCH_LATENT"])
IMAGE_BYTES = int(os.environ["BENCH_IMAGE_BYTES"])
WORKERS = int(os.environ["BENCH_WORKERS"])
"""Processes that each hold the graph."""
MAX_BATCH = 64
"""Rows of one graph run: where the graph of this benchmark stops gaining."""


class Decoder:
    """latent_to_image and the conversion to bytes."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(os.environ["BENCH_GRAPH"], options, providers=["CPUExecutionProvider"])
        self._low, self._width = float(os.environ["BENCH_LOW"]), float(os.environ["BENCH_WIDTH"])

    def __call__(self, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """Pictures (N,H,W,C) of latents (N,D)."""
        images = self._session.run(["image"], {"latent": latents})[0]
        levels = np.clip((images - np.float32(self._low)) * np.float32(255 / self._width) + np.float32(0.5), 0, 255)
        return np.ascontiguousarray(levels.astype(np.uint8).transpose(0, 2, 3, 1))
