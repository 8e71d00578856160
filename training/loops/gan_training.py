"""The state of a GAN's training between two steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from app.manifest import PixelRange
from training.config import OptimiserConfig, RunConfig
from training.gan.discriminator import Discriminator
from training.gan.generator import Generator
from training.gan.joint_encoder import JointEncoder
from training.gan.model import GenerativeAdversarialNetwork
from training.gan_sections import GanConfig
from training.loops.averaging import WeightAverage
from training.loops.checkpoint import Checkpoint
from training.loops.memory_layout import keep_channels_last
from training.probability.agreement import EvenClasses

PIXELS = PixelRange(low=-1.0, high=1.0)


@dataclass
class GanTraining:
    """The state of a run: its nets, their averages, an optimiser each, and how many steps are behind them.

    The discriminator is averaged where it is what the run is for: a classifier that learns from few labels.
    """

    config: RunConfig
    settings: GanConfig
    device: torch.device
    net: GenerativeAdversarialNetwork
    average: WeightAverage[Generator]
    generator_optimiser: torch.optim.Adam
    discriminator_optimiser: torch.optim.Adam
    discriminator_average: WeightAverage[Discriminator] | None = None
    encoder_average: WeightAverage[JointEncoder] | None = None
    even_classes: EvenClasses | None = None
    step: int = 0
    train_seconds: float = 0.0

    @classmethod
    def start(cls, config: RunConfig, device: torch.device, *, classes: int = 0) -> GanTraining:
        """A fresh run on data of so many classes: weights drawn from the run's seed."""
        settings, optimiser = config.model, config.optimiser
        if not isinstance(settings, GanConfig):
            raise TypeError(f"this loop trains GANs, the configuration describes a {settings.family}")
        torch.manual_seed(config.seed)
        net = GenerativeAdversarialNetwork.from_config(settings, config.data, classes=classes)
        net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        keep_channels_last(net)
        return cls(
            config,
            settings,
            device,
            net,
            WeightAverage(net.generator, optimiser.average_decay),
            _adam(net.drawing, optimiser),
            _adam(net.discriminator, optimiser),
            WeightAverage(net.discriminator, optimiser.average_decay) if settings.learns_from_few_labels else None,
            None if net.encoder is None else WeightAverage(net.encoder, optimiser.average_decay),
            _even_classes(net, settings, device),
        )

    @property
    def generator_steps(self) -> int:
        """Updates of the generator so far."""
        return self.step // self.settings.objective.discriminator_steps

    def checkpoint(self) -> Checkpoint:
        """Everything that the next step depends on."""
        return {
            "step": self.step,
            "train_seconds": self.train_seconds,
            "net": self.net.state_dict(),
            "average": self.average.average.state_dict(),
            "generator_optimiser": self.generator_optimiser.state_dict(),
            "discriminator_optimiser": self.discriminator_optimiser.state_dict(),
            "discriminator_average": self.published_discriminator.state_dict() if self.discriminator_average else None,
            "encoder_average": self.encoder_average.average.state_dict() if self.encoder_average else None,
            "said_shares": self.even_classes.shares if self.even_classes else None,
        }

    def average_drawing(self) -> None:
        """Take the generator, and the encoder where there is one, into their averages after an update."""
        self.average.update(self.net.generator, self.generator_steps - 1)
        if self.encoder_average is not None and self.net.encoder is not None:
            self.encoder_average.update(self.net.encoder, self.generator_steps - 1)

    def restore(self, state: Checkpoint) -> None:
        """Go on where `checkpoint` left off."""
        self.step = state["step"]
        self.train_seconds = state["train_seconds"]
        self.net.load_state_dict(state["net"])
        self.average.average.load_state_dict(state["average"])
        self.generator_optimiser.load_state_dict(state["generator_optimiser"])
        self.discriminator_optimiser.load_state_dict(state["discriminator_optimiser"])
        if self.discriminator_average is not None:
            self.discriminator_average.average.load_state_dict(state["discriminator_average"])
        if self.encoder_average is not None:
            self.encoder_average.average.load_state_dict(state["encoder_average"])
        if self.even_classes is not None:
            self.even_classes.shares = state["said_shares"]

    @property
    def published_encoder(self) -> JointEncoder | None:
        """The averaged encoder, where there is one."""
        return None if self.encoder_average is None else self.encoder_average.average

    @property
    def published_discriminator(self) -> Discriminator:
        """The averaged discriminator where there is one, or else itself."""
        return self.net.discriminator if self.discriminator_average is None else self.discriminator_average.average

    def averaged(self) -> GenerativeAdversarialNetwork:
        """What is published: the averaged nets and the discriminator, all as they answer outside training."""
        return GenerativeAdversarialNetwork(
            self.average.average, self.published_discriminator, self.published_encoder
        ).eval()

    def weights_to_publish(self, *, averaged: bool) -> Checkpoint:
        """Those of `averaged`, or with the generator and the encoder as they are now, while the nets go on training."""
        players = {
            "generator": self.average.average if averaged else self.net.generator,
            "discriminator": self.published_discriminator,
            "encoder": self.published_encoder if averaged else self.net.encoder,
        }
        return {
            f"{player}.{name}": weight
            for player, net in players.items()
            if net is not None
            for name, weight in net.state_dict().items()
        }


def _adam(player: nn.Module, optimiser: OptimiserConfig) -> torch.optim.Adam:
    """Fused: one kernel for all weights, which on small nets saves some per cent of the whole step."""
    return torch.optim.Adam(player.parameters(), lr=optimiser.learning_rate, betas=optimiser.betas, fused=True)


def _even_classes(net: GenerativeAdversarialNetwork, settings: GanConfig, device: torch.device) -> EvenClasses | None:
    if settings.teaching is None or not settings.teaching.even_classes:
        return None
    assert net.discriminator.to_class is not None  # what is taught is a classifier
    return EvenClasses(net.discriminator.to_class.out_features, device)
