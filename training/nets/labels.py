"""What the nets of a conditional model are told: the label as a picture for the encoder, one-hot for the decoder."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

Labels = Int64[Tensor, " batch"]
"""The index of each image's class."""


class LabelPicture(nn.Module):
    """A learned picture a class: one more channel for whichever encoder reads the image.

    It is the one-hot label through a linear layer (Kingma et al. 2014, section 4.4, join it to the pixels), so that
    dense and convolutional encoders are told alike. Blank at first.
    """

    def __init__(self, classes: int, height: int, width: int) -> None:
        super().__init__()
        self.classes = classes
        self.side = (height, width)
        self.pictures = nn.Parameter(torch.zeros(classes, height * width))

    def forward(self, label: Labels) -> Float[Tensor, "batch 1 h w"]:
        """The picture of each label."""
        picture: Tensor = (one_hot(label, self.classes) @ self.pictures).unflatten(1, (1, *self.side))
        return picture


def of_each_draw(label: Labels | None, draws: int) -> Labels | None:
    """The label of each row of (B, K, …) tensors once their first two axes are one; None stays None."""
    return None if label is None else label[:, None].expand(-1, draws).flatten()


def of_domain(
    images: Float[Tensor, "batch domains*channels h w"], label: Labels, domains: int
) -> Float[Tensor, "batch channels h w"]:
    """Of images in several domains, their channels one domain after another, that of the label."""
    chosen: Tensor = (images.unflatten(1, (domains, -1)) * _columns(label, domains)).sum(dim=1)
    return chosen


def in_domain(
    image: Float[Tensor, "batch channels h w"], label: Labels, domains: int
) -> Float[Tensor, "batch domains*channels h w"]:
    """The image in the channels of its domain, 0 in those of the others: the transpose of `of_domain`."""
    return (image[:, None] * _columns(label, domains)).flatten(1, 2)


def _columns(label: Labels, domains: int) -> Float[Tensor, "batch domains 1 1 1"]:
    return one_hot(label, domains)[:, :, None, None, None]


def one_hot(label: Labels, classes: int) -> Float[Tensor, "batch classes"]:
    """1 at the label, 0 elsewhere."""
    return (label[:, None] == torch.arange(classes, device=label.device)).float()
