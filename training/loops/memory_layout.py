"""Keeps the feature maps of a convolutional GAN in the layout that its convolutions are fastest in.

Weights in channels-last order make a convolution answer in that order. Two places fall back, where maps meet rows of
numbers: the generator's first map, unflattened from a row, and the gradient of the discriminator's last map, which is
made from one. Whatever follows then works on a mixture of layouts, at a fraction of its speed. The hooks copy both into
order. They change no number by more than its rounding, and nothing of them is in a checkpoint.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.gan.discriminator import ConvolutionalDiscriminator
from training.gan.generator import ConvolutionalGenerator
from training.gan.model import GenerativeAdversarialNetwork


def keep_channels_last(net: GenerativeAdversarialNetwork) -> None:
    """Add the hooks to a net whose weights are in channels-last order; dense nets are left alone."""
    if isinstance(net.generator, ConvolutionalGenerator):
        for layer in net.generator.projection:
            if isinstance(layer, nn.Unflatten):
                layer.register_forward_hook(_reorder_output)
    if isinstance(net.discriminator, ConvolutionalDiscriminator):
        net.discriminator.halvings.register_forward_hook(_reorder_gradient)


def _reorder_output(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.contiguous(memory_format=torch.channels_last)


def _reorder_gradient(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))
