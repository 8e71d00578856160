"""The map of a latent space: encoded test pictures as points of a plane, for people to find their way by."""

from __future__ import annotations

import json

from training.data.splits import DataSplits
from training.evaluation.latent_map import principal_plane
from training.evaluation.published import PublishedGraphs, subset


def latent_points(graphs: PublishedGraphs, data: DataSplits, count: int) -> bytes:
    """JSON `{"projection","classes","points":[{"x","y","label","latent"}…]}` of `count` test pictures.

    Two-dimensional latents are their own map; others are projected on their two principal components.
    """
    images = subset(data.test, count)
    latents = graphs.posterior(images.pictures, images.labels)["mean"]
    plane, projection = principal_plane(latents)(latents), "latent" if latents.shape[1] == 2 else "pca"
    labels = [None] * len(images) if images.labels is None else images.labels.tolist()
    points = [
        {"x": _round(x), "y": _round(y), "label": label, "latent": [_round(number) for number in latent]}
        for (x, y), label, latent in zip(plane, labels, latents, strict=True)
    ]
    return json.dumps({"projection": projection, "classes": data.classes, "points": points}).encode()


def _round(number: float) -> float:
    return round(float(number), 4)
