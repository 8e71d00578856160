"""Discriminators of images: image, and of some conditional models its class → how real it looks, as a logit."""

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
from training.nets.labels import LabelPicture, Labels, in_domain

LEAK = 0.2
"""Slope of the leaky ReLU below zero (Radford et al. 2016, section 3)."""

Seen = Float[Tensor, "batch *shape"]
"""Images (batch, channels, side, side) in [−1, 1], or rows of whatever else is judged."""


class Conditioning(NamedTuple):
    """What classes have to do with the discriminator, and how many there are."""

    kind: Condition = "none"
    classes: int = 0
    codes: int = 0
    """Leading numbers of the latent that are to be found again."""

    def shown(self, image_channels: int) -> int:
        """How many channels the first layer reads."""
        if self.kind == "coupled":
            return image_channels * self.classes
        return image_channels + (self.kind == "concatenation")


class Verdict(NamedTuple):
    """Of each image: the logit that it is real, the features behind it and, where they are asked for, the logits of its
    class and what the latent's codes are thought to be.
    """

    logit: Float[Tensor, " batch"]
    features: Float[Tensor, "batch features"]
    class_logits: Float[Tensor, "batch classes"] | None
    codes: Float[Tensor, "batch codes"] | None


class Discriminator(nn.Module, ABC):
    """Features of an image, and a linear logit of them.

    Classes come in by one of these ways:

    - `concatenation` shows the class beside the image, as one more channel with a learned picture of it (Mirza &
      Osindero 2014);
    - `coupled` has first layers of its own for each class, all after them being shared (Liu & Tuzel 2016, section 3);
    - `projection` adds ⟨v_y, features⟩ to the logit, with a learned vector of each class (Miyato & Koyama 2018,
      equation 3);
    - `auxiliary` and `discovered` are told nothing and have to find out the class by a second linear layer, and the
      latter the latent's codes by a third (Odena et al. 2017; Chen et al. 2016);
    - `semi_supervised` has logits l of the classes alone, and log Σ exp l says how real an image looks: that of a class
      more, which is that of generated images, is held at 0 (Salimans et al. 2016, section 5).
    """

    def __init__(
        self,
        features: int,
        image_side: int = 0,
        conditioning: Conditioning = Conditioning(),  # noqa: B008  immutable
    ) -> None:
        super().__init__()
        kind, classes, codes = conditioning
        self.is_told = kind in ("concatenation", "projection", "coupled")
        self.domains = classes if kind == "coupled" else 0
        self.label_picture = LabelPicture(classes, image_side, image_side) if kind == "concatenation" else None
        self.label_vector = nn.Embedding(classes, features) if kind == "projection" else None
        finds_out = kind in ("auxiliary", "discovered", "semi_supervised")
        self.to_class = nn.Linear(features, classes) if finds_out else None
        self.to_code = nn.Linear(features, codes) if codes else None
        one_of_classes = kind == "semi_supervised"
        self.to_logit = None if one_of_classes else _linear_logit(features)

    @abstractmethod
    def body(self, image: Seen) -> Tensor:
        """The features of an image, of any shape."""

    def features(self, image: Seen, label: Labels | None = None) -> Float[Tensor, "batch features"]:
        """What the logits are linear in. Raises ValueError where a label is missing, or is one too many."""
        if (label is None) == self.is_told:
            raise ValueError("this discriminator needs labels" if label is None else "it takes no labels")
        if self.label_picture is not None:
            image = torch.cat([image, self.label_picture(label)], dim=1)
        if self.domains and label is not None:
            image = in_domain(image, label, self.domains)
        return self.body(image).flatten(start_dim=1)

    def verdict(self, image: Seen, label: Labels | None = None) -> Verdict:
        """All that there is to say of images in [−1, 1]."""
        features = self.features(image, label)
        class_logits = None if self.to_class is None else self.to_class(features)
        codes = None if self.to_code is None else self.to_code(features)
        return Verdict(self._logit(features, class_logits, label), features, class_logits, codes)

    def _logit(self, features: Tensor, class_logits: Tensor | None, label: Labels | None) -> Float[Tensor, " batch"]:
        if self.to_logit is None:
            assert class_logits is not None  # one of both there is
            return torch.logsumexp(class_logits.float(), dim=1)
        logit: Tensor = self.to_logit(features)
        if self.label_vector is not None:
            logit = logit + (self.label_vector(label) * features).sum(dim=1)
        return logit

    def forward(self, image: Seen, label: Labels | None = None) -> Float[Tensor, " batch"]:
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

    Batch norm, where wanted, follows every convolution but the first; `hidden` puts a layer of that width before the
    logits, whose features are then not of places in the image.
    """

    def __init__(
        self,
        image_size: int,
        image_channels: int,
        channels: int,
        *,
        hidden: int | None = None,
        conditioning: Conditioning = Conditioning(),  # noqa: B008  immutable
        batch_norm: bool = False,
        spectral_norm: bool = False,
    ) -> None:
        """`channels` is the width at half the image's side; ValueError for a side that cannot be halved to 4 … 7."""
        base, widths = pyramid(image_size, channels)
        coarsest = widths[0] * base * base
        super().__init__(hidden or coarsest, image_size, conditioning)
        fine_to_coarse = widths[::-1]
        shown = conditioning.shown(image_channels)
        self.halvings = halvings(shown, fine_to_coarse, batch_norm=batch_norm)
        self.of_places = nn.Sequential(nn.Flatten(), *leaky_stack([coarsest, hidden])) if hidden else nn.Identity()
        initialise(self)
        if spectral_norm:
            self.bound_spectral_norm()

    def body(self, image: Seen) -> Float[Tensor, "batch *features"]:
        """The coarsest feature map, or the layer after it."""
        features: Tensor = self.of_places(self.halvings(image))
        return features


class DenseDiscriminator(Discriminator):
    """Linear layers with leaky ReLU, mirrored in the generator.

    In training, noise of this standard deviation is added to what every layer reads (Salimans et al. 2016), from
    PyTorch's own generator.
    """

    def __init__(
        self,
        image_shape: ImageShape,
        hidden: Sequence[int],
        *,
        conditioning: Conditioning = Conditioning(),  # noqa: B008  immutable
        spectral_norm: bool = False,
        noise: float = 0.0,
    ) -> None:
        """`hidden` are widths from the image inwards."""
        super().__init__(hidden[-1], image_shape[1], conditioning)
        channels, height, width = image_shape
        shown = conditioning.shown(channels) * height * width
        self.layers = nn.Sequential(nn.Flatten(), *leaky_stack([shown, *hidden], noise))
        if spectral_norm:
            self.bound_spectral_norm()

    def body(self, image: Seen) -> Float[Tensor, "batch features"]:
        """The last hidden layer."""
        features: Tensor = self.layers(image)
        return features


class Noise(nn.Module):
    """N(0, scale²) on every number, in training alone."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """x with noise; x itself outside training."""
        return x + self.scale * torch.randn_like(x) if self.training else x


def halvings(image_channels: int, fine_to_coarse: Sequence[int], *, batch_norm: bool) -> nn.Sequential:
    """Strided convolutions with leaky ReLU and, but for the first, batch norm where it is wanted."""
    return nn.Sequential(
        _halving(image_channels, fine_to_coarse[0], batch_norm=False),
        *(_halving(fine, coarse, batch_norm=batch_norm) for fine, coarse in pairwise(fine_to_coarse)),
    )


def leaky_stack(widths: Sequence[int], noise: float = 0.0) -> list[nn.Module]:
    """Linear layers with leaky ReLU, each reading what came before with noise of this scale in training."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [*([Noise(noise)] if noise else []), nn.Linear(before, after), nn.LeakyReLU(LEAK)]
    return layers


def _linear_logit(features: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 1), nn.Flatten(0))


def _halving(fine: int, coarse: int, *, batch_norm: bool) -> nn.Sequential:
    convolution = nn.Conv2d(fine, coarse, kernel_size=4, stride=2, padding=1, bias=not batch_norm)
    norm = [nn.BatchNorm2d(coarse)] if batch_norm else []
    return nn.Sequential(convolution, *norm, nn.LeakyReLU(LEAK))
