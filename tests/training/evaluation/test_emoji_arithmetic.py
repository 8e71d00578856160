"""a − b + c on real emoji by the committed conditional VAE: how often it is right, beside pixels and chance.

Where the emoji lie on this machine: in LATENTSERVE_DATA_DIR, in `data`, or in `shared/data` beside the project.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from training.config import read_config
from training.data.datasets import load_splits, refuse_changed
from training.evaluation.arithmetic import Gallery, accuracy, chance, draw_trials, outcomes, ratio
from training.evaluation.published import PublishedGraphs, read_manifest

ROOT = Path(__file__).parents[3]
KEPT_IN = [Path(os.environ.get("LATENTSERVE_DATA_DIR") or "data"), ROOT / "data", ROOT.parent / "shared" / "data"]
DATA = next((folder for folder in KEPT_IN if (folder / "noto_emoji").is_dir()), None)

pytestmark = pytest.mark.skipif(DATA is None, reason=f"no noto_emoji in {', '.join(map(str, KEPT_IN))}")


@dataclass(frozen=True)
class Emoji:
    """The model, every picture that it may answer with, and their codes."""

    graphs: PublishedGraphs
    gallery: Gallery
    codes: NDArray[np.float32]

    def decode(self, latents: NDArray[np.float32], pictures: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pixels in [0, 1], told the classes of these pictures."""
        assert self.gallery.images.labels is not None
        drawn = self.graphs.decode(latents, self.gallery.images.labels[pictures])
        return drawn.reshape(len(latents), -1).astype(np.float32) / 255

    def shares(self, *changed: str) -> tuple[float, float, float, float]:
        """With pairs of exemplars: how often latents, pixels and chance are right, and latents per pixels."""
        places = tuple(self.gallery.names.index(name) for name in changed)
        trials = draw_trials(self.gallery, places)
        found = outcomes(self.gallery, trials, self.codes, self.decode)
        right = [accuracy(trials, found[name]).estimate for name in ("latent", "pixels")]
        times = ratio(trials, found["latent"], found["pixels"]).estimate
        return right[0], right[1], chance(self.gallery, trials), times


@pytest.fixture(scope="module")
def emoji() -> Emoji:
    version = max((ROOT / "models" / "emoji_conditional_vae").iterdir(), key=lambda folder: int(folder.name))
    manifest = read_manifest(version)
    data = load_splits(read_config(version / "run.toml").data, DATA)
    refuse_changed(data, manifest.provenance.data_sha256)  # so that no test picture is a training picture
    graphs, gallery = PublishedGraphs.open(version, manifest), Gallery.of(data)
    codes = graphs.posterior(gallery.images.pictures, gallery.images.labels)["mean"]
    return Emoji(graphs, gallery, codes)


@pytest.mark.parametrize("changed", [("gender",), ("gender", "skin_tone")])
def test_sums_of_latents_are_right_five_times_as_often_as_sums_of_pixels(
    emoji: Emoji, changed: tuple[str, ...]
) -> None:
    latents, pixels, by_chance, times = emoji.shares(*changed)
    assert latents >= 100 * by_chance
    assert pixels > by_chance
    assert times >= 5


def test_a_change_of_colour_alone_is_a_sum_that_pixels_can_do_too(emoji: Emoji) -> None:
    latents, pixels, _, times = emoji.shares("skin_tone")
    assert pixels >= 0.2  # five times which no answer could be right
    assert latents >= 0.5
    assert times >= 2
