"""The pictures of an autoencoder's run: reconstructions, and what its latent space looks like."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from training.autoencoder.model import Autoencoder
from training.evaluation.latent_map import draw_codes_beside_prior, draw_latent_map
from training.loops.run_folder import RunFolder
from training.loops.watched import SHOWN, Watched, as_pictures, as_points


def draw_pictures(
    net: Autoencoder, watched: Watched, seen: Float[Tensor, "batch c h w"], run: RunFolder, *, name: str
) -> None:
    """Images, what the encoder `seen` of them where that is not the same, and reconstructions; the map of the codes."""
    columns = [watched.image, net.decode(net.encode(seen))]
    if not torch.equal(seen, watched.image):
        columns.insert(1, seen)
    shown = torch.stack([column[:SHOWN] for column in columns], dim=1)
    run.save_grid(f"reconstructions/{name}", as_pictures(shown.flatten(0, 1)), columns=4 * len(columns))
    codes = as_points(net.encode(watched.image))
    run.save_picture("latent_map", draw_latent_map(codes, watched.labels, watched.classes))
    run.save_picture("aggregate_posterior", draw_codes_beside_prior(codes, None))
