"""Random views of a picture that leave its class alone: small shifts, rotations, shears, changes of size, gaps."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from training.sections import ViewsConfig

Images = Float[Tensor, "batch c h w"]


def class_views(image: Images, views: ViewsConfig, generator: torch.Generator) -> Images:
    """A view of each image, within a configuration's bounds."""
    moved = affine_views(
        image,
        generator,
        shift_pixels=views.shift_pixels,
        rotation_degrees=views.rotation_degrees,
        shear=views.shear,
        stretch=views.stretch,
    )
    return erased(moved, generator, views.erased) if views.erased else moved


def affine_views(
    image: Images,
    generator: torch.Generator,
    *,
    shift_pixels: float,
    rotation_degrees: float,
    shear: float,
    stretch: float,
) -> Images:
    """Each image under an affine map of its own, read bilinearly; what comes in from outside is 0.

    Shifts along both axes, the angle and the shear (in heights) are uniform within ± their bounds; both sides are
    stretched by one factor within 1 ± `stretch`. Pixels stay in [0, 1].
    """
    count, side = len(image), image.shape[-1]
    uniform = 2 * torch.rand(count, 5, generator=generator) - 1
    angle = uniform[:, 0] * math.radians(rotation_degrees)
    size, slant = 1 + stretch * uniform[:, 1], shear * uniform[:, 2]
    cosine, sine = torch.cos(angle), torch.sin(angle)
    moved = uniform[:, 3:] * (2 * shift_pixels / side)  # in units of half the picture
    rows = torch.stack(
        [size * cosine, slant - size * sine, moved[:, 0], size * sine, size * cosine, moved[:, 1]], dim=1
    )
    grid = functional.affine_grid(rows.unflatten(1, (2, 3)).to(image.device), list(image.shape), align_corners=False)
    return functional.grid_sample(image, grid, align_corners=False)


def erased(image: Images, generator: torch.Generator, share: float) -> Images:
    """Each image with a square of 0, by chance as large as `share` of its side, somewhere (DeVries & Taylor 2017).

    Its centre is uniform over the image and its side uniform below that, so that it may stand out at the border.
    """
    count, side = len(image), image.shape[-1]
    uniform = torch.rand(count, 3, generator=generator).to(image.device)
    reach = uniform[:, :1] * (share * side / 2)
    places = torch.arange(side, device=image.device) + 0.5
    rows, columns = ((places - uniform[:, axis : axis + 1] * side).abs() < reach for axis in (1, 2))
    return image.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)
