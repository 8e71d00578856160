from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from app.errors import CapabilityNotOffered, ModelOutputInvalid, ShuttingDown
from app.images.pixels import to_floats
from app.latent.noise import Stream, standard_normal
from app.runtime.model import GenerativeModel
from app.runtime.plan import Planner
from app.runtime.scoring import Effort
from app.runtime.tuning import ByHand
from app.runtime.version import open_version, read_manifest
from tests.app.tiny_models import LinearGaussian, TinyModel, tiny_gan, tiny_vae, without_graphs, write_version

Result = TypeVar("Result")
PLANNER = Planner(ByHand(threads=1, lanes=1, max_batch_rows=16), cores=1, cache_dir=None)
INFLATED = LinearGaussian(inflation=1.4)


def play(root: Path, tiny: TinyModel, scene: Callable[[GenerativeModel], Coroutine[Any, Any, Result]]) -> Result:
    """Open a model, run a scene with it, close it."""
    folder = write_version(root, tiny)
    version = open_version(folder, read_manifest(folder), PLANNER)

    async def performance() -> Result:
        model = GenerativeModel(version, queue_rows=4096)
        try:
            return await asyncio.wait_for(scene(model), timeout=30)
        finally:
            await model.close()

    return asyncio.run(performance())


def flat(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(len(pictures), 64) / 255


@pytest.mark.parametrize("tiny", [tiny_vae(), tiny_gan()], ids=["vae", "gan"])
def test_sample_is_the_same_bytes_at_any_count_alone_and_in_company(tmp_path: Path, tiny: TinyModel) -> None:
    async def scene(model: GenerativeModel) -> None:
        together = await model.sample(3, range(64))
        alone = await model.sample(3, [41])
        crowd = await asyncio.gather(*(model.sample(seed, [41]) for seed in range(20)))
        assert alone.images.tobytes() == crowd[3].images.tobytes() == together.images[41:42].tobytes()
        np.testing.assert_array_equal(alone.latents, together.latents[41:42])

    play(tmp_path, tiny, scene)


def test_sample_decodes_the_latents_of_its_seed(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        samples = await model.sample(5, [2, 0])
        np.testing.assert_array_equal(samples.latents, standard_normal(5, [2, 0], 2))
        np.testing.assert_array_equal(samples.latents, model.seed_noise(5, [2, 0]))
        expected = np.clip(samples.latents @ LinearGaussian().weights.T + 0.5, 0, 1) * 255
        np.testing.assert_allclose(samples.images.reshape(2, 64), expected, atol=0.51)

    play(tmp_path, tiny_vae(), scene)


def test_temperature_scales_and_truncation_bounds_the_noise(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        cold = await model.sample(1, range(3), temperature=0.0)
        assert not cold.latents.any()
        assert len(np.unique(cold.images, axis=0)) == 1
        warm = await model.sample(1, range(3), temperature=1.5)
        np.testing.assert_allclose(warm.latents, 1.5 * model.seed_noise(1, range(3)), rtol=1e-6)
        narrow = await model.sample(1, range(100), truncation=0.5)
        assert np.abs(narrow.latents).max() <= 0.5

    play(tmp_path, tiny_vae(), scene)


def test_encode_gives_the_exact_posterior(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        pictures = (await model.sample(0, range(5))).images
        encoded = await model.encode(pictures, draws=3, seed=9)
        mean = LinearGaussian().posterior_mean(flat(pictures))
        noise = standard_normal(9, range(5), 3 * 2, stream=Stream.POSTERIOR).reshape(5, 3, 2)
        scale = LinearGaussian().posterior_sigma
        np.testing.assert_allclose(encoded.mean, mean, atol=1e-6)
        np.testing.assert_allclose(encoded.scale, np.full((5, 2), scale), rtol=1e-6)
        np.testing.assert_allclose(encoded.draws, mean[:, None] + scale * noise, atol=1e-6)

    play(tmp_path, tiny_vae(), scene)


def test_encode_without_draws_has_none(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        encoded = await model.encode((await model.sample(0, [0])).images)
        assert encoded.draws.shape == (1, 0, 2)

    play(tmp_path, tiny_vae(), scene)


def test_score_of_the_exact_posterior_is_the_exact_density(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        pictures = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), np.uint8)
        exact = LinearGaussian().log_density(flat(pictures))
        for samples in (1, 40):
            scores = await model.score(pictures, effort=Effort.fixed(samples), seed=4)
            np.testing.assert_allclose([b.elbo_nats for b in scores.bounds], exact, rtol=1e-5)
            np.testing.assert_allclose([b.importance_weighted_nats for b in scores.bounds], exact, rtol=1e-5)

    play(tmp_path, tiny_vae(), scene)


def test_score_of_a_wide_posterior_lies_below_and_rises_to_the_density(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        pictures = (await model.sample(2, range(3))).images
        exact = INFLATED.log_density(flat(pictures))
        gap = 2 * (0.5 * (1.4**2 - 1) - np.log(1.4))
        for bound, density in zip(
            (await model.score(pictures, effort=Effort.fixed(2000), seed=1)).bounds, exact, strict=True
        ):
            assert bound.standard_error_nats is not None
            assert abs(bound.importance_weighted_nats - density) < 5 * bound.standard_error_nats + 1e-4
            assert bound.elbo_nats == pytest.approx(density - gap, abs=0.08)

    play(tmp_path, tiny_vae(parameters=INFLATED), scene)


def test_score_of_a_picture_does_not_depend_on_its_company(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        pictures = (await model.sample(2, range(7))).images
        together, first, other = await asyncio.gather(
            model.score(pictures, effort=Effort.fixed(50), seed=1),
            model.score(pictures[:1], effort=Effort.fixed(50), seed=1),
            model.score(pictures, effort=Effort.fixed(7), seed=1),
        )
        assert together.bounds[0] == first.bounds[0]
        assert len(other.bounds) == 7

    play(tmp_path, tiny_vae(parameters=INFLATED), scene)


def test_score_takes_no_more_memory_for_more_samples_and_the_same_first_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(model: GenerativeModel) -> None:
        pictures = (await model.sample(2, range(3))).images
        whole = await model.score(pictures, effort=Effort.fixed(300), seed=1)
        monkeypatch.setattr("app.runtime.scoring.NUMBERS_AT_ONCE", 3 * 2 * 37)
        parts = await model.score(pictures, effort=Effort.fixed(300), seed=1)
        for one, other in zip(whole.bounds, parts.bounds, strict=True):
            assert asdict(one) == pytest.approx(asdict(other), rel=1e-9, abs=1e-9)
            assert one != other  # summed in another order: the parts were parts

    play(tmp_path, tiny_vae(parameters=INFLATED), scene)


def test_pixel_evidence_adds_up_to_the_reconstruction_term(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        pictures = (await model.sample(2, range(3))).images
        effort = Effort(samples=20, most=400, half_width_nats=0.1)
        scores = await model.score(pictures, effort=effort, seed=1)
        evidence = await model.pixel_evidence(pictures, scores.samples, seed=1)
        assert evidence.nats.shape == (3, 8, 8)
        sums = evidence.nats.astype(np.float64).sum(axis=(1, 2))
        np.testing.assert_allclose(sums, [bound.reconstruction_nats for bound in scores.bounds], atol=1e-3)

    play(tmp_path, tiny_vae(parameters=INFLATED), scene)


def test_realism_is_the_discriminators_logit(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        pictures = (await model.sample(0, range(4))).images
        realism = await model.realism(pictures)
        session = open_version(model.folder, model.manifest, PLANNER).sessions["image_to_realism"]
        expected = session.run({"image": to_floats(pictures, model.manifest.image.pixel_range)})["logit"]
        np.testing.assert_array_equal(realism.logits, expected)

    play(tmp_path, tiny_gan(), scene)


@pytest.mark.parametrize("operation", ["encode", "score", "realism", "decode", "sample"])
def test_missing_graph_is_a_capability_not_offered(tmp_path: Path, operation: str) -> None:
    async def scene(model: GenerativeModel) -> None:
        pictures = np.zeros((1, 8, 8, 3), np.uint8)
        calls = {
            "encode": lambda: model.encode(pictures),
            "score": lambda: model.score(pictures, effort=Effort.fixed(1), seed=0),
            "realism": lambda: model.realism(pictures),
            "decode": lambda: model.decode(np.zeros((1, 4), np.float32)),
            "sample": lambda: model.sample(0, [0]),
        }
        with pytest.raises(CapabilityNotOffered) as refusal:
            await calls[operation]()
        assert refusal.value.capabilities == model.capabilities
        assert operation not in model.capabilities

    kept = "image_to_realism" if operation in ("decode", "sample") else "latent_to_image"
    missing = {"image_to_realism", "latent_to_image"} - {kept}
    tiny = without_graphs(tiny_gan(), *missing)
    play(tmp_path, TinyModel(tiny.name, tiny.graphs, tiny.fields, preview=False), scene)


def test_latent_that_overflows_fails_alone(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        good, bad = await asyncio.gather(
            model.decode(np.zeros((1, 2), np.float32)),
            model.decode(np.full((1, 2), np.inf, np.float32)),
            return_exceptions=True,
        )
        assert isinstance(bad, ModelOutputInvalid)
        assert not isinstance(good, BaseException)

    play(tmp_path, tiny_vae(), scene)


def test_closed_model_takes_nothing_new(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        await model.close()
        with pytest.raises(ShuttingDown):
            await model.sample(0, [0])

    play(tmp_path, tiny_vae(), scene)


def test_model_tells_what_it_is(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        assert (model.ref, model.folder.name) == ("tiny_vae@1", "1")
        assert "A model for tests" in model.card
        assert model.preview_png
        assert model.map_json is None

    play(tmp_path, tiny_vae(), scene)
