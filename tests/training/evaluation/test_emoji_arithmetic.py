"""a − b + c on real emoji by the committed VAE, which knows no labels: how often it is right, beside pixels and chance.

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
from training.evaluation.arithmetic import Exemplars, Gallery, accuracy, chance, draw_trials, outcomes, ratio
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

    def decode(self, latents: NDArray[np.float32], _: NDArray[np.int64]) -> NDArray[np.float32]:
        """Pixels in [0, 1]."""
        return self.graphs.decode(latents).reshape(len(latents), -1).astype(np.float32) / 255

    def shares(self, exemplars: Exemplars, *changed: str) -> dict[str, float]:
        """How often each way to answer is right, and chance; `times`: latents in multiples of pixels."""
        places = tuple(self.gallery.names.index(name) for name in changed)
        trials = draw_trials(self.gallery, places, exemplars=exemplars)
        found = outcomes(self.gallery, trials, self.codes, self.decode)
        right = {name: accuracy(trials, outcome).estimate for name, outcome in found.items()}
        times = ratio(trials, found["latent"], found["pixels"]).estimate
        return right | {"chance": chance(self.gallery, trials), "times": times}


@pytest.fixture(scope="module")
def emoji() -> Emoji:
    version = max((ROOT / "models" / "emoji_vae").iterdir(), key=lambda folder: int(folder.name))
    manifest = read_manifest(version)
    assert not manifest.conditional_roles  # a label could answer in the place of the sum
    data = load_splits(read_config(version / "run.toml").data, DATA)
    refuse_changed(data, manifest.provenance.data_sha256)  # so that no test picture is a training picture
    graphs, gallery = PublishedGraphs.open(version, manifest), Gallery.of(data)
    return Emoji(graphs, gallery, graphs.posterior(gallery.images.pictures)["mean"])


@pytest.mark.parametrize("exemplars", ["pairs", "independent"])
@pytest.mark.parametrize("changed", [("gender",), ("gender", "skin_tone")])
def test_sums_of_latents_are_right_five_times_as_often_as_sums_of_pixels(
    emoji: Emoji, changed: tuple[str, ...], exemplars: Exemplars
) -> None:
    found = emoji.shares(exemplars, *changed)
    assert found["latent"] >= 50 * found["chance"]
    assert found["times"] >= 5
    assert found["query"] <= found["chance"]  # c itself is never the answer


def test_a_change_of_colour_alone_is_a_sum_that_pixels_can_do_too(emoji: Emoji) -> None:
    found = emoji.shares("pairs", "skin_tone")
    assert found["pixels"] > 0.2  # five times which no way to answer could reach
    assert found["latent"] > 1.4 * found["pixels"]
