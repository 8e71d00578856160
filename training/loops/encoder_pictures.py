"""What an encoder that was fitted to a generator makes of pictures."""

from __future__ import annotations

import numpy as np
import torch

from app.images.pixels import to_bytes
from training.data.splits import ImageSet
from training.gan.generator import Generator
from training.gan.inference import Encoder
from training.loops.encoder_fit import as_told
from training.loops.gan_training import PIXELS
from training.loops.run_folder import RunFolder

SHOWN, COLUMNS = 32, 8


@torch.no_grad()
def draw_reconstructions(generator: Generator, encoder: Encoder, images: ImageSet, run: RunFolder) -> None:
    """Draw the first pictures, each followed by what the generator makes of its latent, in its class if it has one."""
    shown = images.take(np.arange(min(SHOWN, len(images))))
    image, label = as_told(shown, generator)
    again = to_bytes(generator(encoder(image, label).mean, label).numpy(), PIXELS)
    pairs = np.stack([shown.pictures, again], axis=1).reshape(-1, *again.shape[1:])
    run.save_grid("samples/encoder", pictures=pairs, columns=COLUMNS)
