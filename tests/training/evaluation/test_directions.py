"""Directions against axes that are known, and against other ways to find them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from training.evaluation.directions import (
    adjusted_differences,
    factorised_directions,
    mean_difference,
    orthogonalised,
    principal_directions,
)

Array = NDArray[np.float64]


def cosine(one: Array, other: Array) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def linear_gaussian(size: int = 6, count: int = 4000) -> tuple[Array, NDArray[np.bool_], Array]:
    """Codes that are exact posterior means of x = W z + noise, an attribute of x alone, and its true axis in z.

    Orthogonal columns of W: E[z|x] ∝ Wᵀx, so that of the attribute 1[w·x > 0], w = W u, the axis is u.
    """
    generator = np.random.default_rng(1)
    columns = np.linalg.qr(generator.standard_normal((20, size)))[0] * 2
    latent = generator.standard_normal((count, size))
    pictures = latent @ columns.T + 0.1 * generator.standard_normal((count, 20))
    axis = np.array([3.0, 0, -4, 0, 0, 0]) / 5
    return pictures @ columns / 4, pictures @ columns @ axis > 0, axis


def test_mean_difference_finds_the_axis_of_an_attribute() -> None:
    codes, has, axis = linear_gaussian()
    found = mean_difference(codes, has)
    assert cosine(found, axis) > 0.99
    half_normal = np.sqrt(2 / np.pi)  # E|z| of a standard normal, which both halves lie off the middle
    np.testing.assert_allclose(np.linalg.norm(found), 2 * half_normal, rtol=0.03)


def confounded(count: int = 6000) -> tuple[Array, NDArray[np.int64], Array, Array]:
    """Codes of two attributes that come together three times in four, each with an axis of its own."""
    generator = np.random.default_rng(2)
    first = generator.integers(2, size=count)
    second = np.where(generator.random(count) < 0.75, first, 1 - first)
    u, v = np.array([2.0, 0, 0, 0]), np.array([0, 1.0, 1.0, 0])
    codes = first[:, None] * u + second[:, None] * v + 0.3 * generator.standard_normal((count, 4))
    return codes, np.stack([first, second], axis=1), u, v


def test_adjustment_tells_apart_what_comes_together() -> None:
    codes, values, u, v = confounded()
    plain = mean_difference(codes, values[:, 0] == 1)
    np.testing.assert_allclose(plain, u + v / 2, atol=0.05)  # P(second|first) − P(second|not first) = 1/2
    np.testing.assert_allclose(adjusted_differences(codes, values, 0)[1], u, atol=0.05)
    np.testing.assert_allclose(adjusted_differences(codes, values, 1)[1], v, atol=0.05)


def test_adjusted_differences_are_to_the_mean_of_the_other_values() -> None:
    values = np.repeat(np.arange(3), 10)[:, None]
    means = np.array([[0.0, 0], [3, 0], [0, 6]])
    found = adjusted_differences(means[values[:, 0]], values, 0)
    np.testing.assert_allclose(found[0], [-1.5, -3], atol=1e-9)
    np.testing.assert_allclose(found[1], [3, -3], atol=1e-9)
    np.testing.assert_allclose(found[2], [-1.5, 6], atol=1e-9)


def test_pictures_of_unknown_value_are_left_out() -> None:
    codes, values, _, _ = confounded(400)
    strange = np.vstack([codes, np.full((3, 4), 1e6)])
    told = np.vstack([values, np.full((3, 2), -1)])
    np.testing.assert_allclose(
        adjusted_differences(strange, told, 0)[1], adjusted_differences(codes, values, 0)[1], atol=1e-9
    )


def test_orthogonalised_vector_is_at_right_angles_to_all_others() -> None:
    generator = np.random.default_rng(3)
    vector, others = generator.standard_normal(8), list(generator.standard_normal((3, 8)))
    found = orthogonalised(vector, [*others, others[0] + others[1]])  # one of them says nothing new
    np.testing.assert_allclose(np.stack(others) @ found, 0, atol=1e-12)
    np.testing.assert_allclose(found + np.linalg.lstsq(np.stack(others).T, vector)[0] @ np.stack(others), vector)
    np.testing.assert_array_equal(orthogonalised(vector, []), vector)


def test_principal_directions_are_those_of_another_implementation() -> None:
    codes = np.random.default_rng(4).standard_normal((300, 5)) @ np.diag([3.0, 2, 1, 0.5, 0.1]) + 7
    pca, found = PCA(3).fit(codes), principal_directions(codes, 3)
    for axis, vector in zip(pca.components_, found, strict=True):
        assert abs(cosine(axis, vector)) > 1 - 1e-9
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), (codes @ pca.components_.T).std(axis=0))


def test_constant_codes_have_no_principal_directions_beyond_their_rank() -> None:
    line = np.outer(np.linspace(-1, 1, 20), [1.0, 2, 3])
    assert principal_directions(line, 3).shape == (1, 3)


def test_factors_are_the_right_singular_vectors_of_the_weights() -> None:
    generator = np.random.default_rng(5)
    weight, codes = generator.standard_normal((40, 6)), 2 * generator.standard_normal((5000, 6))
    singular = np.linalg.svd(weight)[2]
    found = factorised_directions(weight, codes, 4)
    for axis, vector in zip(singular, found, strict=False):
        assert abs(cosine(axis, vector)) > 1 - 1e-9
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 2, rtol=0.05)
