"""Trains pythae's VAE with pythae's trainer: `python pythae_vae.py RECIPE.json`, in an environment that holds pythae.

The nets are those of our recipe, wrapped in pythae's classes. Writes the weights, and prints how long training took.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig

from training.nets.convolutional import ConvolutionalDecoder, ConvolutionalEncoder

SHAPE = (1, 28, 28)


class Encoder(BaseEncoder):
    """Our net; its features are the mean and the log variance."""

    def __init__(self, recipe: dict) -> None:
        super().__init__()
        self.net = ConvolutionalEncoder(SHAPE, recipe["channels"], recipe["residual_blocks"], 2 * recipe["latent_size"])

    def forward(self, x: torch.Tensor) -> ModelOutput:
        """pythae's form of an encoder's answer."""
        mean, log_variance = self.net(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_variance)


class Decoder(BaseDecoder):
    """Our net, whose logits pythae wants as probabilities."""

    def __init__(self, recipe: dict) -> None:
        super().__init__()
        self.net = ConvolutionalDecoder(SHAPE, recipe["channels"], recipe["residual_blocks"], recipe["latent_size"])

    def forward(self, z: torch.Tensor) -> ModelOutput:
        """pythae's form of a decoder's answer."""
        return ModelOutput(reconstruction=torch.sigmoid(self.net(z)))


def main() -> None:
    """Train as told."""
    recipe = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(recipe["threads"])
    torch.manual_seed(recipe["seed"])
    pictures = torch.from_numpy(np.load(recipe["pictures"]).astype(np.float32))  # (N, 1, 28, 28), 0 and 1
    config = VAEConfig(input_dim=SHAPE, latent_dim=recipe["latent_size"], reconstruction_loss="bce")
    model = VAE(config, encoder=Encoder(recipe), decoder=Decoder(recipe))
    training = BaseTrainerConfig(
        output_dir=recipe["output"],
        num_epochs=recipe["epochs"],
        learning_rate=recipe["learning_rate"],
        per_device_train_batch_size=recipe["batch_size"],
        seed=recipe["seed"],
        no_cuda=True,
    )
    trainer = BaseTrainer(model, BaseDataset(pictures, torch.zeros(len(pictures))), training_config=training)
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    nets = {"encoder": model.encoder.net.state_dict(), "decoder": model.decoder.net.state_dict()}
    torch.save(nets, recipe["weights"])
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
