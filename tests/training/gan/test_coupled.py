"""Coupled generators and discriminators: what is shared between domains, and what is not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from training.config import DataConfig
from training.gan.model import GenerativeAdversarialNetwork
from training.gan_sections import GanConfig

DOMAINS, LATENT = 2, 5
NETS = pytest.mark.parametrize("nets", ["convolutional", "dense"])


def _model(nets: str, channels: int = 1) -> GenerativeAdversarialNetwork:
    torch.manual_seed(0)
    config = GanConfig.model_validate(
        {
            "family": "gan",
            "nets": nets,
            "latent_size": LATENT,
            "hidden": [12, 10],
            "generator_channels": 4,
            "discriminator_channels": 4,
            "condition": "coupled",
            "generator_batch_norm": False,
            "discriminator_batch_norm": False,
        }
    )
    data = DataConfig.model_validate({"set": "digits", "size": 8, "channels": channels})
    return GenerativeAdversarialNetwork.from_config(config, data, classes=DOMAINS)


@NETS
@pytest.mark.parametrize("channels", [1, 3])
def test_label_chooses_the_domain_row_by_row(nets: str, channels: int) -> None:
    model, latent = _model(nets, channels), torch.randn(4, LATENT)
    zeros, ones = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
    mixed = torch.tensor([0, 1, 1, 0])
    in_each = torch.stack([model.generator(latent, label) for label in (zeros, ones)])
    assert in_each.shape == (2, 4, channels, 8, 8)
    torch.testing.assert_close(model.generator(latent, mixed), in_each[mixed, torch.arange(4)])
    logits = torch.stack([model.discriminator(in_each[0], label) for label in (zeros, ones)])
    torch.testing.assert_close(model.discriminator(in_each[0], mixed), logits[mixed, torch.arange(4)])
    assert not torch.allclose(in_each[0], in_each[1])
    assert not torch.allclose(logits[0], logits[1])


@NETS
def test_domains_share_all_weights_but_those_at_the_picture(nets: str) -> None:
    """By autograd: an image of one domain leaves half of the last, or first, layer without a gradient."""
    model = _model(nets)
    image = model.generator(torch.randn(32, LATENT), torch.zeros(32, dtype=torch.long))
    model.discriminator(image, torch.zeros(32, dtype=torch.long)).sum().backward()
    for net, at_the_picture in ((model.generator, -1), (model.discriminator, 0)):
        weights = [layer.weight for layer in net.modules() if isinstance(layer, _WEIGHTED)]
        split = weights[at_the_picture] if net is model.generator else weights[_first(net)]
        for weight in weights:
            assert weight.grad is not None
            untouched = float((weight.grad == 0).float().mean())
            assert (untouched >= 0.5) == (weight is split)


def test_generator_and_discriminator_ask_for_the_domain() -> None:
    model = _model("convolutional")
    with pytest.raises(ValueError, match="needs labels"):
        model.generator(torch.randn(2, LATENT))
    with pytest.raises(ValueError, match="needs labels"):
        model.discriminator(torch.zeros(2, 1, 8, 8))


_WEIGHTED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def _first(net: nn.Module) -> int:
    """Where the layer that reads the image stands among the weighted ones: the logit's comes before it."""
    layers: list[Tensor] = [layer.weight for layer in net.modules() if isinstance(layer, _WEIGHTED)]
    return 1 if layers[0].shape[0] == 1 else 0
