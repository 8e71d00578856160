"""The map of a latent space: encoded test pictures as points of a plane, for people to find their way by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from training.data.splits import DataSplits
from training.evaluation.latent_map import principal_plane
from training.evaluation.published import PublishedGraphs, subset

DECIMALS = 3
"""Of the numbers in the file. Latents vary by about one: no picture shows the rest."""


def latent_points(graphs: PublishedGraphs, data: DataSplits, count: int) -> bytes:
    """JSON `{"projection","classes","points":[{"x","y","label","latent"}…]}` of `count` test pictures.

    Two-dimensional latents are their own map; others are projected on their two principal components.
    """
    images = subset(data.test, count)
    latents = graphs.posterior(images.pictures, images.labels)["mean"]
    plane, projection = principal_plane(latents)(latents), "latent" if latents.shape[1] == 2 else "pca"
    labels = [None] * len(images) if images.labels is None else images.labels.tolist()
    points = [
        _point(x, y, label, latent)
        for (x, y), label, latent in zip(plane.tolist(), labels, latents.tolist(), strict=True)
    ]
    return _as_json({"projection": projection, "classes": data.classes, "points": points})


def first_points(content: bytes, count: int) -> bytes:
    """The map with its first `count` points: they are a random sample, as all of them are."""
    found = json.loads(content)
    return _as_json(found | {"points": [_point(**point) for point in found["points"][:count]]})


def _point(x: float, y: float, label: int | None, latent: Sequence[float]) -> dict[str, Any]:
    rounded = [round(number, DECIMALS) for number in latent]
    return {"x": round(x, DECIMALS), "y": round(y, DECIMALS), "label": label, "latent": rounded}


def _as_json(content: dict[str, Any]) -> bytes:
    """Without spaces, which would be a tenth of the file."""
    return json.dumps(content, separators=(",", ":")).encode()
