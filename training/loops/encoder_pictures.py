"""What an encoder that was fitted to a generator makes of pictures."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from app.images.pixels import to_bytes
from training.gan.inference import Encoder
from training.loops.encoder_fit import Pictures, images_of
from training.loops.gan_training import PIXELS
from training.loops.run_folder import RunFolder

SHOWN, COLUMNS = 32, 8


@torch.no_grad()
def draw_reconstructions(generator: nn.Module, encoder: Encoder, pictures: Pictures, run: RunFolder) -> None:
    """Draw the first pictures, each followed by what the generator makes of its latent."""
    shown = pictures[:SHOWN]
    again = to_bytes(generator(encoder(images_of(shown)).mean).numpy(), PIXELS)
    pairs = np.stack([shown, again], axis=1).reshape(-1, *shown.shape[1:])
    run.save_grid("samples/encoder", pictures=pairs, columns=COLUMNS)
