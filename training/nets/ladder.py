"""Nets of a ladder: features of the image at every resolution on the way up, layers of latents on the way down.

The way down is one path that the generative model and the inference share. A layer looks at the state that the layers
above left, says how its latents are distributed, and adds its draw to the state (Kingma et al. 2016, section 4; Vahdat
& Kautz 2020, figure 2). The state is a sum, so what an upper layer said reaches the picture past the layers below it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.nets.convolutional import SLOPE, ResidualBlock, residual_stack, sides, upsample
from training.nets.dense import ImageShape

LARGEST_LOG = 5.0
"""Of a log scale, approached softly as 5 · tanh(x / 5) (Vahdat & Kautz 2020): no scale leaves e⁻⁵ … e⁵."""

Choose = Callable[[int, "LadderLayer", Tensor], Tensor]
"""The latents (N, D of the layer) of a layer, by its number from the top, in a state (N, C, S, S)."""

Walk = Callable[[int, Choose], tuple[Tensor, Tensor]]
"""`LadderDecoder.walk`."""


class LadderEncoder(nn.Module):
    """Image (B, C, S, S) to features at every halving of the side, outermost first."""

    def __init__(self, image_shape: ImageShape, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        entries = [nn.Conv2d(image_shape[0], channels[0], 5, stride=2, padding=2)]
        entries += [nn.Conv2d(before, after, 3, stride=2, padding=1) for before, after in pairwise(channels)]
        self.steps = nn.ModuleList(
            nn.Sequential(entry, residual_stack(width, blocks)) for entry, width in zip(entries, channels, strict=True)
        )

    def forward(self, image: Float[Tensor, "batch c h w"]) -> list[Float[Tensor, "batch c h w"]]:
        """The features at each resolution."""
        found = []
        for step in self.steps:
            image = step(image)
            found.append(image)
        return found


class LadderLayer(nn.Module):
    """One layer of latents: maps of `latent_channels` at one resolution, flattened to the outside.

    Layers say means and log scales as two flat tensors (N, D of the layer). The posterior speaks in units of the prior:
    where its shift and log ratio are 0, the two agree (Vahdat & Kautz 2020, section 3.2).
    """

    def __init__(self, level: int, channels: int, latent_channels: int, blocks: int, side: int, *, top: bool) -> None:
        super().__init__()
        self.level = level
        self.map = (latent_channels, side, side)
        self.size = latent_channels * side**2
        self.arrive: nn.Module = nn.Identity()
        self.prior_head = None if top else _starting_at_zero(nn.Conv2d(channels, 2 * latent_channels, 3, padding=1))
        self.of_features = nn.Conv2d(channels, channels, 3, padding=1)
        self.of_state = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.posterior_head = nn.Conv2d(channels, 2 * latent_channels, 3, padding=1)
        self.add = nn.Conv2d(latent_channels, channels, 3, padding=1)
        self.body = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))

    def prior(self, state: Float[Tensor, "n c s s"]) -> tuple[Tensor, Tensor]:
        """Mean and log scale of p(z of this layer | z above); of the top layer, whose prior is another's, zeros."""
        if self.prior_head is None:
            nothing = state.new_zeros(state.shape[0], self.size, dtype=torch.float32)
            return nothing, nothing
        return _mean_and_log_scale(self.prior_head(nn.functional.leaky_relu(state, SLOPE)))

    def seen(self, features: Float[Tensor, "batch c s s"]) -> Float[Tensor, "batch c s s"]:
        """What the posterior takes from the image: the same for all of its draws."""
        seen: Tensor = self.of_features(features)
        return seen

    def posterior(self, state: Float[Tensor, "n c s s"], seen: Float[Tensor, "n c s s"]) -> tuple[Tensor, Tensor]:
        """Shift and log ratio: q(z | z above, x) = N(mean + scale · shift, (scale · ratio)²), mean and scale p's."""
        both = nn.functional.leaky_relu(seen + self.of_state(state), SLOPE)
        return _mean_and_log_scale(self.posterior_head(both))

    def merge(self, state: Float[Tensor, "n c s s"], latent: Float[Tensor, "n size"]) -> Float[Tensor, "n c s s"]:
        """The state with this layer's latents added."""
        added: Tensor = self.add(latent.unflatten(1, self.map))
        merged: Tensor = self.body(state.to(added.dtype) + added)
        return merged


class LadderDecoder(nn.Module):
    """Flat latents (N, D), the top layer's first, to an unbounded picture (N, C, S, S)."""

    def __init__(
        self,
        image_shape: ImageShape,
        channels: Sequence[int],
        blocks: int,
        layers: Sequence[int],
        latent_channels: Sequence[int],
    ) -> None:
        """`layers` and `latent_channels` for each halving of the side, outermost first, as `channels`."""
        super().__init__()
        places = sides(image_shape[1], len(channels))
        self.start = nn.Parameter(torch.zeros(channels[-1], places[-1], places[-1]))
        found: list[LadderLayer] = []
        way: list[nn.Module] = []  # from the last layer to the next, through resolutions that may have none
        for level in reversed(range(len(channels))):
            side = places[level + 1]
            for _ in range(layers[level]):
                top = not found
                found.append(LadderLayer(level, channels[level], latent_channels[level], blocks, side, top=top))
                found[-1].arrive, way = nn.Sequential(*way), []
            outer = channels[level - 1] if level else image_shape[0]
            way += [
                residual_stack(channels[level], 0 if layers[level] and level else blocks),
                upsample(channels[level], outer, to_side=places[level], wide=not level),
            ]
        self.layers = nn.ModuleList(found)
        self.last = nn.Sequential(*way)
        self.sizes = [layer.size for layer in found]
        """Numbers in each layer, the top first."""

    def walk(self, rows: int, choose: Choose) -> tuple[Float[Tensor, "n size"], Float[Tensor, "n c s s"]]:
        """Down from the top with the latents that `choose` picks for each layer: all of them, and the last state."""
        state = self.start.expand(rows, -1, -1, -1)
        chosen = []
        for number, module in enumerate(self.layers):
            layer = cast(LadderLayer, module)
            state = layer.arrive(state)
            chosen.append(choose(number, layer, state))
            state = layer.merge(state, chosen[-1])
        return torch.cat(chosen, dim=1), state

    def picture(self, state: Float[Tensor, "n c s s"]) -> Float[Tensor, "n c h w"]:
        """The likelihood's parameters after the last layer."""
        picture: Tensor = self.last(state)
        return picture

    def forward(self, latent: Float[Tensor, "n size"]) -> Float[Tensor, "n c h w"]:
        """The likelihood's parameters for given latents."""
        parts = latent.split(self.sizes, dim=1)
        return self.picture(self.walk(latent.shape[0], lambda number, *_: parts[number])[1])


def _mean_and_log_scale(maps: Float[Tensor, "n twice s s"]) -> tuple[Tensor, Tensor]:
    """In single precision, so that the densities are; the second softly bounded."""
    mean, log_scale = maps.float().flatten(start_dim=1).chunk(2, dim=1)
    return mean, LARGEST_LOG * torch.tanh(log_scale / LARGEST_LOG)


def _starting_at_zero(layer: nn.Conv2d) -> nn.Conv2d:
    """So that every layer's prior starts as a standard normal."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer
