from __future__ import annotations

import pytest

from training.gan.pyramid import Pyramid, pyramid


@pytest.mark.parametrize(
    ("side", "expected"),
    [
        (8, Pyramid(4, (10,))),
        (16, Pyramid(4, (20, 10))),
        (28, Pyramid(7, (20, 10))),
        (48, Pyramid(6, (40, 20, 10))),
        (64, Pyramid(4, (80, 40, 20, 10))),
        (256, Pyramid(4, (80, 80, 80, 40, 20, 10))),
    ],
)
def test_pyramid_doubles_the_width_at_each_halving_up_to_eightfold(side: int, expected: Pyramid) -> None:
    assert pyramid(side, 10) == expected


@pytest.mark.parametrize("side", [1, 4, 7, 9, 18, 30, 36, 44, 100])
def test_pyramid_refuses_sides_that_doubling_cannot_reach(side: int) -> None:
    with pytest.raises(ValueError, match=f"got {side}$"):
        pyramid(side, 10)
