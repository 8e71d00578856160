"""Between pictures and a VAE's tensors, and the pictures of a run: samples, reconstructions, the latent plane."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from app.images.pixels import to_bytes, to_floats
from app.manifest import PixelRange
from training.evaluation.latent_map import decoded_plane, scatter
from training.loops.run_folder import RunFolder
from training.vae.model import VariationalAutoencoder

PIXELS = PixelRange(low=0.0, high=1.0)
SHOWN = 64


def observed(pictures: NDArray[np.uint8], coin: torch.Generator | None) -> Float[Tensor, "batch c h w"]:
    """Pictures (B, H, W, C) as the x that is modelled: pixels in [0, 1], or coins tossed with them as odds."""
    image = torch.from_numpy(to_floats(pictures, PIXELS))
    return image if coin is None else torch.bernoulli(image, generator=coin)


def draw_pictures(
    net: VariationalAutoencoder,
    image: Float[Tensor, "batch c h w"],
    prior_noise: Float[Tensor, "shown noise"],
    labels: NDArray[np.int64] | None,
    run: RunFolder,
    *,
    name: str,
) -> None:
    """Samples, pairs of image and reconstruction and, for two-dimensional latents, the plane decoded and encoded."""
    mean = net.posterior(image).central()
    run.save_grid(f"samples/{name}", as_pictures(net.sample(prior_noise)))
    pairs = torch.stack([image[:SHOWN], net.decode(mean[:SHOWN])], dim=1)
    run.save_grid(f"reconstructions/{name}", as_pictures(pairs.flatten(0, 1)))
    if net.latent_size == 2:
        device = image.device
        plane = decoded_plane(lambda latents: as_pictures(net.decode(torch.from_numpy(latents).to(device))))
        run.save_picture("latent_map", plane)
        run.save_picture("aggregate_posterior", scatter(mean.cpu().numpy(), labels))


def as_pictures(image: Float[Tensor, "batch c h w"]) -> NDArray[np.uint8]:
    """Tensors of pixels in [0, 1] as pictures (B, H, W, C)."""
    return to_bytes(image.float().cpu().numpy(), PIXELS)
