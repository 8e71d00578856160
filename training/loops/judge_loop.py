"""Training the classifier whose features generated pictures are measured in: about a minute of one CPU thread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from training.config import ConfigError
from training.data.batches import epoch_order, steps_per_epoch
from training.data.progress import progress
from training.data.splits import DataSplits, ImageSet
from training.nets.classifier import FeatureClassifier

AT_ONCE = 500


@dataclass(frozen=True)
class JudgeConfig:
    """How a judge is made. These defaults made the committed ones; another set of numbers is another judge."""

    channels: tuple[int, ...] = (16, 32, 64)
    features: int = 64
    """Few beside the pictures that a covariance is estimated from: the bias of a Fréchet distance grows with them."""
    least_steps: int = 2400
    """Small sets are seen as often as it takes to make so many steps."""
    least_epochs: int = 6
    batch_size: int = 128
    learning_rate: float = 4e-3
    seed: int = 0

    def epochs(self, images: int) -> int:
        """Passes over so many training pictures."""
        return max(self.least_epochs, -(-self.least_steps // self._steps(images)))

    def _steps(self, images: int) -> int:
        return steps_per_epoch(images, min(self.batch_size, images))


def train_judge(data: DataSplits, config: JudgeConfig) -> FeatureClassifier:
    """A classifier of the training pictures, its features scaled. Raises ConfigError where there are no classes."""
    if data.classes is None or data.train.labels is None:
        raise ConfigError(
            f"a judge is a classifier, and {data.name} has no classes: put pictures into class subfolders"
        )
    torch.manual_seed(config.seed)
    _, side, _, channels = data.train.pictures.shape
    net = FeatureClassifier(
        (channels, side, side), len(data.classes), channels=config.channels, features=config.features
    )
    _descend(net, data.train, config)
    net.eval().settle_scale(_answers(net, data.train.pictures)[1])
    return net


def error_share(net: FeatureClassifier, images: ImageSet) -> float:
    """The share of pictures whose largest logit is not their label's."""
    found = _answers(net, images.pictures)[0].argmax(dim=1).numpy()
    return float(np.mean(found != images.labels))


def _descend(net: FeatureClassifier, images: ImageSet, config: JudgeConfig) -> None:
    """Adam down the cross-entropy, its rate on one cycle (Smith & Topin 2018)."""
    count, batch = len(images), min(config.batch_size, len(images))
    epochs, steps = config.epochs(count), steps_per_epoch(count, batch)
    optimiser = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, config.learning_rate, total_steps=epochs * steps)
    labels = torch.from_numpy(images.labels)
    orders = (epoch_order(count, seed=config.seed, epoch=epoch)[: steps * batch] for epoch in range(epochs))
    batches = (chosen for order in orders for chosen in order.reshape(steps, batch))
    net.train()
    for chosen in progress(batches, total=epochs * steps, doing="training a judge"):
        loss = functional.cross_entropy(net(_tensor(images.pictures[chosen]))[0], labels[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()


@torch.no_grad()
def _answers(
    net: FeatureClassifier, pictures: UInt8[np.ndarray, "n h w c"]
) -> tuple[Float[Tensor, "n classes"], Float[Tensor, "n features"]]:
    parts = [net(_tensor(pictures[start : start + AT_ONCE])) for start in range(0, len(pictures), AT_ONCE)]
    return torch.cat([logits for logits, _ in parts]), torch.cat([features for _, features in parts])


def _tensor(pictures: UInt8[np.ndarray, "n h w c"]) -> Float[Tensor, "n c h w"]:
    return torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255)
