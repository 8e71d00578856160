"""Directions that search finds in models whose answers are known: what does nothing is said to do nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from app.directions import Direction
from app.manifest import ImageSpace, LatentSpace, PixelRange
from tests.app.tiny_graphs import graph
from tests.app.tiny_models import TinyModel, write_version
from training.data.splits import DataSplits, ImageSet
from training.evaluation import direction_search
from training.evaluation.published import PublishedGraphs, read_manifest

SIDE, LATENT = 8, 40
Find = Callable[[NDArray[np.float64], str], list[Direction]]


def generator(weights: NDArray[np.float64], activation: str) -> onnx.ModelProto:
    """latent (B,40) → image (B,1,8,8): the activation of a linear map."""
    nodes = [
        helper.make_node("MatMul", ["latent", "W"], ["flat"]),
        helper.make_node(activation, ["flat"], ["bounded"]),
        helper.make_node("Reshape", ["bounded", "shape"], ["image"]),
    ]
    constants = {"W": weights, "shape": np.array([-1, 1, SIDE, SIDE])}
    return graph(nodes, {"latent": ["batch", LATENT]}, {"image": ["batch", 1, SIDE, SIDE]}, constants)


def pictures_of_classes(count: int, seed: int) -> ImageSet:
    """Noise that is lighter in one of four rows of two pixels, which is its class."""
    drawn = np.random.default_rng(seed)
    labels = drawn.integers(4, size=count)
    grey = drawn.normal(110, 40, (count, 4, 2 * SIDE))
    grey[np.arange(count), labels] += 40
    return ImageSet(grey.clip(0, 255).astype(np.uint8).reshape(count, SIDE, SIDE, 1), labels)


@pytest.fixture(scope="module")
def data() -> DataSplits:
    parts = (pictures_of_classes(count, seed) for seed, count in enumerate((600, 200, 200)))
    return DataSplits("rows", *parts, ("a", "b", "c", "d"), "0" * 64)


@pytest.fixture
def unsupervised(tmp_path: Path, data: DataSplits, monkeypatch: pytest.MonkeyPatch) -> Find:
    """Finds as many unsupervised directions of a generator as there are latent numbers."""
    monkeypatch.setattr(direction_search, "UNSUPERVISED", LATENT)

    def find(weights: NDArray[np.float64], activation: str) -> list[Direction]:
        fields = {
            "family": "gan",
            "image": ImageSpace(height=SIDE, width=SIDE, channels=1, pixel_range=PixelRange(low=-1, high=1)),
            "latent": LatentSpace(size=LATENT, prior="standard_normal"),
        }
        folder = write_version(tmp_path, TinyModel("tiny", {"latent_to_image": generator(weights, activation)}, fields))
        manifest = read_manifest(folder)
        graphs = PublishedGraphs.open(folder, manifest)
        found = direction_search.find_directions(graphs, manifest, data, weights.T)
        assert found is not None
        return [each for each in found.directions if each.kind != "supervised"]

    return find


def test_directions_of_pure_noise_have_no_effect_on_average(unsupervised: Find) -> None:
    chaotic = np.random.default_rng(5).normal(0, 1e4, (LATENT, SIDE * SIDE))
    found = unsupervised(chaotic, "Sin")  # pixels of a step forward and back have nothing to do with each other
    effects = np.array([direction.effect for direction in found])
    assert len(effects) == 2 * LATENT
    assert np.mean([direction.effect_standard_error for direction in found]) > 0.02
    assert abs(effects.mean()) < 3 * effects.std() / np.sqrt(len(effects))
    assert effects.min() < 0


def test_directions_that_do_something_point_to_where_it_grows(unsupervised: Find) -> None:
    found = unsupervised(np.random.default_rng(6).normal(0, 0.1, (LATENT, SIDE * SIDE)), "Tanh")
    strong = [direction for direction in found if abs(direction.effect) > 6 * direction.effect_standard_error]
    assert len(strong) > LATENT
    assert all(direction.effect > 0 for direction in strong)
