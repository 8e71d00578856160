"""a − b + c where the answers are known: pictures of one bright pixel a motif, tinted by an attribute."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.config import ConfigError
from training.data.splits import Attribute, DataSplits, ImageSet
from training.evaluation.arithmetic import (
    EXEMPLARS,
    Exemplars,
    Gallery,
    Outcome,
    accuracy,
    answers,
    chance,
    draw_trials,
    nearest,
    outcomes,
    ratio,
)

MOTIFS, TONES, SIGNS = 24, 3, 2
ATTRIBUTES = (
    Attribute("tone", tuple("abc")),
    Attribute("sign", tuple("xy")),
    Attribute("motif", tuple(map(str, range(MOTIFS)))),
)


def picture(tone: int, sign: int, motif: int) -> NDArray[np.uint8]:
    """What changes is drawn where the motif is: the same change has other pixels in every motif."""
    found = np.zeros((5, 5, 3), np.uint8)
    found[motif // 5, motif % 5] = (120 + 60 * tone, 40 + 150 * sign, 90)
    return found


def everything() -> NDArray[np.int64]:
    grid = np.stack(np.meshgrid(*map(range, (TONES, SIGNS, MOTIFS)), indexing="ij"), axis=-1).reshape(-1, 3)
    return np.random.default_rng(0).permutation(grid)


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    values = everything()
    pictures = np.stack([picture(*row) for row in values.tolist()])
    images = ImageSet(pictures, None, values)
    train, validation, test = (images.take(part) for part in np.split(np.arange(len(values)), [110, 120]))
    return Gallery.of(DataSplits("motifs", train, validation, test, None, "0" * 64, attributes=ATTRIBUTES))


@pytest.mark.parametrize("exemplars", ["pairs", "independent"])
@pytest.mark.parametrize("changed", [(0,), (1,), (0, 1)])
def test_trials_ask_for_what_they_say(gallery: Gallery, changed: tuple[int, ...], exemplars: Exemplars) -> None:
    trials, values = draw_trials(gallery, changed, exemplars=exemplars, rounds=3), gallery.attributes
    assert trials.target.min() >= 120
    assert max(trials.query.max(), trials.plus.max(), trials.minus.max()) < 110
    wanted, given = values[trials.target], values[trials.query]
    differs = wanted != given
    assert differs[:, changed].all()
    assert differs.sum() == len(changed) * len(wanted)
    assert trials.plus.shape == trials.minus.shape == (len(wanted), EXEMPLARS)
    for column in changed:
        assert (values[trials.plus][..., column] == wanted[:, None, column]).all()
        assert (values[trials.minus][..., column] == given[:, None, column]).all()
    motifs = values[..., 2]
    assert (motifs[trials.plus] != wanted[:, None, 2]).all()
    assert (motifs[trials.minus] != wanted[:, None, 2]).all()
    assert (motifs[trials.plus] == motifs[trials.minus]).all() == (exemplars == "pairs")


def test_sum_is_mean_less_mean_plus_query(gallery: Gallery) -> None:
    trials, codes = draw_trials(gallery, (0,), rounds=1), np.random.default_rng(1).standard_normal((144, 4))
    first = (codes[trials.plus[0]].sum(axis=0) - codes[trials.minus[0]].sum(axis=0)) / 3 + codes[trials.query[0]]
    np.testing.assert_allclose(answers(trials, codes.astype(np.float32))[0], first, rtol=1e-5)


def test_nearest_is_that_of_all_distances() -> None:
    generator = np.random.default_rng(2)
    found, rows = (generator.random((count, 7)).astype(np.float32) for count in (300, 40))
    distances = np.linalg.norm(found[:, None].astype(np.float64) - rows[None], axis=-1)
    np.testing.assert_array_equal(nearest(found, rows), distances.argmin(axis=1))


def test_latents_that_know_the_attributes_are_always_right_and_pixels_are_not(gallery: Gallery) -> None:
    """The codes are tone, sign and motif (one-hot): sums of pairs are exact, and the decoder paints them."""
    tone, sign, motif = gallery.attributes.T
    codes = np.column_stack([tone, sign, np.eye(MOTIFS)[motif]]).astype(np.float32)

    def decode(latents: NDArray[np.float32], _: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = [(round(float(z[0])), round(float(z[1])), int(z[2:].argmax())) for z in latents]
        return np.stack([picture(*row).ravel() for row in rows]).astype(np.float32) / 255

    for changed in gallery.changes:
        trials = draw_trials(gallery, changed)
        found = outcomes(gallery, trials, codes, decode)
        assert accuracy(trials, found["latent"]).estimate == 1
        assert accuracy(trials, found["reconstruction"]).estimate == 1
        assert accuracy(trials, found["pixels"]).estimate == 0  # the change lands where the exemplars are
        assert found["pixels"].unchanged.mean() > 0.9
        assert accuracy(trials, found["query"]).estimate == 0
        assert found["query"].unchanged.mean() == 1  # an unconditional decoder knows nothing of what is asked for
        assert ratio(trials, found["latent"], found["pixels"]).estimate == np.inf
        assert chance(gallery, trials) == pytest.approx(1 / 144)


def test_what_a_label_alone_can_do_is_set_beside_the_sums(gallery: Gallery) -> None:
    """A decoder that is told all but the motif, which is all that its latents hold: c is as good as the sum."""
    codes = np.eye(MOTIFS, dtype=np.float32)[gallery.attributes[:, 2]]

    def decode(latents: NDArray[np.float32], told: NDArray[np.int64]) -> NDArray[np.float32]:
        values = gallery.attributes[told]
        rows = [
            picture(tone, sign, motif) for (tone, sign, _), motif in zip(values, latents.argmax(axis=1), strict=True)
        ]
        return np.stack(rows).reshape(len(rows), -1).astype(np.float32) / 255

    trials = draw_trials(gallery, (0, 1))
    found = outcomes(gallery, trials, codes, decode)
    assert accuracy(trials, found["query"]).estimate == accuracy(trials, found["latent"]).estimate == 1


def test_pictures_of_the_same_pixels_are_both_right(gallery: Gallery) -> None:
    trials = draw_trials(gallery, (0,), rounds=1)
    pictures = gallery.images.pictures.copy()
    pictures[0] = pictures[trials.target[0]]
    alike = Gallery(ImageSet(pictures, None), gallery.attributes, gallery.names, gallery.motif, 110, 24)
    found = np.where(np.arange(len(trials.target)) == 0, 0, trials.query)
    assert Outcome.of(alike, trials, found).right[0] == 1


def test_interval_holds_what_is_estimated_and_knows_certainty(gallery: Gallery) -> None:
    trials = draw_trials(gallery, (0,))
    hits = (np.random.default_rng(3).random(len(trials.target)) < 0.4).astype(np.float64)
    found = accuracy(trials, Outcome(hits, 1 - hits))
    assert found.estimate == pytest.approx(hits.mean())
    assert found.low < found.estimate < found.high
    doubled = ratio(trials, Outcome(hits, hits), Outcome(hits / 2, hits))
    assert (doubled.estimate, doubled.low, doubled.high) == pytest.approx((2, 2, 2))


def test_pictures_without_attributes_have_no_ground_truth() -> None:
    bare = ImageSet(np.zeros((3, 2, 2, 1), np.uint8), None)
    with pytest.raises(ConfigError, match="needs pictures with attributes; bare has none"):
        Gallery.of(DataSplits("bare", bare, bare, bare, None, "0" * 64))
