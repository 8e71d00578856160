from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from training.nets.convolutional import ConvolutionalDecoder, ConvolutionalEncoder, ResidualBlock, sides
from training.nets.dense import DenseDecoder, DenseEncoder


@pytest.mark.parametrize(
    ("side", "halvings", "found"), [(28, 3, [28, 14, 7, 4]), (32, 2, [32, 16, 8]), (9, 4, [9, 5, 3, 2, 1])]
)
def test_sides_halve_rounding_up(side: int, halvings: int, found: list[int]) -> None:
    assert sides(side, halvings) == found


@pytest.mark.parametrize("side", [8, 9, 28, 30, 31, 32])
@pytest.mark.parametrize("channels", [(4,), (4, 6, 8), (2, 3, 4, 5, 6)])
@pytest.mark.parametrize("colours", [1, 3])
def test_convolutional_nets_fit_any_side(side: int, channels: tuple[int, ...], colours: int) -> None:
    shape = (colours, side, side)
    assert ConvolutionalEncoder(shape, channels, 1, 7)(torch.rand(2, *shape)).shape == (2, 7)
    assert ConvolutionalDecoder(shape, channels, 1, 5)(torch.randn(2, 5)).shape == (2, *shape)


def test_every_pixel_reaches_the_features_and_every_pixel_is_painted() -> None:
    image = torch.rand(1, 1, 28, 28, requires_grad=True)
    ConvolutionalEncoder((1, 28, 28), (4, 6, 8), 1, 3)(image).sum().backward()
    assert image.grad is not None
    assert (image.grad != 0).all()
    decoder = ConvolutionalDecoder((1, 28, 28), (4, 6, 8), 1, 3)
    one, other = decoder(torch.randn(2, 3))
    assert (one != other).all()


def test_residual_block_starts_as_the_identity() -> None:
    x = torch.randn(2, 4, 5, 5)
    assert_close(ResidualBlock(4)(x), x)


def test_dropout_leaves_numbers_out_while_training_and_none_afterwards() -> None:
    torch.manual_seed(0)
    x, plain, thinned = torch.randn(1, 4, 50, 50), ResidualBlock(4), ResidualBlock(4, dropout=0.25)
    for one, other in zip(plain.parameters(), thinned.parameters(), strict=True):
        one.data.normal_()
        other.data.copy_(one)
    (kept,) = [part for part in thinned.body if isinstance(part, torch.nn.Dropout)]
    ones = torch.ones(100, 100)
    assert abs(float((kept(ones) == 0).float().mean()) - 0.25) < 0.02
    assert (thinned(x) != plain(x)).any()
    assert_close(thinned.eval()(x), plain(x))


def test_residual_blocks_are_counted() -> None:
    counts = [
        sum(isinstance(part, ResidualBlock) for part in ConvolutionalEncoder((1, 8, 8), (2, 3), blocks, 4).modules())
        for blocks in (0, 1, 3)
    ]
    assert counts == [0, 2, 6]


def test_dense_nets_mirror_each_other() -> None:
    encoder, decoder = DenseEncoder((3, 8, 8), (32, 16), 4), DenseDecoder((3, 8, 8), (32, 16), 2)
    assert _widths(encoder) == [(192, 32), (32, 16), (16, 4)]
    assert _widths(decoder) == [(2, 16), (16, 32), (32, 192)]
    assert decoder(encoder(torch.rand(5, 3, 8, 8))[:, :2]).shape == (5, 3, 8, 8)


def _widths(net: torch.nn.Module) -> list[tuple[int, int]]:
    return [(part.in_features, part.out_features) for part in net.modules() if isinstance(part, torch.nn.Linear)]
