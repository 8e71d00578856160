"""How a denoising autoencoder's input is spoilt (Vincent et al. 2010, section 3.3)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from training.config import CorruptionConfig

Images = Float[Tensor, "batch c h w"]


def gaussian(image: Images, scale: float, generator: torch.Generator) -> Images:
    """Every number plus scale · N(0, 1); what leaves [0, 1] stays outside."""
    return image + scale * torch.randn(image.shape, generator=generator)


def masking(image: Images, share: float, generator: torch.Generator) -> Images:
    """Each pixel black with probability `share`, in all its channels."""
    return image * (_one_a_pixel(image, generator) >= share)


def salt_and_pepper(image: Images, share: float, generator: torch.Generator) -> Images:
    """Each pixel, with probability `share`, white or black at the toss of a coin."""
    draw = _one_a_pixel(image, generator)
    return torch.where(draw < share, (draw < share / 2).to(image.dtype), image)


def corrupt(image: Images, config: CorruptionConfig, generator: torch.Generator) -> Images:
    """The images, pixels in [0, 1], as the encoder meets them in training; image and generator on the CPU."""
    match config.kind:
        case "none":
            return image
        case "gaussian":
            return gaussian(image, config.scale, generator)
        case "masking":
            return masking(image, config.share, generator)
        case "salt_and_pepper":
            return salt_and_pepper(image, config.share, generator)


def _one_a_pixel(image: Images, generator: torch.Generator) -> Float[Tensor, "batch 1 h w"]:
    return torch.rand(len(image), 1, *image.shape[2:], generator=generator)
