"""What made examples are worth: a small classifier trained on them, beside one trained on as many real pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import nn
from torch.nn import functional

from training.config import ConfigError
from training.data.batches import epoch_order
from training.data.few_labels import balanced_choice
from training.data.splits import DataSplits, ImageSet
from training.nets.convolutional import ConvolutionalEncoder

Labels = Int64[np.ndarray, " n"]

CHANNELS = (16, 32)
STEPS = 1500
BATCH = 64
LEARNING_RATE = 2e-3
AT_ONCE = 500


@dataclass(frozen=True)
class Comparison:
    """The error on real test pictures, in percent, of the same classifier after different examples."""

    count: int
    made: float
    real: float
    both: float

    def __str__(self) -> str:
        lines = [
            f"a small convolutional classifier on real test pictures, {STEPS:,} steps of {BATCH} each:",
            f"  trained on {self.count:,} made pictures: {self.made:.2f} % wrong",
            f"  trained on {self.count:,} real pictures: {self.real:.2f} % wrong",
            f"  trained on both: {self.both:.2f} % wrong",
        ]
        return "\n".join(lines)


def compare(made: ImageSet, data: DataSplits, *, seed: int) -> Comparison:
    """Train on `made`, on as many real training pictures with balanced classes, and on both; test on real ones."""
    if data.train.labels is None or made.labels is None or data.test.labels is None:
        raise ConfigError(f"a comparison needs classes, and {data.name} has none")
    if len(made) > len(data.train):
        raise ConfigError(
            f"{data.name} has {len(data.train):,} training pictures to compare with {len(made):,} made ones"
        )
    real = data.train.take(balanced_choice(data.train.labels, len(made), seed=seed))
    both = ImageSet(np.concatenate([made.pictures, real.pictures]), _joined(made, real))
    errors = [error_percent(train_classifier(images, seed=seed), data.test) for images in (made, real, both)]
    return Comparison(len(made), *errors)


def train_classifier(images: ImageSet, *, seed: int) -> nn.Module:
    """A convolutional net after a fixed number of steps of Adam: more pictures are no more steps."""
    if images.labels is None:
        raise ConfigError("a classifier needs labels")
    torch.manual_seed(seed)
    _, side, _, channels = images.pictures.shape
    net = ConvolutionalEncoder((channels, side, side), CHANNELS, 0, int(images.labels.max()) + 1)
    optimiser = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    labels = torch.from_numpy(images.labels)
    for chosen in _batches(len(images), seed):
        loss = functional.cross_entropy(net(_tensor(images.pictures[chosen])), labels[chosen])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def error_percent(net: nn.Module, images: ImageSet) -> float:
    """The share of pictures whose largest logit is not their label's, in percent."""
    starts = range(0, len(images), AT_ONCE)
    found = [net(_tensor(images.pictures[start : start + AT_ONCE])).argmax(dim=1).numpy() for start in starts]
    return 100 * float(np.mean(np.concatenate(found) != images.labels))


def _batches(count: int, seed: int) -> list[Int64[np.ndarray, " batch"]]:
    size = min(BATCH, count)
    epochs = -(-STEPS * size // (count - count % size))
    orders = [epoch_order(count, seed=seed, epoch=epoch)[: count - count % size] for epoch in range(epochs)]
    return list(np.concatenate(orders)[: STEPS * size].reshape(STEPS, size))


def _tensor(pictures: UInt8[np.ndarray, "n h w c"]) -> torch.Tensor:
    return torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def _joined(made: ImageSet, real: ImageSet) -> Labels:
    labels = [images.labels for images in (made, real) if images.labels is not None]
    return np.concatenate(labels)
