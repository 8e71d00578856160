"""What the discriminator is shown of images in [−1, 1]: views and noise, of real and generated ones alike.

Every draw comes from a given generator, on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from training.gan_sections import Augmentation

Images = Float[Tensor, "batch c h w"]

TRANSLATION_SHARE = 1 / 8
CUTOUT_SHARE = 1 / 2


def augment(image: Images, kinds: Sequence[Augmentation], draw: torch.Generator) -> Images:
    """DiffAugment (Zhao et al. 2020): each image changed by draws of its own, differentiably.

    Trained on views alone, real and generated, the generator learns images and not views. Nothing is mirrored.
    """
    for kind in kinds:
        match kind:
            case "colour":
                image = _colour(image, draw)
            case "translation":
                image = _translated(image, draw)
            case "cutout":
                image = _cut_out(image, draw)
    return image


def add_instance_noise(image: Images, scale: float, draw: torch.Generator) -> Images:
    """N(0, scale²) added to every pixel (Sønderby et al. 2017; Arjovsky & Bottou 2017): densities then overlap."""
    return image + scale * torch.randn(image.shape, generator=draw).to(image.device)


def instance_noise_scale(start: float, progress: float, share: float) -> float:
    """The scale after this `progress` in [0, 1] of the run: falls linearly to 0 over its first `share`."""
    return start * max(0.0, 1 - progress / share)


def _colour(image: Images, draw: torch.Generator) -> Images:
    """Brightness moved by up to ½, saturation scaled by up to 2, contrast by ½ to 1½; the paper's bounds on [−1, 1]."""
    brightness, saturation, contrast = _uniform(image, 3, draw).unbind(dim=1)
    image = image + (brightness - 0.5)
    grey = image.mean(dim=1, keepdim=True)
    image = grey + 2 * saturation * (image - grey)
    level = image.mean(dim=(1, 2, 3), keepdim=True)
    return level + (contrast + 0.5) * (image - level)


def _translated(image: Images, draw: torch.Generator) -> Images:
    """Moved by whole pixels, up to an eighth of the side; what comes in is 0, as in the paper."""
    side = image.shape[-1]
    most = round(side * TRANSLATION_SHARE)
    moved = torch.randint(-most, most + 1, (2, len(image), 1), generator=draw).to(image.device)
    position = torch.arange(side, device=image.device) + most
    rows, columns = position + moved[0], position + moved[1]  # (B, side), within the padded image
    padded = functional.pad(image, [most] * 4).permute(0, 2, 3, 1)
    batch = torch.arange(len(image), device=image.device)[:, None, None]
    return padded[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cut_out(image: Images, draw: torch.Generator) -> Images:
    """A square of half the side set to 0, anywhere, also half outside."""
    side = image.shape[-1]
    half = round(side * CUTOUT_SHARE) / 2
    centre = torch.randint(0, side + 1, (2, len(image), 1), generator=draw).to(image.device)
    position = torch.arange(side, device=image.device) + 0.5
    inside = (position - centre).abs() < half  # (2, B, side)
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return image.masked_fill(hole, 0.0)


def _uniform(image: Images, count: int, draw: torch.Generator) -> Float[Tensor, "batch count 1 1 1"]:
    return torch.rand(len(image), count, 1, 1, 1, generator=draw).to(image.device)
