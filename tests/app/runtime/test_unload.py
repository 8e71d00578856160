"""Unloading by name: what was asked is answered, memory comes back, and only loading brings the model back."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path

import numpy as np
import pytest

from app.errors import LoadRefused, ModelNotFound, ModelUnavailable
from app.runtime.repository import ModelRepository
from tests.app.runtime.test_repository import corrupt, play
from tests.app.tiny_models import tiny_gan, tiny_vae, write_version

LATENTS = np.zeros((16, 2), np.float32)


def test_unloading_waits_for_what_was_asked(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        model = repository.get("tiny_vae")
        asked = [asyncio.create_task(model.decode(LATENTS)) for _ in range(4)]
        await asyncio.sleep(0)
        await repository.unload("tiny_vae")
        runs = model.statistics("latent_to_image").batches
        assert sum(rows * tally.count for rows, tally in runs.items()) == 64
        assert [len(answer.images) for answer in await asyncio.gather(*asked)] == [16] * 4
        with pytest.raises(ModelUnavailable, match="unloaded"):
            repository.get("tiny_vae")
        assert repository.get("tiny_gan").ref == "tiny_gan@1"

    play(tiny_root, scene)


def test_request_that_holds_an_unloaded_model_is_still_answered(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        model = repository.get("tiny_vae")
        await repository.unload("tiny_vae")
        assert len((await model.decode(LATENTS)).images) == 16

    play(tiny_root, scene)


def test_unloaded_model_gives_its_memory_back(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        model = weakref.ref(repository.get("tiny_vae"))
        await repository.unload("tiny_vae")
        gc.collect()
        assert model() is None

    play(tiny_root, scene)


def test_unloaded_model_comes_back_by_loading_alone(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        await repository.unload("tiny_vae")
        write_version(tiny_root, tiny_vae(), version=2)
        await repository.refresh()
        listed = {(found.name, found.version): found.reason for found in repository.published()}
        assert (listed["tiny_vae", 1], listed["tiny_vae", 2]) == ("unloaded", "unloaded")
        await repository.load("tiny_vae")
        assert repository.get("tiny_vae").ref == "tiny_vae@2"

    play(tiny_root, scene)


def test_loading_says_what_is_wrong_and_serves_the_rest(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        corrupt(write_version(tiny_root, tiny_gan(seed=2), version=2))
        with pytest.raises(LoadRefused, match="version 2"):
            await repository.load("tiny_gan")
        assert repository.get("tiny_gan").ref == "tiny_gan@1"

    play(tiny_root, scene)


def test_loading_leaves_a_good_version_alone(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        served = repository.get("tiny_gan")
        await repository.load("tiny_gan")
        assert repository.get("tiny_gan") is served

    play(tiny_root, scene)


@pytest.mark.parametrize("name", ["nope", "", "../x", "tiny_vae@1"])
def test_unknown_names_are_refused(tiny_root: Path, name: str) -> None:
    async def scene(repository: ModelRepository) -> None:
        with pytest.raises(ModelNotFound):
            await repository.unload(name)
        with pytest.raises(ModelNotFound):
            await repository.load(name)

    play(tiny_root, scene)


def test_statistics_count_requests_rows_runs_and_failures(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        model = repository.get("tiny_vae")
        await model.decode(LATENTS[:3])
        with pytest.raises(Exception, match="deadline"):
            await model.decode(LATENTS, deadline=0.0)
        found = model.statistics("latent_to_image")
        assert (found.success.count, found.failure.count, found.rows) == (1, 1, 3)
        assert {rows: tally.count for rows, tally in found.batches.items()} == {3: 1}
        assert found.success.seconds == pytest.approx(found.queue.seconds + found.run.seconds)

    play(tiny_root, scene)
