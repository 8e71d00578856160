"""The pictures of a version: what it samples or reconstructs, and what its latent space looks like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.images.pixels import contact_sheet
from app.images.png import encode_png
from app.manifest import Manifest
from training.data.domains import ORIGINAL
from training.data.splits import DataSplits
from training.evaluation.latent_map import MOST_POINTS, draw_codes_beside_prior, draw_latent_map
from training.evaluation.published import PublishedGraphs, subset

PREVIEW_PICTURES = 64
PREVIEW_PIXELS = 64 * 48 * 48
"""Fewer pictures where they are larger: a preview is looked at, and not to weigh as much as a graph."""

PREVIEW_CLASSES = 10
COLUMNS = 8


def write_pictures(manifest: Manifest, graphs: PublishedGraphs, data: DataSplits, folder: Path) -> None:
    """Write `preview.png` and, of models with an encoder, `latent_map.png` and `aggregate_posterior.png`."""
    _write(folder / "preview.png", _preview(manifest, graphs, data))
    if "image_to_latent" not in manifest.roles:
        return
    images = subset(data.test, MOST_POINTS)
    central = graphs.posterior(images.pictures, images.labels)["mean"]
    _write(folder / "latent_map.png", draw_latent_map(central, images.labels, data.classes))
    prior = None
    if "sample" in manifest.capabilities:
        prior = graphs.prior_latents(len(images), latent_size=manifest.latent.size, labels=images.labels)
    draws = graphs.posterior_draws(images.pictures, images.labels)
    _write(folder / "aggregate_posterior.png", draw_codes_beside_prior(draws, prior))


def _preview(manifest: Manifest, graphs: PublishedGraphs, data: DataSplits) -> NDArray[np.uint8]:
    """A sheet of samples; of a conditional model a column a class (the first ten), of domains the same latents in each.

    Of a model that cannot sample: test pictures, each followed by its reconstruction.
    """
    size = manifest.latent.size
    if "sample" not in manifest.capabilities:
        pictures = subset(data.test, PREVIEW_PICTURES // 2).pictures
        pairs = np.stack([pictures, graphs.decode(graphs.posterior(pictures)["mean"])], axis=1)
        return contact_sheet(pairs.reshape(-1, *pictures.shape[1:]))
    columns = min(len(manifest.classes), PREVIEW_CLASSES) if manifest.conditional_roles else 0
    if not columns:
        height, width = manifest.image.height, manifest.image.width
        count = PREVIEW_PICTURES if PREVIEW_PICTURES * height * width <= PREVIEW_PIXELS else PREVIEW_PICTURES // 2
        return contact_sheet(graphs.sample(count, latent_size=size), columns=COLUMNS)
    labels = np.tile(np.arange(columns), PREVIEW_PICTURES // columns)
    if manifest.classes[0] == ORIGINAL:
        latents = graphs.prior_latents(len(labels) // columns, latent_size=size)
        return contact_sheet(graphs.decode(latents.repeat(columns, axis=0), labels), columns=COLUMNS)
    return contact_sheet(graphs.sample(len(labels), latent_size=size, labels=labels), columns=columns)


def _write(path: Path, picture: NDArray[np.uint8]) -> None:
    path.write_bytes(encode_png(picture))
