"""Discriminators: image, and of some conditional models its class → how real it looks, as a logit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from training.gan.initialisation import initialise
from training.gan.pyramid import pyramid
from training.gan_sections import Condition
from training.nets.dense import ImageShape
from training.nets.labels import LabelPicture, Labels

LEAK = 0.2
"""Slope of the leaky ReLU below zero (Radford et al. 2016, section 3)."""

Images = Float[Tensor, "batch channels side side"]


class Conditioning(NamedTuple):
    """What classes have to do with the discriminator, and how many there are."""

    kind: Condition = "none"
    classes: int = 0


class Verdict(NamedTuple):
    """Of each image: the logit that it is real and, by an auxiliary classifier, those of its class."""

    logit: Float[Tensor, " batch"]
    class_logits: Float[Tensor, "batch classes"] | None


class Discriminator(nn.Module, ABC):
    """Features of an image, and a linear logit of them.

    Classes come in by one of three ways: `concatenation` shows the class beside the image, as one more channel with a
    learned picture of it (Mirza & Osindero 2014); `projection` adds ⟨v_y, features⟩ to the logit, with a learned vector
    of each class (Miyato & Koyama 2018, equation 3); `auxiliary` is told nothing and has to find out the class, by a
    second linear layer (Odena et al. 2017).
    """

    def __init__(self, features: int, image_side: int, conditioning: Conditioning) -> None:
        super().__init__()
        kind, classes = conditioning
        self.is_told = kind in ("concatenation", "projection")
        self.label_picture = LabelPicture(classes, image_side, image_side) if kind == "concatenation" else None
        self.label_vector = nn.Embedding(classes, features) if kind == "projection" else None
        self.to_class = nn.Linear(features, classes) if kind == "auxiliary" else None
        self.to_logit = nn.Sequential(nn.Flatten(), nn.Linear(features, 1), nn.Flatten(0))

    @abstractmethod
    def body(self, image: Images) -> Tensor:
        """The features of an image, of any shape."""

    def features(self, image: Images, label: Labels | None = None) -> Float[Tensor, "batch features"]:
        """What the logits are linear in. Raises ValueError where a label is missing, or is one too many."""
        if (label is None) == self.is_told:
            raise ValueError("this discriminator needs labels" if label is None else "it takes no labels")
        if self.label_picture is not None:
            image = torch.cat([image, self.label_picture(label)], dim=1)
        return self.body(image).flatten(start_dim=1)

    def verdict(self, image: Images, label: Labels | None = None) -> Verdict:
        """All that there is to say of images in [−1, 1]."""
        features = self.features(image, label)
        logit = self.to_logit(features)
        if self.label_vector is not None:
            logit = logit + (self.label_vector(label) * features).sum(dim=1)
        return Verdict(logit, None if self.to_class is None else self.to_class(features))

    def forward(self, image: Images, label: Labels | None = None) -> Float[Tensor, " batch"]:
        """The logit of each image in [−1, 1]: the odds, on a log scale, that it is real."""
        return self.verdict(image, label).logit

    def bound_spectral_norm(self) -> None:
        """Divide every weight by a running estimate of its largest singular value (Miyato et al. 2018).

        To be called once the weights are initialised: the estimates start from them.
        """
        for layer in [*self.modules()]:
            if isinstance(layer, nn.Linear | nn.Conv2d | nn.Embedding):
                parametrizations.spectral_norm(layer)


class ConvolutionalDiscriminator(Discriminator):
    """Halve the side by strided convolutions, leaky ReLU, no pooling, then one linear logit (Radford et al. 2016).

    Batch norm, where wanted, follows every convolution but the first.
    """

    def __init__(
        self,
        image_size: int,
        image_channels: int,
        channels: int,
        *,
        conditioning: Conditioning = Conditioning(),  # noqa: B008  immutable
        batch_norm: bool = False,
        spectral_norm: bool = False,
    ) -> None:
        """`channels` is the width at half the image's side; ValueError for a side that cannot be halved to 4 … 7."""
        base, widths = pyramid(image_size, channels)
        super().__init__(widths[0] * base * base, image_size, conditioning)
        fine_to_coarse = widths[::-1]
        shown = image_channels + (conditioning.kind == "concatenation")
        self.halvings = nn.Sequential(
            _halving(shown, fine_to_coarse[0], batch_norm=False),
            *(_halving(fine, coarse, batch_norm=batch_norm) for fine, coarse in pairwise(fine_to_coarse)),
        )
        initialise(self)
        if spectral_norm:
            self.bound_spectral_norm()

    def body(self, image: Images) -> Float[Tensor, "batch wide base base"]:
        """The coarsest feature map."""
        features: Tensor = self.halvings(image)
        return features


class DenseDiscriminator(Discriminator):
    """Linear layers with leaky ReLU, mirrored in the generator."""

    def __init__(
        self,
        image_shape: ImageShape,
        hidden: Sequence[int],
        *,
        conditioning: Conditioning = Conditioning(),  # noqa: B008  immutable
        spectral_norm: bool = False,
    ) -> None:
        """`hidden` are widths from the image inwards."""
        super().__init__(hidden[-1], image_shape[1], conditioning)
        channels, height, width = image_shape
        shown = (channels + (conditioning.kind == "concatenation")) * height * width
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise([shown, *hidden]):
            layers += [nn.Linear(before, after), nn.LeakyReLU(LEAK)]
        self.layers = nn.Sequential(*layers)
        if spectral_norm:
            self.bound_spectral_norm()

    def body(self, image: Images) -> Float[Tensor, "batch features"]:
        """The last hidden layer."""
        features: Tensor = self.layers(image)
        return features


def _halving(fine: int, coarse: int, *, batch_norm: bool) -> nn.Sequential:
    convolution = nn.Conv2d(fine, coarse, kernel_size=4, stride=2, padding=1, bias=not batch_norm)
    norm = [nn.BatchNorm2d(coarse)] if batch_norm else []
    return nn.Sequential(convolution, *norm, nn.LeakyReLU(LEAK))
