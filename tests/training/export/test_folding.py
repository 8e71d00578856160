"""Batch norms folded into the layer before them: the same map, and one that float16 keeps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from training.export.folding import fold_batch_norms
from training.export.graphs import ready
from training.export.storage import SMALLEST_HALVED
from training.gan.discriminator import ConvolutionalDiscriminator
from training.gan.generator import ConvolutionalGenerator


def _lived(net: nn.Module) -> nn.Module:
    """A net whose batch norms have seen something, and learned something."""
    noise = torch.Generator().manual_seed(1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for numbers in (module.weight, module.bias, module.running_mean, module.running_var):
                assert numbers is not None
                numbers.data = torch.rand(numbers.shape, generator=noise) + 0.5
    return net.eval()


def _batch_norms(net: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())


def test_generator_draws_the_same_without_its_batch_norms() -> None:
    generator = _lived(ConvolutionalGenerator(16, 3, 5, 8, classes=2))
    folded = copy.deepcopy(generator)
    fold_batch_norms(folded)
    latent, label = torch.randn(4, 5), torch.tensor([0, 1, 1, 0])
    assert (_batch_norms(generator), _batch_norms(folded)) == (2, 0)
    assert_close(folded(latent, label), generator(latent, label), atol=1e-5, rtol=1e-5)


def test_discriminator_says_the_same_without_its_batch_norms() -> None:
    discriminator = _lived(ConvolutionalDiscriminator(32, 1, 8, batch_norm=True))
    folded = copy.deepcopy(discriminator)
    fold_batch_norms(folded)
    image = torch.rand(4, 1, 32, 32)
    assert _batch_norms(discriminator) > 0
    assert _batch_norms(folded) == 0
    assert_close(folded(image), discriminator(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "stack",
    [
        nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3)),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
        nn.Sequential(nn.ConvTranspose2d(4, 4, 3, groups=2), nn.BatchNorm2d(4)),
    ],
)
def test_norm_that_follows_no_such_layer_stays(stack: nn.Sequential) -> None:
    before = copy.deepcopy(stack.eval())
    fold_batch_norms(stack)
    image = torch.rand(2, 4, 6, 6)
    assert _batch_norms(stack) == 1
    assert torch.equal(stack(image), before(image))


def test_what_is_exported_is_folded_and_rounded() -> None:
    generator = ready(_lived(ConvolutionalGenerator(28, 1, 16, 32)))
    large = [weight for weight in generator.parameters() if weight.numel() >= SMALLEST_HALVED]
    assert _batch_norms(generator) == 0
    assert large
    assert all(torch.equal(weight, weight.half().float()) for weight in large)
