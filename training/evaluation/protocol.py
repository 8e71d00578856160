"""What a number says of itself: which images, which pixels, which seed."""

from __future__ import annotations

from app.manifest import Metric
from training.config import RunConfig
from training.data.splits import DataSplits, ImageSet
from training.evaluation.bounds import Average

SEED = 0
"""Of the subset, the binarisation and the noise of every published number; stated in the protocols."""


def pixels_in_words(config: RunConfig) -> str:
    """How a configuration's test pictures become the x that is scored."""
    if config.data.fixed_binary_test:
        return "the fixed binary images of Larochelle & Murray 2011"
    if config.data.binarise:
        return f"each binarised once, a pixel's grey as odds (seed {SEED})"
    return "pixels in [0, 1]"


def images_in_words(images: ImageSet, data: DataSplits) -> str:
    """Which test images, as `subset` chooses them."""
    if len(images) == len(data.test):
        return f"all {len(images):,} test images of {data.name}"
    return f"a random {len(images):,} of the {len(data.test):,} test images of {data.name} (seed {SEED})"


def as_metric(average: Average, unit: str, protocol: str) -> Metric:
    """An average over images, rounded as cards print it."""
    return Metric(
        value=round(average.mean, 5), standard_error=round(average.standard_error, 5), unit=unit, protocol=protocol
    )
