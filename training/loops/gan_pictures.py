"""The pictures of a GAN's training: what the same noise becomes as the generator learns."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from app.images.pixels import to_bytes
from app.latent.noise import standard_normal
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.run_folder import RunFolder

SAMPLES = 64
AT_ONCE = 500
GRIDS = "samples"


def draw_samples(training: GanTraining, run: RunFolder, epoch: int) -> None:
    """Draw the grid of this epoch, and all grids so far as one animation."""
    run.save_grid(
        f"{GRIDS}/epoch_{epoch:04d}", sample_pictures(training, range(SAMPLES)), columns=training.net.classes or None
    )
    run.save_animation(GRIDS)


@torch.no_grad()
def sample_pictures(training: GanTraining, indices: range) -> NDArray[np.uint8]:
    """The pictures (N, H, W, C) of the noise behind the service's samples for the run's seed, as the average stands.

    Of a conditional model the classes take turns.
    """
    noise = torch.from_numpy(standard_normal(training.config.seed, indices, training.settings.latent_size))
    classes = training.net.classes
    labels = torch.arange(len(noise)) % classes if classes else None
    images = []
    for rows in torch.arange(len(noise)).split(AT_ONCE):
        label = None if labels is None else labels[rows].to(training.device)
        images.append(training.average.average(noise[rows].to(training.device), label).cpu().numpy())
    return to_bytes(np.concatenate(images), PIXELS)
