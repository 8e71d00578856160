"""Samples of versions that are known: real pictures, copies, one class only; and the commands on published ones."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from training.__main__ import main
from training.config import ConfigError, DataConfig
from training.data.digits import load_scikit_digits
from training.evaluation.comparison import frechet_resampled, kernel_resampled
from training.evaluation.judge import COMMITTED, Judge
from training.evaluation.published import PublishedGraphs, read_manifest
from training.evaluation.quality import Jury, Samples


@pytest.fixture(scope="module")
def jury() -> Jury:
    data = load_scikit_digits(DataConfig(set="digits", size=8))
    return Jury.of(Judge.open(COMMITTED / "digits.json"), data)


def test_as_many_training_images_as_samples_are_the_floor(jury: Jury) -> None:
    """The very training images, as samples: their own numbers are the floor, and every one is a copy."""
    found = jury.quality(Samples(jury.train.pictures, None))
    for name in ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"):
        assert found[name].protocol.endswith(f"; as many training images: {found[name].value:.4g}"), name
    assert found["copies_in_pixels"].value == found["copies_in_features"].value == 1
    assert found["frechet_distance"].unit == f"FD-{jury.judge.code}"
    assert "1,257 samples (seed 0) against 270 test images" in found["frechet_distance"].protocol


def test_new_real_images_are_near_and_no_copies(jury: Jury) -> None:
    found = jury.quality(Samples(jury.data.validation.pictures, None))
    kernel = found["kernel_distance"]
    assert abs(kernel.value) < 4 * (kernel.standard_error or 0)
    assert abs(found["nearer_in_pixels"].value - 0.5) < 0.1
    assert found["copies_in_pixels"].value < 0.05
    assert 0.05 < found["smallest_class"].value < found["largest_class"].value < 0.15


def test_noise_is_far_covers_nothing_and_is_of_few_classes(jury: Jury) -> None:
    noise = np.random.default_rng(0).integers(0, 256, jury.train.pictures.shape, dtype=np.uint8)
    found, floor = jury.quality(Samples(noise, None)), jury.quality(Samples(jury.train.pictures, None))
    assert found["frechet_distance"].value > 20 * floor["frechet_distance"].value
    assert found["kernel_distance"].value > 50 * abs(floor["kernel_distance"].value)
    for name in ("recall", "density", "coverage"):
        assert found[name].value < 0.5 * floor[name].value, name
    assert found["nearer_in_pixels"].value < 0.05
    assert found["smallest_class"].value < 0.05


def test_samples_of_one_class_show_it(jury: Jury) -> None:
    ones = jury.data.train.take(np.flatnonzero(jury.data.train.labels == 1))
    found = jury.quality(Samples(np.resize(ones.pictures, jury.train.pictures.shape), None))
    assert found["largest_class"].value > 0.95
    assert found["largest_class"].protocol.startswith("1; ")
    assert found["smallest_class"].value == 0
    assert found["precision"].value > 0.8
    assert found["coverage"].value < 0.3


def test_samples_that_were_asked_for_by_class_are_held_to_it(jury: Jury) -> None:
    labels = jury.train.labels
    assert labels is not None
    found = jury.quality(Samples(jury.train.pictures, labels))
    assert found["label_agreement"].value > 0.98
    assert 0.05 < found["smallest_class"].value < found["largest_class"].value < 0.15
    swapped = jury.quality(Samples(jury.train.pictures, np.roll(labels, 1)))
    assert swapped["label_agreement"].value < 0.3


def test_intervals_of_resamples_hold_the_difference_of_what_differs_and_none_of_what_does_not(jury: Jury) -> None:
    real = jury.test_seen.features
    alike, other = jury.train_seen.features[:600], jury.train_seen.features[600:1200]
    for resampled in (frechet_resampled, kernel_resampled):
        one, same, worse = (
            resampled(features, real, which=which) for which, features in enumerate((alike, other, 0.8 * other), 1)
        )
        assert (one - same).interval.low < 0 < (one - same).interval.high
        assert (one - worse).interval.high < 0


def test_evaluate_prints_the_quality_of_a_published_version(
    models_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("tiny_vae", "tiny_gan"):
        assert main(["evaluate", str(models_dir / name / "1"), "--quality"]) == 0
        found = re.findall(r"^(\w+): \S+ ± \S+ .*; (?:as many training images: \S+|.*)$", capsys.readouterr().out, re.M)
        assert found[:2] == ["frechet_distance", "kernel_distance"]
        assert found[-1] == "copies_in_features"


def test_compare_says_which_of_two_versions_is_nearer(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vae, gan = (str(models_dir / name / "1") for name in ("tiny_vae", "tiny_gan"))
    assert main(["compare", vae, gan]) == 0
    shown = capsys.readouterr().out
    rows = re.findall(r"^\| (\S+ ?\S+) \| \S+ \[.*\] \| \S+ \[.*\] \| \S+ \[(\S+), (\S+)\] \| (\w+)", shown, re.M)
    assert [measure for measure, *_ in rows] == ["FD-7c33f7aa", "10⁻³ KID-7c33f7aa"]
    for _, low, high, winner in rows:
        assert winner == ("tiny_vae" if float(high) < 0 else "tiny_gan" if float(low) > 0 else "undecided")
    assert "nats are not compared: tiny_gan has no density" in shown
    assert main(["compare", vae, vae, "--scored", "20", "--samples", "5"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^\| −log p\(x\), .* \| 0 \[0, 0\] \| undecided \|$", shown, re.M)
    assert "a random 20 of the 270 test images of digits (seed 0), pixels in [0, 1]" in shown


def test_model_without_a_prior_has_no_samples_to_judge(models_dir: Path, jury: Jury) -> None:
    folder = models_dir / "tiny_vae" / "1"
    manifest = read_manifest(folder)
    bare = manifest.model_copy(update={"latent": manifest.latent.model_copy(update={"prior": "none"})})
    with pytest.raises(ConfigError, match="tiny_vae@1 cannot sample: it is not a generative model"):
        Samples.of(PublishedGraphs.open(folder, manifest), bare, jury.train)
