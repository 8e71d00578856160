"""Effect and leakage where both are known: quarters of a picture, two that latents light alone, two only together."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.splits import Attribute, DataSplits, ImageSet
from training.evaluation.attribute_judge import AttributeJudge, attribute_values
from training.evaluation.direction_effects import Effects, measure_effects

SIDE = 8
QUARTERS = ("first", "second", "third", "fourth")


def paint(light: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Pictures (N, 8, 8, 1) whose quarters have these greys (N, 4) around the middle one."""
    grey = 127 + 100 * np.tanh(light).reshape(-1, 2, 2)
    return np.repeat(np.repeat(grey, SIDE // 2, axis=1), SIDE // 2, axis=2)[..., None].astype(np.uint8)


def quarters(count: int, seed: int) -> ImageSet:
    """Pictures with independent quarters, whether each is light being what is known of them."""
    light = np.random.default_rng(seed).standard_normal((count, 4))
    return ImageSet(paint(light), None, (light > 0).astype(np.int64))


@pytest.fixture(scope="module")
def data() -> DataSplits:
    attributes = tuple(Attribute(name, ("dark", "light")) for name in QUARTERS)
    parts = (quarters(600, 0), quarters(200, 1), quarters(200, 2))
    return DataSplits("quarters", *parts, None, "0" * 64, attributes=attributes)


@pytest.fixture(scope="module")
def judge(data: DataSplits) -> AttributeJudge:
    found = AttributeJudge.trained(data)
    assert found is not None
    return found


def decode(latents: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Latents 0 and 1 light a quarter each; latent 2 lights both others, and latent 3 nothing."""
    return paint(latents[:, [0, 1, 2, 2]].astype(np.float64))


@pytest.fixture(scope="module")
def effects(judge: AttributeJudge) -> list[Effects]:
    places = np.random.default_rng(3).standard_normal((100, 4)).astype(np.float32)
    return measure_effects(judge, decode, places, list(np.eye(4)))


def test_judge_reads_what_pictures_show(data: DataSplits, judge: AttributeJudge) -> None:
    assert [contrast.name for contrast in judge.contrasts] == [f"{name}=light" for name in QUARTERS]
    assert min(judge.accuracy) > 0.95
    held_out = judge.decide(data.validation.pictures)
    np.testing.assert_allclose(held_out.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(held_out.std(axis=0), 1, atol=1e-6)
    agreement = judge.values(data.test.pictures) == attribute_values(data, data.test)
    assert agreement.mean() > 0.95


@pytest.mark.parametrize("own", [0, 1])
def test_direction_of_its_own_moves_its_attribute_alone(effects: list[Effects], own: int) -> None:
    assert effects[own].strongest == own
    assert effects[own].mean[own] > 0.5
    assert effects[own].leak(own)[0] < 0.1 * effects[own].mean[own]
    assert effects[own].selectivity(own) > 0.9


def test_entangled_attributes_leak_into_each_other(effects: list[Effects]) -> None:
    both = effects[2]
    leakage, into = both.leak(2)
    assert into == "fourth=light"
    np.testing.assert_allclose(leakage, both.mean[2], rtol=0.2)
    assert 0.4 < both.selectivity(2) < 0.6


def test_direction_that_changes_nothing_has_no_effect(effects: list[Effects]) -> None:
    np.testing.assert_array_equal(effects[3].mean, 0)
    assert effects[3].selectivity(0) == 0


def test_opposite_direction_has_the_opposite_effect(judge: AttributeJudge) -> None:
    places, step = np.random.default_rng(3).standard_normal((100, 4)).astype(np.float32), np.eye(4)[0]
    there, back = measure_effects(judge, decode, places, [step, -step])
    np.testing.assert_array_equal(back.mean, -there.mean)
    assert (there.sign_of_strongest, back.sign_of_strongest) == (1, -1)
    assert back.selectivity(0) == 0


def test_effect_is_the_difference_that_a_step_makes(judge: AttributeJudge) -> None:
    places = np.zeros((2, 4), np.float32)
    (found,) = measure_effects(judge, decode, places, [np.array([0.5, 0, 0, 0])])
    light, dark = (judge.decide(paint(np.array([[sign * 0.5, 0, 0, 0]])))[0] for sign in (1, -1))
    np.testing.assert_allclose(found.mean, (light - dark) / 2, atol=1e-5)  # the judge reads in single precision
    np.testing.assert_allclose(found.standard_error, 0, atol=1e-12)


def test_another_value_of_the_same_attribute_leaks_only_where_it_rises() -> None:
    values = np.random.default_rng(4).integers(3, size=300)
    pictures = np.repeat(values * 100, 16).reshape(300, 4, 4, 1).astype(np.uint8)
    images = ImageSet(pictures, values)
    judge = AttributeJudge.trained(DataSplits("greys", images, images, images, ("a", "b", "c"), "0" * 64))
    assert judge is not None
    assert [contrast.name for contrast in judge.contrasts] == ["class=a", "class=b", "class=c"]
    falling = Effects(judge.contrasts, np.array([1.0, -0.8, -0.2]), np.zeros(3))
    assert falling.leak(0) == (0.0, None)
    rising = Effects(judge.contrasts, np.array([1.0, -0.8, 0.3]), np.zeros(3))
    assert rising.leak(0) == (0.3, "class=c")


def test_nothing_is_judged_where_nothing_is_known(data: DataSplits) -> None:
    bare = ImageSet(data.train.pictures, None)
    assert AttributeJudge.trained(DataSplits("bare", bare, bare, bare, None, "0" * 64)) is None
