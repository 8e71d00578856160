"""The pictures of a VAE's run: samples, reconstructions, and what its latent space looks like."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from app.images.pixels import contact_sheet
from training.evaluation.latent_map import decoded_plane, draw_codes_beside_prior, draw_latent_map
from training.loops.run_folder import RunFolder
from training.loops.watched import SHOWN, Watched, as_pictures, as_points
from training.nets.labels import Labels
from training.vae.model import VariationalAutoencoder

SHOWN_CLASSES = 10


def told(net: VariationalAutoencoder, labels: NDArray[np.int64] | None) -> Labels | None:
    """The labels as a conditional net is told them, on its device; None for a net that takes none."""
    if not net.classes or labels is None:
        return None
    return torch.from_numpy(labels).to(next(net.parameters()).device)


def draw_pictures(
    net: VariationalAutoencoder,
    watched: Watched,
    noise: Float[Tensor, "batch size"],
    prior_noise: Float[Tensor, "batch noise"],
    run: RunFolder,
    *,
    name: str,
) -> None:
    """Samples, pairs of image and reconstruction, and the latent space: its map, and its codes beside the prior.

    The aggregate posterior is one draw an image, from `noise`. Of two-dimensional latents the plane is decoded too;
    that of a conditional model would be another one for each class, and is left out.
    """
    label = told(net, watched.labels)
    posterior, prior = net.posterior(watched.image, label), net.prior.from_noise(prior_noise)
    mean, draws = posterior.central(), posterior.draw(noise[:, None]).latent[:, 0]
    draw_samples(net, prior_noise[:SHOWN], run, name=f"samples/{name}")
    decoded = net.decode(mean[:SHOWN], label if label is None else label[:SHOWN])
    pairs = torch.stack([watched.image[:SHOWN], decoded], dim=1)
    run.save_grid(f"reconstructions/{name}", as_pictures(pairs.flatten(0, 1)))
    run.save_picture("latent_map", draw_latent_map(as_points(mean), watched.labels, watched.classes))
    run.save_picture("aggregate_posterior", draw_codes_beside_prior(as_points(draws), as_points(prior)))
    if net.latent_size == 2 and label is None:
        device = watched.image.device
        plane = decoded_plane(lambda latents: as_pictures(net.decode(torch.from_numpy(latents).to(device))))
        run.save_picture("decoded_plane", plane)


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
    noise = prior_noise[:rows].repeat_interleave(columns, dim=0)
    run.save_picture(name, contact_sheet(as_pictures(net.sample(noise, label)), columns=columns))
