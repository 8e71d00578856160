"""Batch norms become part of the layer before them: outside of training they are a scale and a shift of each channel.

ONNX exporters do that too, but after the weights were rounded: what they fold is no longer what float16 holds.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights


def fold_batch_norms(net: nn.Module) -> None:
    """Fold in place what follows a linear layer or a convolution in an `nn.Sequential`; `net` is in evaluation mode.

    The same map, up to rounding: W' = W · γ / √(σ² + ε), b' = (b − μ) · γ / √(σ² + ε) + β (Ioffe & Szegedy 2015,
    section 3.1).
    """
    for stack in [module for module in net.modules() if isinstance(module, nn.Sequential)]:
        layers = list(stack.children())
        for place, (before, norm) in enumerate(pairwise(layers), start=1):
            if isinstance(norm, nn.BatchNorm2d) and _fold(before, layers[:place], norm):
                stack[place] = nn.Identity()


def _fold(before: nn.Module, earlier: list[nn.Module], norm: nn.BatchNorm2d) -> bool:
    """Whether a norm could be folded into the layer before it, or before the reshape before it."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return False
    statistics = (mean, variance, norm.eps, norm.weight, norm.bias)
    match before:
        case nn.Conv2d() | nn.ConvTranspose2d():
            transposed = isinstance(before, nn.ConvTranspose2d)
            if transposed and before.groups > 1:
                return False
            before.weight, before.bias = fuse_conv_bn_weights(before.weight, before.bias, *statistics, transposed)
            return True
        case nn.Unflatten(dim=1) if len(earlier) > 1 and isinstance(linear := earlier[-2], nn.Linear):
            spread = linear.out_features // norm.num_features  # numbers of a channel, one after another
            of_each = (_repeated(number, spread) for number in (mean, variance, norm.weight, norm.bias))
            means, variances, scales, shifts = of_each
            linear.weight, linear.bias = fuse_linear_bn_weights(
                linear.weight, linear.bias, means, variances, norm.eps, scales, shifts
            )
            return True
        case _:
            return False


def _repeated(numbers: torch.Tensor, times: int) -> torch.Tensor:
    return numbers.detach().repeat_interleave(times)
