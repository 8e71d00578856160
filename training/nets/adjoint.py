"""The adjoints of nets, written out: what autograd does, from operators that ONNX has.

Neither `torch.autograd` nor `torch.func.vjp` exports. Here each kind of layer says in one function what it computes and
how a cotangent of its output becomes one of its input: a map that is linear in the cotangent, the transpose of the
layer's Jacobian (Griewank & Walther 2008, section 3.2). A further kind is a further function and a line in `linearise`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from training.nets.convolutional import ResidualBlock

Pullback = Callable[[Tensor], Tensor]
"""A cotangent of the value, of its shape, as a cotangent of the input, of the input's shape."""


class NoAdjoint(TypeError):
    """A layer, or a setting of it, whose adjoint is not written down; the message names it."""


class Linearised(NamedTuple):
    """What a layer computes at a point, and its transposed derivative there."""

    value: Tensor
    pullback: Pullback


@runtime_checkable
class Chained(Protocol):
    """A net that is its parts one after another."""

    def chain(self) -> Iterable[nn.Module]:
        """The parts, first to last."""


def linearise(layer: nn.Module, x: Float[Tensor, "batch *shape"]) -> Linearised:  # noqa: PLR0911, PLR0912  a kind each
    """The layer's value at x, and its adjoint there. Raises NoAdjoint where that is not known."""
    match layer:
        case nn.Linear():
            return _linear(layer, x)
        case nn.Conv2d():
            return _convolution(layer, x)
        case nn.ConvTranspose2d():
            return _transposed_convolution(layer, x)
        case nn.BatchNorm2d():
            return _batch_norm(layer, x)
        case nn.ReLU():
            return _rectifier(x, 0.0)
        case nn.LeakyReLU():
            return _rectifier(x, layer.negative_slope)
        case nn.Tanh():
            return tanh(x)
        case nn.Sigmoid():
            return sigmoid(x)
        case nn.Upsample():
            return _upsampling(layer, x)
        case nn.Flatten() | nn.Unflatten():
            return _reshaping(layer, x)
        case nn.Identity():
            return Linearised(x, lambda cotangent: cotangent)
        case nn.Dropout() if not layer.training:
            return Linearised(x, lambda cotangent: cotangent)
        case ResidualBlock():
            return _residual(layer.body, x)
        case nn.Sequential():
            return _in_turn(layer, x)
        case Chained():
            return _in_turn(layer.chain(), x)
        case _:
            raise NoAdjoint(f"the adjoint of {_name(layer)} is not known: add it to training/nets/adjoint.py")


def tanh(x: Tensor) -> Linearised:
    """tanh' = 1 − tanh²."""
    y = torch.tanh(x)
    return Linearised(y, lambda cotangent: cotangent * (1 - y * y))


def sigmoid(x: Tensor) -> Linearised:
    """sigmoid' = sigmoid · (1 − sigmoid)."""
    y = torch.sigmoid(x)
    return Linearised(y, lambda cotangent: cotangent * (y * (1 - y)))


def _linear(layer: nn.Linear, x: Tensor) -> Linearised:
    """y = W x + b: the transpose of W, the very same tensor, so that a graph holds it once."""
    return Linearised(layer(x), lambda cotangent: cotangent @ layer.weight)


def _convolution(layer: nn.Conv2d, x: Tensor) -> Linearised:
    """Transposed by the transposed convolution with the same weight (Dumoulin & Visin 2016, section 4)."""
    padding = _plain_padding(layer)
    y = layer(x)
    # Input rows and columns that the last stride did not reach have to be there again.
    left_over = [
        size - ((out - 1) * stride - 2 * pad + dilation * (kernel - 1) + 1)
        for size, out, stride, pad, dilation, kernel in zip(
            x.shape[2:], y.shape[2:], layer.stride, padding, layer.dilation, layer.kernel_size, strict=True
        )
    ]

    def pullback(cotangent: Tensor) -> Tensor:
        return functional.conv_transpose2d(
            cotangent,
            layer.weight,
            stride=layer.stride,
            padding=padding,
            output_padding=left_over,
            groups=layer.groups,
            dilation=layer.dilation,
        )

    return Linearised(y, pullback)


def _transposed_convolution(layer: nn.ConvTranspose2d, x: Tensor) -> Linearised:
    """Transposed by the convolution with the same weight."""
    padding = _plain_padding(layer)

    def pullback(cotangent: Tensor) -> Tensor:
        return functional.conv2d(
            cotangent,
            layer.weight,
            stride=layer.stride,
            padding=padding,
            groups=layer.groups,
            dilation=layer.dilation,
        )

    return Linearised(layer(x), pullback)


def _batch_norm(layer: nn.BatchNorm2d, x: Tensor) -> Linearised:
    """By running statistics: a scale and a shift of each channel."""
    if layer.training or layer.running_var is None:
        raise NoAdjoint(
            "the adjoint of BatchNorm2d is known in evaluation only, where rows do not depend on each other"
        )
    scale = torch.rsqrt(layer.running_var + layer.eps)
    if layer.affine:
        scale = scale * layer.weight
    return Linearised(layer(x), lambda cotangent: cotangent * scale[:, None, None])


def _rectifier(x: Tensor, slope: float) -> Linearised:
    """max(x, slope · x), with the derivative `slope` at zero, as in PyTorch."""
    positive = x > 0

    def pullback(cotangent: Tensor) -> Tensor:
        return torch.where(positive, cotangent, slope * cotangent)

    return Linearised(torch.where(positive, x, slope * x), pullback)


def _upsampling(layer: nn.Upsample, x: Tensor) -> Linearised:
    """Every pixel repeated in a square: the adjoint adds the square up."""
    factor = layer.scale_factor
    if layer.mode != "nearest" or not isinstance(factor, int | float) or factor != int(factor):
        raise NoAdjoint(f'the adjoint of {_name(layer)} is known for mode "nearest" and a whole scale_factor only')
    side = int(factor)
    return Linearised(layer(x), lambda cotangent: functional.avg_pool2d(cotangent, side) * side**2)


def _reshaping(layer: nn.Flatten | nn.Unflatten, x: Tensor) -> Linearised:
    shape = x.shape[1:]
    return Linearised(layer(x), lambda cotangent: cotangent.reshape(-1, *shape))


def _residual(body: nn.Module, x: Tensor) -> Linearised:
    """x + body(x): cotangents add up where values branch."""
    y, pullback = linearise(body, x)
    return Linearised(x + y, lambda cotangent: cotangent + pullback(cotangent))


def _in_turn(layers: Iterable[nn.Module], x: Tensor) -> Linearised:
    """The chain rule: pullbacks in reverse order."""
    pullbacks: list[Pullback] = []
    for layer in layers:
        x, pullback = linearise(layer, x)
        pullbacks.append(pullback)

    def through_all(cotangent: Tensor) -> Tensor:
        for pullback in reversed(pullbacks):
            cotangent = pullback(cotangent)
        return cotangent

    return Linearised(x, through_all)


def _plain_padding(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[int, int]:
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise NoAdjoint(f"the adjoint of {_name(layer)} is known for a number of zeros as padding only")
    height, width = layer.padding
    return height, width


def _name(layer: nn.Module) -> str:
    return type(layer).__name__
