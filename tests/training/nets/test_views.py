from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from training.nets.views import affine_views, erased

STILL = {"shift_pixels": 0.0, "rotation_degrees": 0.0, "shear": 0.0, "stretch": 0.0}


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_view_without_freedom_is_the_picture() -> None:
    image = torch.rand(5, 2, 9, 9)
    assert_close(affine_views(image, _seeded(), **STILL), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("freedom", "reach"),
    [({"shift_pixels": 2.0}, 2.0), ({"rotation_degrees": 30.0}, 5.0 * 0.53), ({"stretch": 0.2}, 5.0 * 0.25)],
    ids=["shift", "rotation", "stretch"],
)
def test_point_moves_within_the_bounds_and_uses_them(freedom: dict[str, float], reach: float) -> None:
    """A blob five pixels right of the centre: its centre of mass moves at most as far as the map can take it."""
    image = torch.zeros(1, 1, 21, 21)
    image[0, 0, 9:12, 14:17] = 1
    views = affine_views(image.expand(400, -1, -1, -1), _seeded(), **STILL | freedom)
    along = torch.arange(21.0)
    mass = views.sum(dim=(1, 2, 3))
    row, column = (views * along[:, None]).sum((1, 2, 3)) / mass, (views * along).sum((1, 2, 3)) / mass
    moved = torch.maximum((row - 10).abs(), (column - 15).abs())
    assert 0.7 * reach < float(moved.max()) < 1.1 * reach + 0.3
    assert abs(float((row - 10).mean())) < 0.25 * reach  # to both sides


def test_views_follow_the_generator_and_stay_within_the_pixels_range() -> None:
    image = torch.rand(8, 1, 8, 8)
    freedom = {"shift_pixels": 1.0, "rotation_degrees": 20.0, "shear": 0.2, "stretch": 0.1}
    first, again = (affine_views(image, _seeded(), **freedom) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, affine_views(image, torch.Generator().manual_seed(1), **freedom))
    assert float(first.min()) >= 0
    assert float(first.max()) <= 1 + 1e-6


def test_erased_is_a_square_of_at_most_the_share_and_all_else_stays() -> None:
    image = torch.rand(300, 2, 20, 20) + 0.5
    view = erased(image, _seeded(), 0.4)
    gone = (view == 0).all(dim=1)
    assert torch.equal(gone, (view == 0).any(dim=1))  # in all channels alike
    assert torch.equal(view[~gone[:, None].expand_as(view)], image[~gone[:, None].expand_as(view)])
    height, width = gone.any(dim=2).sum(dim=1), gone.any(dim=1).sum(dim=1)
    assert torch.equal(gone.sum(dim=(1, 2)), height * width)  # rectangles, cut off at borders
    assert 6 <= int(height.max()) <= 8
    assert 6 <= int(width.max()) <= 8
    assert gone.any(dim=0).all()  # anywhere
