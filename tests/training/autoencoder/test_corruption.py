from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.autoencoder.corruption import corrupt
from training.config import CorruptionConfig

COUNT = 40_000


@pytest.fixture
def grey() -> Tensor:
    """Colour pictures of one grey."""
    return torch.full((COUNT // 100, 3, 10, 10), 0.25)


def test_gaussian_noise_has_mean_zero_and_the_scale_asked_for(grey: Tensor) -> None:
    noise = _corrupted(grey, kind="gaussian", scale=0.3) - grey
    assert float(noise.mean()) == pytest.approx(0, abs=4 * 0.3 / noise.numel() ** 0.5)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.01)


def test_masking_loses_the_share_of_pixels_in_all_channels_and_leaves_the_others(grey: Tensor) -> None:
    seen = _corrupted(grey, kind="masking", share=0.3)
    lost = (seen == 0).all(dim=1)
    assert torch.equal(lost, (seen == 0).any(dim=1))
    assert float(lost.float().mean()) == pytest.approx(0.3, abs=4 * (0.21 / COUNT) ** 0.5)
    assert set(seen.unique().tolist()) == {0.0, 0.25}


def test_salt_and_pepper_are_equally_many(grey: Tensor) -> None:
    seen = _corrupted(grey, kind="salt_and_pepper", share=0.4)[:, 0]
    for level, share in ((0.0, 0.2), (1.0, 0.2), (0.25, 0.6)):
        error = 4 * (share * (1 - share) / COUNT) ** 0.5
        assert float((seen == level).float().mean()) == pytest.approx(share, abs=error)


@pytest.mark.parametrize("kind", ["gaussian", "masking", "salt_and_pepper"])
def test_corruption_follows_from_the_generator_alone_and_spares_its_input(grey: Tensor, kind: str) -> None:
    before = grey.clone()
    assert torch.equal(_corrupted(grey, kind=kind), _corrupted(grey, kind=kind))
    assert torch.equal(grey, before)


def test_without_corruption_the_image_is_left_alone(grey: Tensor) -> None:
    assert _corrupted(grey, kind="none") is grey


def _corrupted(image: Tensor, **settings: object) -> Tensor:
    return corrupt(image, CorruptionConfig.model_validate(settings), torch.Generator().manual_seed(0))
