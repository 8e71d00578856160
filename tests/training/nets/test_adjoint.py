"""Every written-out adjoint against autograd, in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from training.gan.generator import ConvolutionalGenerator
from training.nets.adjoint import NoAdjoint, linearise
from training.nets.convolutional import ConvolutionalDecoder, ResidualBlock
from training.nets.dense import DenseDecoder

PICTURE = (2, 5, 7)
LAYERS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.Linear(6, 4), (6,)),
    (nn.Linear(6, 4, bias=False), (6,)),
    (nn.Conv2d(2, 3, 3, padding=1), PICTURE),
    (nn.Conv2d(2, 3, (3, 2), stride=(2, 3), padding=(1, 0)), PICTURE),
    (nn.Conv2d(2, 4, 3, dilation=2, groups=2, bias=False), PICTURE),
    (nn.ConvTranspose2d(2, 3, 4, stride=2, padding=1), PICTURE),
    (nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1, groups=2), PICTURE),
    (nn.ReLU(), PICTURE),
    (nn.LeakyReLU(0.1), PICTURE),
    (nn.Tanh(), PICTURE),
    (nn.Sigmoid(), PICTURE),
    (nn.Upsample(scale_factor=3), PICTURE),
    (nn.Flatten(), PICTURE),
    (nn.Unflatten(1, (2, 3)), (6,)),
    (nn.BatchNorm2d(2), PICTURE),
    (nn.BatchNorm2d(2, affine=False), PICTURE),
    (ResidualBlock(2), PICTURE),
    (ResidualBlock(2, dropout=0.5).eval(), PICTURE),
    (nn.Sequential(nn.Conv2d(2, 3, 3), nn.LeakyReLU(0.2), nn.Sequential(nn.Flatten(), nn.Linear(45, 2))), PICTURE),
    (DenseDecoder((1, 4, 4), (8, 5), 3), (3,)),
    (ConvolutionalDecoder((3, 9, 9), (4, 6), 1, 3), (3,)),
    (ConvolutionalGenerator(12, 3, 5, 2, batch_norm=True), (5,)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda part: type(part).__name__)
def test_value_and_adjoint_are_those_of_autograd(layer: nn.Module, shape: tuple[int, ...]) -> None:
    layer, x = _settled(layer), torch.randn(3, *shape, dtype=torch.float64, requires_grad=True)
    wanted = layer(x)
    cotangent = torch.randn_like(wanted)
    value, pullback = linearise(layer, x)
    assert_close(value, wanted)
    assert_close(pullback(cotangent), torch.autograd.grad(wanted, x, cotangent)[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("layer", "shape"), [LAYERS[3], LAYERS[-2]], ids=["strided convolution", "decoder"])
def test_adjoint_is_the_transpose_of_the_derivative(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """⟨c, J v⟩ = ⟨Jᵀ c, v⟩, with J v from central differences: no autograd on either side."""
    layer, step = _settled(layer), 1e-6
    x, direction = torch.randn(2, 3, *shape, dtype=torch.float64)
    pushed = (layer(x + step * direction) - layer(x - step * direction)) / (2 * step)
    cotangent = torch.randn_like(pushed)
    assert_close(
        (cotangent * pushed).sum(), (linearise(layer, x).pullback(cotangent) * direction).sum(), rtol=1e-6, atol=1e-8
    )


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.Softmax(dim=1), "the adjoint of Softmax is not known"),
        (nn.Sequential(nn.ReLU(), nn.GELU()), "the adjoint of GELU is not known"),
        (nn.BatchNorm2d(2).train(), "BatchNorm2d is known in evaluation only"),
        (nn.Conv2d(2, 2, 3, padding="same"), "Conv2d is known for a number of zeros"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "Conv2d is known for a number of zeros"),
        (nn.Upsample(scale_factor=2, mode="bilinear"), 'Upsample is known for mode "nearest"'),
        (nn.Upsample(scale_factor=1.5), 'Upsample is known for mode "nearest"'),
    ],
)
def test_layer_without_a_known_adjoint_is_refused_by_name(layer: nn.Module, said: str) -> None:
    with pytest.raises(NoAdjoint, match=said):
        linearise(layer, torch.zeros(1, 2, 5, 5))


def _settled(layer: nn.Module) -> nn.Module:
    """Every weight and statistic other than what it starts as."""
    torch.manual_seed(0)
    layer = layer.double().eval()
    with torch.no_grad():
        for tensor in [*layer.parameters(), *(buffer for buffer in layer.buffers() if buffer.is_floating_point())]:
            tensor.add_(0.3 * torch.rand_like(tensor))
    return layer
