"""Between pictures and a VAE's tensors, and the pictures of a run: samples, reconstructions, the latent plane."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from app.images.pixels import contact_sheet, to_bytes, to_floats
from app.manifest import PixelRange
from training.evaluation.latent_map import decoded_plane, scatter
from training.loops.run_folder import RunFolder
from training.vae.labels import Labels
from training.vae.model import VariationalAutoencoder

PIXELS = PixelRange(low=0.0, high=1.0)
SHOWN = 64
SHOWN_CLASSES = 10


def observed(pictures: NDArray[np.uint8], coin: torch.Generator | None) -> Float[Tensor, "batch c h w"]:
    """Pictures (B, H, W, C) as the x that is modelled: pixels in [0, 1], or coins tossed with them as odds."""
    image = torch.from_numpy(to_floats(pictures, PIXELS))
    return image if coin is None else torch.bernoulli(image, generator=coin)


def told(net: VariationalAutoencoder, labels: NDArray[np.int64] | None) -> Labels | None:
    """The labels as a conditional net is told them, on its device; None for a net that takes none."""
    if not net.classes or labels is None:
        return None
    return torch.from_numpy(labels).to(next(net.parameters()).device)


def draw_pictures(
    net: VariationalAutoencoder,
    image: Float[Tensor, "batch c h w"],
    prior_noise: Float[Tensor, "shown noise"],
    labels: NDArray[np.int64] | None,
    run: RunFolder,
    *,
    name: str,
) -> None:
    """Samples, pairs of image and reconstruction and, for two-dimensional latents, the plane decoded and encoded.

    The plane of a conditional model would be another one for each class, and is left out.
    """
    label = told(net, labels)
    mean = net.posterior(image, label).central()
    draw_samples(net, prior_noise, run, name=f"samples/{name}")
    pairs = torch.stack([image[:SHOWN], net.decode(mean[:SHOWN], label if label is None else label[:SHOWN])], dim=1)
    run.save_grid(f"reconstructions/{name}", as_pictures(pairs.flatten(0, 1)))
    if net.latent_size == 2 and label is None:
        device = image.device
        plane = decoded_plane(lambda latents: as_pictures(net.decode(torch.from_numpy(latents).to(device))))
        run.save_picture("latent_map", plane)
        run.save_picture("aggregate_posterior", scatter(mean.cpu().numpy(), labels))


def draw_samples(
    net: VariationalAutoencoder, prior_noise: Float[Tensor, "shown noise"], run: RunFolder, *, name: str
) -> None:
    """A sheet of samples; of a conditional model a column a class (the first ten) and a row a latent."""
    columns = min(net.classes, SHOWN_CLASSES)
    if not columns:
        run.save_grid(name, as_pictures(net.sample(prior_noise)))
        return
    rows = len(prior_noise) // columns
    label = torch.arange(columns, device=prior_noise.device).repeat(rows)
    latent = net.prior.from_noise(prior_noise[:rows]).repeat_interleave(columns, dim=0)
    run.save_picture(name, contact_sheet(as_pictures(net.decode(latent, label)), columns=columns))


def as_pictures(image: Float[Tensor, "batch c h w"]) -> NDArray[np.uint8]:
    """Tensors of pixels in [0, 1] as pictures (B, H, W, C)."""
    return to_bytes(image.float().cpu().numpy(), PIXELS)
