"""What the discriminator is shown of images."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from training.gan.views import add_instance_noise, augment, instance_noise_scale
from training.gan_sections import Augmentation

IMAGE = 2 * torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0)) - 1
KINDS: tuple[Augmentation, ...] = ("colour", "translation", "cutout")


def _draw(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_views_differ_between_images_and_repeat_with_the_generator(kind: Augmentation) -> None:
    same = IMAGE[:1].expand(40, -1, -1, -1)
    views = augment(same, [kind], _draw())
    assert views.shape == same.shape
    assert len({view.sum().item() for view in views}) > 10
    assert_close(views, augment(same, [kind], _draw()))
    assert not torch.equal(views, augment(same, [kind], _draw(6)))


@pytest.mark.parametrize("kind", KINDS)
def test_views_pass_gradients_back_to_the_image(kind: Augmentation) -> None:
    image = IMAGE.clone().requires_grad_()
    augment(image, [kind], _draw()).sum().backward()
    assert image.grad is not None
    assert (image.grad.flatten(1).abs().sum(dim=1) > 0).all()


def test_no_view_is_the_image_itself() -> None:
    assert augment(IMAGE, [], _draw()) is IMAGE


def test_translation_moves_by_up_to_an_eighth_of_the_side_in_both_directions() -> None:
    dot = torch.zeros(400, 1, 16, 16)
    dot[:, :, 7, 9] = 1.0
    moved = augment(dot, ["translation"], _draw()).nonzero()
    assert len(moved) == 400  # nothing was lost and nothing doubled
    assert set((moved[:, 2] - 7).tolist()) == set((moved[:, 3] - 9).tolist()) == {-2, -1, 0, 1, 2}


def test_cutout_takes_a_square_of_half_the_side_at_most() -> None:
    holes = (augment(torch.ones(400, 1, 16, 16), ["cutout"], _draw()) == 0).sum(dim=(1, 2, 3))
    assert holes.max() == 8 * 8
    assert holes.min() == 4 * 4  # its centre in a corner


def test_colour_keeps_what_is_where() -> None:
    views = augment(IMAGE, ["colour"], _draw())
    grey, seen = (image.mean(dim=1).flatten(1) for image in (IMAGE, views))
    for before, after in zip(grey, seen, strict=True):  # brightness and contrast are one line for all pixels
        assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 1 - 1e-4


def test_instance_noise_has_its_scale() -> None:
    noise = add_instance_noise(IMAGE, 0.3, _draw()) - IMAGE
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


def test_instance_noise_falls_to_nothing_over_its_share_of_the_run() -> None:
    found = [instance_noise_scale(0.4, progress, 0.5) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert found == pytest.approx([0.4, 0.2, 0.0, 0.0])
