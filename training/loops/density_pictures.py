"""What a density that was fitted afterwards makes of an autoencoder: samples, and its codes beside the images'."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from training.autoencoder.model import Autoencoder
from training.evaluation.latent_map import draw_codes_beside_prior
from training.loops.run_folder import RunFolder
from training.loops.watched import SHOWN, WATCHED_IMAGES, as_pictures, as_points
from training.probability.prior import Prior


@torch.no_grad()
def draw_density(net: Autoencoder, density: Prior, features: Float[Tensor, "n size"], run: RunFolder) -> None:
    """Redraw the run's aggregate posterior, codes of `features` beside codes that are sampled, and decode some."""
    noise = torch.randn(WATCHED_IMAGES, density.noise_size, generator=torch.Generator().manual_seed(0))
    sampled = net.code(density.from_noise(noise))
    codes = net.code(features[:WATCHED_IMAGES])
    run.save_picture("aggregate_posterior", draw_codes_beside_prior(as_points(codes), as_points(sampled)))
    run.save_grid("samples/density", as_pictures(net.decode(sampled[:SHOWN])))
