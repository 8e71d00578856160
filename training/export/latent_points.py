"""The map of a latent space: encoded test pictures as points of a plane, for people to find their way by."""

from __future__ import annotations

import json

import numpy as np
from jaxtyping import Float, Float32

from training.data.splits import DataSplits
from training.evaluation.published import PublishedGraphs, subset


def latent_points(graphs: PublishedGraphs, data: DataSplits, count: int) -> bytes:
    """JSON `{"projection","classes","points":[{"x","y","label","latent"}…]}` of `count` test pictures.

    Two-dimensional latents are their own map; others are projected on their two principal components.
    """
    images = subset(data.test, count)
    latents = graphs.posterior(images.pictures, images.labels)["mean"]
    plane, projection = (latents, "latent") if latents.shape[1] == 2 else (principal_plane(latents), "pca")
    labels = [None] * len(images) if images.labels is None else images.labels.tolist()
    points = [
        {"x": _round(x), "y": _round(y), "label": label, "latent": [_round(number) for number in latent]}
        for (x, y), label, latent in zip(plane, labels, latents, strict=True)
    ]
    return json.dumps({"projection": projection, "classes": data.classes, "points": points}).encode()


def principal_plane(points: Float32[np.ndarray, "n d"]) -> Float[np.ndarray, "n 2"]:
    """Centred points projected on their first two principal components; a line (D = 1) lies at y = 0."""
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    plane = centred @ axes[:2].T
    return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1])))


def _round(number: float) -> float:
    return round(float(number), 4)
