"""Feature maps that keep the layout of channels last: in order where they would fall back, and with the same values."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from training.config import DataConfig
from training.gan.model import GenerativeAdversarialNetwork
from training.gan_sections import GanConfig
from training.loops.memory_layout import keep_channels_last

BATCH, LATENTS = 3, 5


def _nets() -> GenerativeAdversarialNetwork:
    torch.manual_seed(0)
    widths = {"latent_size": LATENTS, "generator_channels": 4, "discriminator_channels": 4}
    settings = GanConfig.model_validate({"family": "gan", "discriminator_batch_norm": False, **widths})
    net = GenerativeAdversarialNetwork.from_config(settings, DataConfig(set="mnist"))
    return net.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _in_order(feature_map: Tensor) -> bool:
    return feature_map.is_contiguous(memory_format=torch.channels_last)


def _play(net: GenerativeAdversarialNetwork) -> tuple[Tensor, list[bool]]:
    """The logits of samples, after a backward pass; and what was in order of the two maps that meet rows."""
    seen: list[bool] = []
    first, last = net.generator.projection[1], net.discriminator.halvings[-1]
    assert isinstance(first, nn.Unflatten)
    handles = [
        first.register_forward_hook(lambda _, __, output: seen.append(_in_order(output))),
        last.register_full_backward_hook(lambda _, __, gradients: seen.append(_in_order(gradients[0]))),
    ]
    logit = net.discriminator(net.generator(torch.linspace(-1, 1, BATCH * LATENTS).reshape(BATCH, LATENTS)))
    logit.sum().backward()
    for handle in handles:
        handle.remove()
    return logit, seen


def test_maps_next_to_rows_are_put_in_order_and_nothing_else_changes() -> None:
    plain = _nets()
    kept = copy.deepcopy(plain)
    keep_channels_last(kept)
    (expected, before), (found, after) = _play(plain), _play(kept)
    assert before == [False, False]
    assert after == [True, True]
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(kept.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_dense_nets_are_left_alone() -> None:
    norms = {"generator_batch_norm": False, "discriminator_batch_norm": False}
    settings = GanConfig.model_validate({"family": "gan", "nets": "dense", "hidden": [8], **norms})
    net = GenerativeAdversarialNetwork.from_config(settings, DataConfig(set="digits", size=8))
    keep_channels_last(net)
    assert not any(layer._forward_hooks for layer in net.modules())
