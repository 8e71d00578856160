from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from app.latent.noise import (
    MAX_SEED,
    Stream,
    draw_labels,
    draw_seed,
    normal_quantile,
    philox_words,
    standard_normal,
)

WORD = 2**64
PINNED = ["-0x1.3a5de40000000p-3", "-0x1.f163b40000000p-1", "0x1.0d4b4e0000000p+1"]


def philox4x64(counter: tuple[int, ...], key: tuple[int, int]) -> tuple[int, ...]:
    """Philox4x64-10 from the paper, in Python's integers: ten rounds of two multiplications and a swap."""
    a, b, c, d = counter
    k, m = key
    for _ in range(10):
        left, right = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b, c, d = (right // WORD) ^ b ^ k, right % WORD, (left // WORD) ^ d ^ m, left % WORD
        k, m = (k + 0x9E3779B97F4A7C15) % WORD, (m + 0xBB67AE8584CAA73B) % WORD
    return a, b, c, d


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0, 0, 0), (0, 0), "16554d9eca36314c db20fe9d672d0fdc d7e772cee186176b 7e68b68aec7ba23b"),
        ((WORD - 1,) * 4, (WORD - 1,) * 2, "87b092c3013fe90b 438c3c67be8d0224 9cc7d7c69cd777b6 a09caebf594f0ba0"),
        (
            (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89),
            (0x452821E638D01377, 0xBE5466CF34E90C6C),
            "a528f45403e61d95 38c72dbd566e9788 a5a1610e72fd18b5 57bd43b5e52b7fe6",
        ),
    ],
)
def test_reference_philox_gives_the_published_answers(
    counter: tuple[int, ...], key: tuple[int, int], expected: str
) -> None:
    """Random123's known-answer vectors."""
    assert " ".join(f"{word:016x}" for word in philox4x64(counter, key)) == expected


@given(seed=st.integers(0, MAX_SEED), index=st.integers(0, 2**63), stream=st.sampled_from(Stream))
def test_words_are_the_reference_philox_at_the_documented_counter(seed: int, index: int, stream: Stream) -> None:
    blocks = [philox4x64((block, index, int(stream), 0), (seed, 0)) for block in (1, 2)]
    assert philox_words(seed, [index], 7, stream)[0].tolist() == [word for block in blocks for word in block][:7]


@pytest.mark.parametrize(
    ("low", "high"), [(1e-300, 1e-20), (1e-20, 1e-6), (1e-6, 0.075), (0.075, 0.0751), (0.0749, 0.499), (0.499, 0.5)]
)
def test_quantile_agrees_with_scipy_on_both_sides(low: float, high: float) -> None:
    probability = np.linspace(low, high, 20_001)
    centred = probability - 0.5
    inside = np.abs(centred) < 0.5
    expected = special.ndtri(0.5 + centred[inside])
    np.testing.assert_allclose(normal_quantile(centred[inside]), expected, rtol=3e-15, atol=1e-15)
    np.testing.assert_allclose(normal_quantile(-centred[inside]), -expected, rtol=3e-15, atol=1e-15)


def test_noise_of_a_seed_never_changes() -> None:
    """Written down when the generator was: what a seed means is a promise to every receipt ever handed out."""
    assert [value.hex() for value in standard_normal(7, [3], 3).astype(float)[0]] == PINNED


def test_noise_is_standard_normal() -> None:
    noise = standard_normal(11, range(200), 500).ravel()
    assert stats.kstest(noise, "norm").pvalue > 0.01


def test_noise_of_an_index_depends_on_nothing_else() -> None:
    alone = standard_normal(5, [9], 6)
    np.testing.assert_array_equal(standard_normal(5, range(20), 6)[9:10], alone)
    np.testing.assert_array_equal(standard_normal(5, [9, 2], 17)[:1, :6], alone)


@pytest.mark.parametrize("start", [0, 1, 4, 7, 1000])
def test_noise_can_start_anywhere_in_its_row(start: int) -> None:
    whole = standard_normal(5, [9, 2], start + 6)
    np.testing.assert_array_equal(standard_normal(5, [9, 2], 6, start=start), whole[:, start:])


def test_streams_indices_and_seeds_differ() -> None:
    rows = [standard_normal(1, [0], 4, stream=stream)[0] for stream in Stream]
    rows += [standard_normal(1, [1], 4)[0], standard_normal(2, [0], 4)[0], standard_normal(MAX_SEED, [0], 4)[0]]
    assert len({row.tobytes() for row in rows}) == len(rows)


@pytest.mark.parametrize("truncation", [1e-6, 0.5, 1.0, 2.5, 8.0])
def test_truncated_noise_follows_the_truncated_normal(truncation: float) -> None:
    noise = standard_normal(3, range(40), 50, truncation=truncation).ravel()
    assert np.abs(noise.astype(np.float64)).max() <= truncation
    assert stats.kstest(noise, stats.truncnorm(-truncation, truncation).cdf).pvalue > 0.01


def test_wide_truncation_is_none() -> None:
    np.testing.assert_array_equal(standard_normal(3, range(9), 5, truncation=30.0), standard_normal(3, range(9), 5))


def test_no_indices_or_no_numbers_give_empty_arrays() -> None:
    assert standard_normal(0, [], 3).shape == (0, 3)
    assert standard_normal(0, [1, 2], 0).shape == (2, 0)


def test_drawn_seeds_fit_javascript_and_vary() -> None:
    seeds = {draw_seed() for _ in range(50)}
    assert len(seeds) == 50
    assert all(0 <= seed < 2**53 for seed in seeds)


def test_labels_follow_their_probabilities() -> None:
    probabilities = [0.5, 0.3, 0.2]
    counts = np.bincount(draw_labels(7, range(5000), probabilities), minlength=3)
    assert stats.chisquare(counts, 5000 * np.array(probabilities)).pvalue > 1e-3


@given(st.integers(0, MAX_SEED), st.integers(0, 2**31 - 1))
def test_label_depends_on_seed_and_index_alone(seed: int, index: int) -> None:
    probabilities = [0.1] * 10
    (alone,) = draw_labels(seed, [index], probabilities)
    assert draw_labels(seed, [5, index, index], probabilities)[1:].tolist() == [alone] * 2
    word = philox4x64((1, index, Stream.LABEL, 0), (seed, 0))[0]
    uniform = (word >> 11) / 2**53
    assert sum(np.cumsum(probabilities)[:-1] <= uniform) == alone


def test_last_class_takes_what_rounding_leaves() -> None:
    assert draw_labels(0, range(1000), [0.3, 0.3, 0.3999]).max() == 2
