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


def one_hot(label: Labels, classes: int) -> Float[Tensor, "batch classes"]:
    """1 at the label, 0 elsewhere."""
    return (label[:, None] == torch.arange(classes, device=label.device)).float()
