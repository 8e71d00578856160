"""The pictures of a GAN's training: what the same noise becomes as the generator learns."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from app.images.pixels import to_bytes, to_floats
from app.latent.noise import standard_normal
from training.gan.generator import Generator
from training.loops.gan_shown import reconstructed
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.run_folder import RunFolder

SAMPLES = 64
AT_ONCE = 500
PAIR_COLUMNS = 8
GRIDS = "samples"


def draw_samples(training: GanTraining, run: RunFolder, epoch: int) -> None:
    """Draw the grid of this epoch, and all grids so far as one animation; of coupled domains, latents in each."""
    if training.settings.condition == "coupled":
        pictures, columns = coupled_pictures(training, range(SAMPLES // training.net.classes)), PAIR_COLUMNS
    else:
        pictures, columns = sample_pictures(training, range(SAMPLES)), training.net.classes
    run.save_grid(f"{GRIDS}/epoch_{epoch:04d}", pictures, columns=columns or None)
    run.save_animation(GRIDS)


@torch.no_grad()
def draw_reconstructions(training: GanTraining, run: RunFolder, epoch: int, pictures: NDArray[np.uint8]) -> None:
    """Where there is an encoder, draw the first pictures, each followed by what becomes of it."""
    if training.published_encoder is None:
        return
    seen = pictures[: SAMPLES // 2]
    image = torch.from_numpy(to_floats(seen, PIXELS)).to(training.device)
    again = to_bytes(reconstructed(training, image).cpu().numpy(), PIXELS)
    pairs = np.stack([seen, again], axis=1).reshape(-1, *seen.shape[1:])
    run.save_grid(f"reconstructions/epoch_{epoch:04d}", pairs, columns=PAIR_COLUMNS)


@torch.no_grad()
def sample_pictures(training: GanTraining, indices: range, *, averaged: bool = True) -> NDArray[np.uint8]:
    """The pictures (N, H, W, C) of the noise behind the service's samples for the run's seed.

    By the average as it stands, or by the generator itself as it answers outside training. Of a conditional model the
    classes take turns.
    """
    noise = torch.from_numpy(standard_normal(training.config.seed, indices, training.settings.latent_size))
    classes = training.net.classes
    labels = torch.arange(len(noise)) % classes if classes else None
    if averaged:
        return _drawn(training, noise, labels)
    generator = training.net.generator.eval()
    pictures = _drawn(training, noise, labels, generator)
    generator.train()
    return pictures


@torch.no_grad()
def coupled_pictures(training: GanTraining, indices: range) -> NDArray[np.uint8]:
    """The same noise in each domain, one after another."""
    noise = torch.from_numpy(standard_normal(training.config.seed, indices, training.settings.latent_size))
    domains = training.net.classes
    return _drawn(training, noise.repeat_interleave(domains, dim=0), torch.arange(domains).repeat(len(noise)))


def _drawn(
    training: GanTraining,
    noise: Float[Tensor, "n latent"],
    labels: Int64[Tensor, " n"] | None,
    generator: Generator | None = None,
) -> NDArray[np.uint8]:
    draw, images = generator or training.average.average, []
    for rows in torch.arange(len(noise)).split(AT_ONCE):
        label = None if labels is None else labels[rows].to(training.device)
        images.append(draw(noise[rows].to(training.device), label).cpu().numpy())
    return to_bytes(np.concatenate(images), PIXELS)
