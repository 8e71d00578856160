"""The table of our GANs and plain ones: its cells are found, measured once, and compared as the table says."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.harness.cells import Cell, CellResult, NoSuchCell, claimed, grid, results, select
from benchmarks.harness.measuring import measure
from benchmarks.harness.rivalry import distance_ratio, pairs, report, speed_ratio
from benchmarks.trainers.gan_cell import cell_config, draw
from benchmarks.trainers.our_gan import TimedPlan, train_ours
from benchmarks.trainers.plain_gan import BATCH_SIZE, Players, train_reference
from training.config import DataConfig, OptimiserConfig, RunConfig
from training.data.datasets import load_splits
from training.gan_sections import GanConfig
from training.loops.schedule import learning_rate_factor

RESULT = CellResult(
    frechet_distance=0.5,
    floor=0.04,
    kernel_distance=0.01,
    kernel_distance_error=0.001,
    batch_frechet_distance=None,
    class_shares=(0.4, 0.6),
    label_agreement=None,
    samples=100,
    judge="01234567",
    images=17_000,
    steps=100,
    cpu_s=10.0,
    wall_s=12.0,
    parameters={"generator": 5, "discriminator": 4},
    torch="2",
)
PLAIN = replace(RESULT, frechet_distance=2.0, batch_frechet_distance=1.25, images=10_000)


def tiny(**changes: object) -> RunConfig:
    """A GAN of the digits that takes steps in milliseconds."""
    nets = {"latent_size": 4, "generator_channels": 4, "discriminator_channels": 4}
    model = GanConfig.model_validate({"family": "gan", "discriminator_batch_norm": False, **nets, **changes})
    return RunConfig(name="tiny", title="", data=DataConfig(set="digits", size=8), model=model)


def test_cells_are_named_by_their_parts_and_pairs_stand_together() -> None:
    cells = grid(2)
    assert len(cells) == len({cell.file for cell in cells}) == 32
    assert [cell.name for cell in cells[:2]] == ["dcgan:mnist:1:ours", "dcgan:mnist:1:reference"]
    assert {cell.seed for cell in cells[:16]} == {1}


@pytest.mark.parametrize(
    ("selection", "count"), [("dcgan:mnist:1:ours", 1), ("*:mnist", 16), ("*:*:2", 16), ("acgan", 8), ("*", 32)]
)
def test_cells_are_selected_by_parts(selection: str, count: int) -> None:
    assert len(select(grid(2), [selection])) == count


def test_cells_that_do_not_exist_are_refused() -> None:
    for selection in ("began", "dcgan:mnist:3", "dcgan:mnist:1:ours:again", "dc"):
        with pytest.raises(NoSuchCell, match=selection):
            select(grid(2), ["dcgan", selection])


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    cells = grid(1)
    RESULT.save(tmp_path / cells[3].file)
    (tmp_path / f".{cells[4].file}.partial").write_text("{")  # killed in the midst
    assert results(tmp_path, cells) == {cells[3]: RESULT}


def test_a_claimed_result_is_claimed_once(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    with claimed(path) as first, claimed(path) as second, claimed(tmp_path / "other.json") as other:
        assert first is not None
        assert second is None
        assert other is not None
    with claimed(path) as again:
        assert again is not None


def test_only_cells_without_a_result_that_nobody_is_at_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(subprocess, "run", lambda command, **_: begun.append(command[3]))
    cells = select(grid(1), ["dcgan"])
    RESULT.save(tmp_path / cells[0].file)
    with claimed(tmp_path / cells[1].file):
        measure(cells, tmp_path, [], None)
    assert begun == [cell.name for cell in cells[2:]]


def test_seeds_are_compared_by_means_of_what_counts_and_medians_of_speed() -> None:
    found = {}
    for seed, ours, theirs in ((1, 0.2, 1.0), (2, 0.4, 3.0)):
        found[Cell("lsgan", "mnist", seed, "ours")] = replace(RESULT, frechet_distance=ours)
        found[Cell("lsgan", "mnist", seed, "reference")] = replace(
            PLAIN, frechet_distance=theirs, batch_frechet_distance=2.0
        )
    found[Cell("lsgan", "mnist", 3, "ours")] = RESULT
    seeds = pairs(found, "lsgan", "mnist")
    assert [pair.seed for pair in seeds] == [1, 2]
    assert distance_ratio(seeds) == pytest.approx(0.3 / 1.5)  # 1.0 and, by the batch's statistics, 2.0
    assert speed_ratio(seeds) == pytest.approx(1.7)


def test_the_report_says_what_is_kept_and_what_is_missing() -> None:
    cells = grid(1)
    told = report({cells[0]: RESULT, cells[1]: PLAIN}, cells, 180)
    kept = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in told.splitlines() if "1 seed" in line}
    assert kept == {
        "dcgan, mnist: FD / the reference's, 1 seed": "yes",
        "dcgan, mnist: images/s / the reference's, 1 seed": "yes",
    }
    assert "Not measured yet, 14 of 16 cells:" in told
    assert re.search(r"^\| acgan, mnist +\| +1 \| +1 \|$", told, re.MULTILINE)
    assert "dcgan, mnist" not in told.split("Not measured yet")[1]
    slower = report({cells[0]: replace(RESULT, frechet_distance=0.7, cpu_s=11.0), cells[1]: PLAIN}, cells, 180)
    assert slower.count(" NO |") == 2
    assert "Not measured yet, 16 of 16" in report({}, cells, 180)


def test_the_learning_rate_falls_over_the_time_whatever_the_speed() -> None:
    plan, settings = TimedPlan(1000, 10, 10, 0), OptimiserConfig(schedule="cosine")
    assert learning_rate_factor(settings, 0, plan.after(0, 0.0).total_steps) == 1
    for share, steps in ((0.25, 50), (0.25, 5000), (0.5, 300), (0.999, 900)):
        factor = learning_rate_factor(settings, steps, plan.after(steps, share).total_steps)
        assert factor == pytest.approx(0.5 * (1 + np.cos(np.pi * share)), abs=0.01)


@pytest.mark.parametrize("recipe", ["dcgan", "lsgan", "wgan_gp", "acgan"])
def test_plain_references_learn_as_long_as_they_are_told(recipe: str) -> None:
    config = tiny(condition="auxiliary" if recipe == "acgan" else "none")
    data = load_splits(config.data)
    trained = train_reference(recipe, config, data, seconds=0.2)
    assert trained.images == BATCH_SIZE * trained.steps
    assert 0.2 <= trained.cpu_s < 2
    torch.manual_seed(config.seed)
    fresh = Players.of(config, 10, batch_norm=recipe != "wgan_gp")
    for net, start in ((trained.generator, fresh.generator), (trained.discriminator, fresh.discriminator)):
        for now, before in zip(net.parameters(), start.parameters(), strict=True):
            assert now.ndim == 1 or not torch.equal(now, before)  # a bias of a critic's distance has no gradient
        assert all(weights.isfinite().all() for weights in net.parameters())


def test_our_training_ends_when_its_time_is_up() -> None:
    config = tiny()
    trained = train_ours(config, load_splits(config.data), seconds=0.3)
    assert trained.images == config.optimiser.batch_size * trained.steps > 0
    assert 0.3 <= trained.cpu_s < 3


def test_both_sides_have_the_recipes_nets_and_every_cell_its_pictures_and_seed() -> None:
    for cell in grid(2):
        config = cell_config(cell)
        assert (config.data.set, config.seed) == (cell.data, cell.seed)
        assert isinstance(config.model, GanConfig)
        assert (config.model.condition == "auxiliary") == (cell.recipe == "acgan")
        assert config.optimiser.batch_size == BATCH_SIZE


def test_batch_statistics_draw_what_training_sees_and_leave_the_generator_alone() -> None:
    torch.manual_seed(0)
    generator = Players.of(tiny(), 10, batch_norm=True).generator.eval()
    before = {name: weights.clone() for name, weights in generator.state_dict().items()}
    running, by_batch = (draw(generator, BATCH_SIZE, None, batch_statistics=batch) for batch in (False, True))
    assert running.shape == by_batch.shape == (BATCH_SIZE, 8, 8, 1)
    assert not np.array_equal(running, by_batch)
    assert all(torch.equal(weights, before[name]) for name, weights in generator.state_dict().items())
