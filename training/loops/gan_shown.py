"""What one step of a GAN's training draws, and what its discriminator is shown of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from app.images.pixels import to_floats
from training.data.datasets import ImageSet
from training.gan.generator import Generator
from training.gan.joint_encoder import JointEncoder
from training.gan.pair_discriminator import pair_rows
from training.gan.views import add_instance_noise, augment, instance_noise_scale
from training.gan_sections import GanConfig
from training.loops.gan_training import PIXELS, GanTraining
from training.loops.schedule import precision
from training.nets.labels import Labels


class Batch(NamedTuple):
    """Images in [−1, 1] and, where the model may know it, the class of each."""

    image: Float[Tensor, "batch c h w"]
    label: Labels | None


@dataclass(frozen=True)
class StepDraws:
    """What one step draws, all from one generator: latents, and how the discriminator sees images."""

    settings: GanConfig
    progress: float
    generator: torch.Generator

    def latent(self, batch: int, device: torch.device) -> Float[Tensor, "batch latent"]:
        """Fresh latents."""
        return torch.randn(batch, self.settings.latent_size, generator=self.generator).to(device)

    def classes(self, real: Batch, generator: Generator) -> Labels | None:
        """The classes that images are generated of: those of the real ones, so that both kinds are as frequent.

        Where they are to be discovered, drawn evenly; None where the generator is told none.
        """
        if not generator.classes:
            return None
        if real.label is not None:
            return real.label
        drawn = torch.randint(generator.classes, (len(real.image),), generator=self.generator)
        return drawn.to(real.image.device)

    def labelled(self, count: int) -> Int64[np.ndarray, " few"]:
        """Which of the labelled pictures are looked at, drawn with replacement."""
        found: Int64[np.ndarray, " few"]
        found = torch.randint(count, (self.settings.labelled_batch,), generator=self.generator).numpy()
        return found

    def views(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """Images as they are shown: augmented and noisy where the configuration says so."""
        image = augment(image, self.settings.augment, self.generator)
        scale = instance_noise_scale(self.settings.instance_noise, self.progress, self.settings.instance_noise_share)
        return add_instance_noise(image, scale, self.generator) if scale > 0 else image


def real_batch(training: GanTraining, batch: ImageSet) -> Batch:
    image = torch.from_numpy(to_floats(batch.pictures, PIXELS)).to(training.device)
    if batch.labels is None or training.settings.condition in ("none", "discovered"):
        return Batch(image, None)
    return Batch(image, torch.from_numpy(batch.labels).to(training.device))


class Generated(NamedTuple):
    """Generated images, the classes that they were to be of, and their latents."""

    image: Float[Tensor, "batch c h w"]
    label: Labels | None
    latent: Float[Tensor, "batch latent"]


def generated(training: GanTraining, draws: StepDraws, real: Batch) -> Generated:
    """As many images as there are real ones."""
    latent = draws.latent(len(real.image), training.device)
    label = draws.classes(real, training.net.generator)
    with precision(training.config.optimiser, training.device):
        return Generated(training.net.generator(latent, label), label, latent)


class Shown(NamedTuple):
    """What the discriminator is to tell apart, and what the rest of the losses needs."""

    real: Tensor
    """Real images; with their encoder's latents; or draws of the prior."""
    fake: Tensor
    """Generated images; with their own latents; or the latents that an encoder gave real images."""
    real_label: Labels | None
    fake_label: Labels | None
    latent: Float[Tensor, "batch latent"]
    """Behind what was generated."""
    code: Float[Tensor, "batch latent"] | None = None
    """What the encoder said of the real images."""


def shown(training: GanTraining, draws: StepDraws, real: Batch) -> Shown:
    """Both sides of the game, differentiable in the nets that made them, in float32."""
    encoder = training.net.encoder
    if encoder is None:
        fake = generated(training, draws, real)
        return Shown(draws.views(real.image), draws.views(fake.image.float()), real.label, fake.label, fake.latent)
    noise = draws.latent(len(real.image), training.device)
    with precision(training.config.optimiser, training.device):
        code = encoder(real.image, noise)
    if training.settings.inference.kind == "adversarial_autoencoder":
        latent = draws.latent(len(code), training.device)
        return Shown(latent, code, None, None, latent, code)
    fake = generated(training, draws, real)
    seen, made = draws.views(real.image), draws.views(fake.image.float())
    return Shown(pair_rows(seen, code), pair_rows(made, fake.latent), None, None, fake.latent, code)


def judged(
    training: GanTraining,
    encoder: JointEncoder | None,
    real: Float[Tensor, "batch c h w"],
    fake: Float[Tensor, "batch c h w"],
    latent: Float[Tensor, "batch latent"],
) -> tuple[Tensor, Tensor]:
    """What the discriminator is shown outside training of real images and of those that latents were drawn as."""
    if encoder is None:
        return real, fake
    code = encoder.central(real)
    if training.settings.inference.kind == "adversarial_autoencoder":
        return latent, code
    return pair_rows(real, code), pair_rows(fake, latent)


def reconstructed(training: GanTraining, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
    """Images, encoded and drawn again by the averaged nets. Raises TypeError where there is no encoder."""
    if (encoder := training.published_encoder) is None:
        raise TypeError("this model has no encoder")
    again: Tensor = training.average.average(encoder.central(image))
    return again
