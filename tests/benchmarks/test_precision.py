"""The table of two precisions: twins start alike, take as many steps, and are compared pair by pair."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.harness.cells import PRECISIONS, Cell, grid
from benchmarks.harness.halving import report, spread, twins
from benchmarks.trainers.gan_cell import cell_config
from benchmarks.trainers.our_gan import train_ours
from tests.benchmarks.test_references import RESULT, tiny
from training.data.datasets import load_splits

FOUND = {
    Cell("lsgan", "mnist", 1, "bfloat16"): replace(RESULT, frechet_distance=0.55, cpu_s=5.0),
    Cell("lsgan", "mnist", 1, "float32"): RESULT,
    Cell("lsgan", "mnist", 2, "bfloat16"): replace(RESULT, frechet_distance=0.4),
    Cell("lsgan", "mnist", 2, "float32"): RESULT,
    Cell("dcgan", "mnist", 1, "bfloat16"): RESULT,
}


def test_cells_of_a_seed_differ_by_their_precision_alone() -> None:
    cells = grid(2, sets=["mnist"], sides=PRECISIONS)
    assert len(cells) == 16
    for half, full in zip(cells[::2], cells[1::2], strict=True):
        configs = [cell_config(cell).model_dump() for cell in (half, full)]
        assert [config["optimiser"].pop("precision") for config in configs] == list(PRECISIONS)
        assert configs[0] == configs[1]


def test_a_training_takes_the_steps_that_it_is_given_and_stands_still_at_the_end() -> None:
    config = tiny()
    data = load_splits(config.data)
    first, again = (train_ours(config, data, steps=7) for _ in range(2))
    assert (first.steps, first.images) == (7, 7 * config.optimiser.batch_size)
    for one, other in zip(first.generator.parameters(), again.generator.parameters(), strict=True):
        assert torch.equal(one, other)


def test_twins_are_compared_pair_by_pair() -> None:
    assert [(pair.recipe, pair.seed) for pair in twins(FOUND)] == [("lsgan", 1), ("lsgan", 2)]
    assert [pair.distances for pair in twins(FOUND)] == pytest.approx([1.1, 0.8])
    assert [pair.speeds for pair in twins(FOUND)] == pytest.approx([2.0, 1.0])


def test_the_spread_of_ratios_is_that_of_their_logarithms() -> None:
    ratios = [0.5, 1.0, 2.0]
    expected = np.exp(np.std(np.log(ratios), ddof=1) / np.sqrt(3)) - 1
    assert spread(ratios) == pytest.approx(expected)
    assert spread([1.3]) == math.inf


def test_the_report_states_the_geometric_mean_the_bar_and_what_is_missing() -> None:
    cells = grid(2, sets=["mnist"], sides=PRECISIONS)
    told = report(FOUND, cells)
    assert f"FD in bfloat16 is {math.sqrt(1.1 * 0.8):.3f}" in told
    assert "images a second 1.50 × (median)" in told
    assert "Not measured yet: 11 of 16 cells." in told
    assert told.count(" yes |") == 1
    worse = {
        cell: replace(result, frechet_distance=0.7 if cell.side == "bfloat16" else 0.5)
        for cell, result in FOUND.items()
    }
    assert report(worse, cells).count(" NO |") == 1
    assert "bar" not in report({}, cells)
