"""GANs trained as the popular collections train them: the plain reference of `benchmarks.references`.

Eager float32, one Adam for each player, a constant learning rate, the last weights. What PyTorch-GAN (Linder-Norén,
`implementations/{dcgan,lsgan,wgan_gp,acgan}`) and Keras-GAN (the same author) agree on is kept: batches, where
PyTorch-GAN's are of 64 and Keras-GAN's of 32, of 64; Adam with a learning rate of 2e-4 and betas 0.5 and 0.999; the
generator's step before the discriminator's, which then sees the same samples; sums of losses halved as there; the
Wasserstein critic's five steps for each of the generator's, and λ = 10. Keras-GAN trains WGAN-GP by RMSprop with 5e-5
instead, a fortieth of the way in so short a time: the reference has PyTorch-GAN's Adam.

The nets are those of our recipe, as wide and with as many latents. Discriminators have batch norm where PyTorch-GAN's
have it, which is everywhere but in the critic; neither spectral norm nor dropout. Mistakes are not repeated: no softmax
before the cross-entropy and no sigmoid before a loss of logits, no batch norm in the critic (Keras-GAN), a penalty of
each image's whole gradient with one interpolation an image, and samples without a graph where only the critic learns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from benchmarks.trainers.timed import Stopwatch, Trained
from training.config import RunConfig
from training.data.splits import DataSplits
from training.gan.discriminator import Discriminator
from training.gan.generator import Generator
from training.gan.model import GenerativeAdversarialNetwork
from training.gan_sections import GanConfig

BATCH_SIZE = 64
LEARNING_RATE = 2e-4
BETAS = (0.5, 0.999)
CRITIC_STEPS = 5
PENALTY_WEIGHT = 10.0


@dataclass
class Players:
    """Both nets and an optimiser each."""

    generator: Generator
    discriminator: Discriminator
    latent_size: int

    def __post_init__(self) -> None:
        self.generator_optimiser = torch.optim.Adam(self.generator.parameters(), lr=LEARNING_RATE, betas=BETAS)
        self.discriminator_optimiser = torch.optim.Adam(self.discriminator.parameters(), lr=LEARNING_RATE, betas=BETAS)

    @classmethod
    def of(cls, config: RunConfig, classes: int, *, batch_norm: bool) -> Players:
        """The recipe's nets, without spectral norm, and with batch norm in the discriminator or not."""
        settings = config.model
        if not isinstance(settings, GanConfig):
            raise TypeError(f"this is the reference of GANs, not of a {settings.family}")
        plain = settings.model_copy(update={"spectral_norm": False, "discriminator_batch_norm": batch_norm})
        net = GenerativeAdversarialNetwork.from_config(plain, config.data, classes=classes)
        return cls(net.generator, net.discriminator, settings.latent_size)

    def noise(self, count: int) -> Tensor:
        """Latents (count, D)."""
        return torch.randn(count, self.latent_size)


def train_reference(recipe: str, config: RunConfig, data: DataSplits, seconds: float) -> Trained:
    """Train for so many seconds of this process' time on the processor; the last generator."""
    torch.manual_seed(config.seed)
    players = Players.of(config, len(data.classes or ()), batch_norm=recipe != "wgan_gp")
    images = torch.from_numpy(data.train.pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    labels = torch.from_numpy(data.train.labels)
    steps, watch = 0, Stopwatch(seconds)
    for chosen in _batches(len(images)):
        if watch.share >= 1:
            break
        real = images[chosen]
        match recipe:
            case "dcgan" | "lsgan":
                _plain_step(players, real, binary_cross_entropy_with_logits if recipe == "dcgan" else mse_loss)
            case "acgan":
                _auxiliary_step(players, real, labels[chosen])
            case "wgan_gp":
                _critic_step(players, real)
                if (steps + 1) % CRITIC_STEPS == 0:
                    _wasserstein_generator_step(players, len(real))
            case _:
                raise ValueError(f"there is no reference of {recipe}")
        steps += 1
    net, cpu_s, wall_s = players, watch.cpu_s, watch.wall_s
    return Trained(net.generator.eval(), net.discriminator.eval(), steps, steps * BATCH_SIZE, cpu_s, wall_s)


def _batches(count: int) -> Iterator[Tensor]:
    """Whole batches of a new order each epoch, without end."""
    while True:
        order = torch.randperm(count)
        yield from order[: count - count % BATCH_SIZE].split(BATCH_SIZE)


def _plain_step(players: Players, real: Tensor, loss) -> None:  # noqa: ANN001  a loss of logits and targets
    """DCGAN by cross-entropy, LSGAN by squares: targets 1 for real images and 0 for samples."""
    valid, wrong = torch.ones(len(real)), torch.zeros(len(real))
    fake = players.generator(players.noise(len(real)))
    _descend(players.generator_optimiser, loss(players.discriminator(fake), valid))
    of_real = loss(players.discriminator(real), valid)
    of_fake = loss(players.discriminator(fake.detach()), wrong)
    _descend(players.discriminator_optimiser, (of_real + of_fake) / 2)


def _auxiliary_step(players: Players, real: Tensor, label: Tensor) -> None:
    """ACGAN: half the game's cross-entropy and half that of the class, of samples of random classes too."""
    valid, wrong = torch.ones(len(real)), torch.zeros(len(real))
    asked = torch.randint(players.generator.classes, (len(real),))
    fake = players.generator(players.noise(len(real)), asked)
    _descend(players.generator_optimiser, _both_losses(players, fake, valid, asked))
    of_real = _both_losses(players, real, valid, label)
    of_fake = _both_losses(players, fake.detach(), wrong, asked)
    _descend(players.discriminator_optimiser, (of_real + of_fake) / 2)


def _both_losses(players: Players, image: Tensor, target: Tensor, label: Tensor) -> Tensor:
    said = players.discriminator.verdict(image)
    return (binary_cross_entropy_with_logits(said.logit, target) + cross_entropy(said.class_logits, label)) / 2


def _critic_step(players: Players, real: Tensor) -> None:
    """WGAN-GP: the critic's loss and ten times (‖∇D‖ − 1)² between real images and samples."""
    critic = players.discriminator
    with torch.no_grad():
        fake = players.generator(players.noise(len(real)))
    share = torch.rand(len(real), 1, 1, 1)
    between = (share * real + (1 - share) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
    loss = critic(fake).mean() - critic(real).mean() + PENALTY_WEIGHT * penalty
    _descend(players.discriminator_optimiser, loss)


def _wasserstein_generator_step(players: Players, count: int) -> None:
    fake = players.generator(players.noise(count))
    _descend(players.generator_optimiser, -players.discriminator(fake).mean())


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
