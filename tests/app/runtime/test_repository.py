from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.errors import ModelNotFound, ModelUnavailable
from app.runtime.plan import Planner
from app.runtime.repository import ModelRepository
from app.runtime.tuning import ByHand
from tests.app.tiny_models import tiny_gan, tiny_vae, write_version

Scene = Callable[[ModelRepository], Coroutine[Any, Any, None]]


def play(root: Path, scene: Scene, *, poll_interval_s: float = 3600) -> None:
    async def performance() -> None:
        planner = Planner(ByHand(threads=1, lanes=1, max_batch_rows=16), cores=1, cache_dir=None)
        repository = ModelRepository(root, planner=planner, queue_rows=64, poll_interval_s=poll_interval_s)
        await repository.open()
        try:
            await asyncio.wait_for(scene(repository), timeout=30)
        finally:
            await repository.close()

    asyncio.run(performance())


async def appears(repository: ModelRepository, ref: str) -> None:
    """Return when the watcher has found this version; the scene's limit fails a test that waits in vain."""
    while ref not in {f"{entry.name}@{entry.version}" for entry in repository.entries()}:  # noqa: ASYNC110 (a folder sends no event)
        await asyncio.sleep(0.005)


def corrupt(folder: Path) -> None:
    """Damage a graph as a failing disk would."""
    path = folder / "latent_to_image.onnx"
    path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8)


def test_published_models_are_listed_and_found(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        assert [(entry.name, entry.version, entry.status) for entry in repository.entries()] == [
            ("tiny_gan", 1, "ready"),
            ("tiny_vae", 1, "ready"),
        ]
        assert repository.get("tiny_vae") is repository.get("tiny_vae@1")
        assert repository.ready
        assert repository.entries()[1].manifest == repository.get("tiny_vae").manifest

    play(tiny_root, scene)


def test_bare_name_means_the_newest_version_by_number(tmp_path: Path) -> None:
    for version in (2, 10, 9):
        write_version(tmp_path, tiny_vae(), version)

    async def scene(repository: ModelRepository) -> None:
        assert repository.get("tiny_vae").ref == "tiny_vae@10"
        assert repository.get("tiny_vae@9").ref == "tiny_vae@9"
        assert repository.entries()[0].versions == (2, 9, 10)

    play(tmp_path, scene)


@pytest.mark.parametrize(
    "ref",
    [
        *("nope", "", "@", "@1", "x" * 10_000, "../models", "a/b", "tiny_vae/1", "tiny_vae\0"),
        *("tiny_vae@2", "tiny_vae@01", "tiny_vae@1@1", "tiny_vae@", "tiny_vae@-1", "tiny_vae@٣"),
    ],
)
def test_unknown_model_is_not_found(tiny_root: Path, ref: str) -> None:
    async def scene(repository: ModelRepository) -> None:
        with pytest.raises(ModelNotFound) as refusal:
            repository.get(ref)
        assert len(refusal.value.detail) < 300

    play(tiny_root, scene)


def test_near_names_are_offered(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        with pytest.raises(ModelNotFound, match="did you mean tiny_vae"):
            repository.get("tinyvae")
        with pytest.raises(ModelNotFound, match="it has 1"):
            repository.get("tiny_vae@7")

    play(tiny_root, scene)


def test_publication_is_picked_up_without_being_asked(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        before = repository.get("tiny_vae")
        await asyncio.to_thread(write_version, tiny_root, tiny_vae(), 2)
        await appears(repository, "tiny_vae@2")
        assert repository.get("tiny_vae@1") is before

    play(tiny_root, scene, poll_interval_s=0.01)


def test_unchanged_versions_are_not_loaded_again(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        before = repository.get("tiny_vae")
        await repository.refresh()
        assert repository.get("tiny_vae") is before

    play(tiny_root, scene)


def test_bad_version_is_listed_with_a_reason_and_the_rest_is_served(tiny_root: Path) -> None:
    corrupt(tiny_root / "tiny_gan" / "1")

    async def scene(repository: ModelRepository) -> None:
        gan, vae = repository.entries()
        assert (gan.status, gan.model, gan.versions, vae.status) == ("failed", None, (), "ready")
        assert gan.reason
        assert str(tiny_root) not in gan.reason
        assert "sha256" in gan.reason
        assert gan.manifest is not None
        with pytest.raises(ModelUnavailable, match="sha256"):
            repository.get("tiny_gan")
        assert repository.ready

    play(tiny_root, scene)


def test_bad_newer_version_leaves_the_older_serving(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        corrupt(write_version(tiny_root, tiny_vae(), 2))
        await repository.refresh()
        entry = repository.entries()[1]
        assert (entry.status, entry.version, entry.versions) == ("ready", 1, (1,))
        assert entry.reason is not None
        assert entry.reason.startswith("version 2: ")
        assert repository.get("tiny_vae").ref == "tiny_vae@1"
        with pytest.raises(ModelUnavailable):
            repository.get("tiny_vae@2")

    play(tiny_root, scene)


def test_version_spoilt_in_place_is_served_from_memory_and_reported(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        before = repository.get("tiny_vae")
        corrupt(tiny_root / "tiny_vae" / "1")
        await repository.refresh()
        assert repository.get("tiny_vae") is before
        assert "sha256" in (repository.entries()[1].reason or "")
        await before.sample(0, [0])

    play(tiny_root, scene)


def test_mended_version_is_served_again(tiny_root: Path) -> None:
    spoilt = tiny_root / "tiny_vae" / "1"
    good = tiny_root.parent / "good"
    shutil.copytree(spoilt, good)
    corrupt(spoilt)

    async def scene(repository: ModelRepository) -> None:
        with pytest.raises(ModelUnavailable):
            repository.get("tiny_vae")
        shutil.copy(good / "latent_to_image.onnx", spoilt)
        await repository.refresh()
        await repository.get("tiny_vae").sample(0, [0])
        assert repository.entries()[1].reason is None

    play(tiny_root, scene)


def test_removed_version_goes_when_its_last_request_has_ended(tiny_root: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        model = repository.get("tiny_vae")
        shutil.rmtree(tiny_root / "tiny_vae")
        await repository.refresh()
        with pytest.raises(ModelNotFound):
            repository.get("tiny_vae")
        assert (await model.sample(0, range(3))).images.shape == (3, 8, 8, 1)
        remains = weakref.ref(model)
        del model
        gc.collect()
        assert remains() is None

    play(tiny_root, scene)


def test_strays_are_no_versions(tiny_root: Path) -> None:
    for stray in (
        "tiny_vae/.2.draft",
        "tiny_vae/latest",
        "tiny_vae/0",
        "tiny_vae/02",
        "tiny_vae/-1",
        ".hidden/1",
        "A/1",
    ):
        shutil.copytree(tiny_root / "tiny_vae" / "1", tiny_root / stray)
    (tiny_root / "tiny_vae" / "3").write_text("a file")
    (tiny_root / "manifest.schema.json").write_text("{}")

    async def scene(repository: ModelRepository) -> None:
        assert [(entry.name, entry.versions, entry.reason) for entry in repository.entries()] == [
            ("tiny_gan", (1,), None),
            ("tiny_vae", (1,), None),
        ]

    play(tiny_root, scene)


def test_draft_that_is_renamed_becomes_a_version(tiny_root: Path) -> None:
    final = write_version(tiny_root, tiny_gan(), 2)
    draft = final.rename(final.with_name(".2.tmp"))

    async def scene(repository: ModelRepository) -> None:
        assert repository.get("tiny_gan").ref == "tiny_gan@1"
        draft.rename(final)
        await repository.refresh()
        assert repository.get("tiny_gan").ref == "tiny_gan@2"

    play(tiny_root, scene)


def test_missing_root_is_an_empty_repository_until_it_appears(tmp_path: Path) -> None:
    async def scene(repository: ModelRepository) -> None:
        assert (repository.entries(), repository.ready) == ([], False)
        write_version(tmp_path / "models", tiny_vae())
        await repository.refresh()
        assert repository.ready

    play(tmp_path / "models", scene)


def test_empty_version_folder_is_a_failed_version(tmp_path: Path) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)

    async def scene(repository: ModelRepository) -> None:
        (entry,) = repository.entries()
        assert (entry.status, entry.manifest, repository.ready) == ("failed", None, False)
        assert "manifest.json" in (entry.reason or "")

    play(tmp_path, scene)


def test_poll_survives_a_scan_that_fails(
    tiny_root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene(repository: ModelRepository) -> None:
        failures, real = iter([RuntimeError("once")]), Path.iterdir

        def flaky(folder: Path) -> Iterator[Path]:
            for failure in failures:
                raise failure
            return real(folder)

        monkeypatch.setattr(Path, "iterdir", flaky)
        await asyncio.to_thread(write_version, tiny_root, tiny_vae(), 2)
        await appears(repository, "tiny_vae@2")

    play(tiny_root, scene, poll_interval_s=0.01)
    assert "the next one tries again" in caplog.text
