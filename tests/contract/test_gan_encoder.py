"""A GAN with an encoder over HTTP: it says what PyTorch says, and annealing agrees with its scores."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from app.api.application import create_application
from app.images.png import encode_png
from app.latent.noise import Stream, standard_normal
from app.settings import Settings
from tests.contract.calls import post
from tests.training.tiny_runs import TINY_GAN, publish, train
from training.__main__ import main
from training.config import DataConfig
from training.data.digits import load_scikit_digits
from training.export.trained import TrainedRun
from training.gan.inference import GeneratorDensity
from training.loops.encoder_fit import images_of

MODEL = "/v1/models/tiny_gan"
SIZE, SAMPLES, SEED = 6, 24, 5


@dataclass(frozen=True)
class Served:
    """The published version, and the trained model behind it."""

    client: TestClient
    version: Path
    density: GeneratorDensity

    def post(self, operation: str, **body: Any) -> dict[str, Any]:
        return post(self.client, f"tiny_gan/{operation}", body)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("gan_encoder")
    run = train(folder, TINY_GAN)
    options = ["--channels", "8,16", "--residual-blocks", "0", "--epochs", "3", "--threads", "1"]
    assert main(["fit-encoder", str(run), *options]) == 0
    version = publish(run, folder / "models")
    trained = TrainedRun.load(run)
    assert trained.encoder is not None
    density = GeneratorDensity(trained.model.generator, trained.encoder.encoder, trained.encoder.fit.pixel_scale)  # type: ignore[arg-type, union-attr]
    with TestClient(create_application(Settings(models_dir=folder / "models"))) as client:
        yield Served(client, version, density.eval())


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)


def texts(pictures: np.ndarray) -> list[str]:
    return [base64.b64encode(encode_png(picture)).decode() for picture in pictures]


def test_encoder_adds_what_it_makes_possible(served: Served) -> None:
    found = served.client.get(MODEL).json()
    assert {"encode", "reconstruct", "score", "pixel_evidence", "realism"} <= set(found["capabilities"])
    likelihood = found["likelihood"]
    assert (likelihood["kind"], likelihood["discrete"]) == ("gaussian", False)
    assert likelihood["scale"] == pytest.approx(float(served.density.scale))
    assert "N(G(z), σ²I)" in likelihood["assumption"]
    assert likelihood["assumption"].replace("|", r"\|") in (served.version / "card.md").read_text(encoding="utf-8")
    fit = tomllib.loads((served.version / "encoder.toml").read_text(encoding="utf-8"))
    assert fit["fit"]["pixel_scale"] == pytest.approx(likelihood["scale"], abs=1e-5)


@torch.no_grad()
def test_latents_are_the_encoder_s(served: Served, pictures: np.ndarray) -> None:
    found = served.post("encode", images=texts(pictures), draws=1, seed=SEED)
    assert found["method"] == "encoder"
    posterior = served.density.posterior(images_of(pictures))
    noise = torch.from_numpy(standard_normal(SEED, range(3), SIZE, stream=Stream.POSTERIOR))
    drawn = posterior.draw(noise[:, None]).latent
    for name, wanted in (("mean", posterior.mean), ("scale", posterior.scale), ("draws", drawn)):
        np.testing.assert_allclose([latent[name] for latent in found["latents"]], wanted, atol=1e-3)


@torch.no_grad()
def test_scores_are_of_the_assumed_density(served: Served, pictures: np.ndarray) -> None:
    found = served.post("score", images=texts(pictures), samples=SAMPLES, seed=SEED)
    assert "N(G(z), σ²I)" in found["assumption"]
    noise = standard_normal(SEED, range(3), SAMPLES * SIZE, stream=Stream.IMPORTANCE).reshape(3, SAMPLES, SIZE)
    terms = served.density.evidence(images_of(pictures), torch.from_numpy(noise))
    weights = terms.log_likelihood + terms.log_prior - terms.log_posterior
    for score, elbo, row in zip(found["scores"], terms.elbo, weights.double(), strict=True):
        assert score["elbo_nats"] == pytest.approx(float(elbo), rel=1e-3, abs=0.1)
        expected = float(torch.logsumexp(row, dim=0)) - np.log(SAMPLES)
        assert score["importance_weighted_nats"] == pytest.approx(expected, rel=1e-3, abs=0.1)
        assert score["outlier"] is not None


def test_search_starts_from_the_encoder_and_ends_nearer(served: Served) -> None:
    test = texts(load_scikit_digits(DataConfig(set="digits", size=8)).test.pictures[:6])
    encoder, search = (served.post("reconstruct", images=test, method=method) for method in ("encoder", "optimize"))
    errors = [[image["mse"] for image in answer["images"]] for answer in (encoder, search)]
    assert (np.array(errors[1]) <= np.array(errors[0]) + 1e-4).all()
    assert np.mean(errors[1]) < np.mean(errors[0])


def test_annealing_is_the_reference_of_the_bound(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    estimates = ["--samples", "400", "--ais", "8x60", "--bdmc", "8x60"]
    assert main(["evaluate", str(served.version), *estimates, "--images", "8", "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {line.split(":")[0]: float(line.split(":")[1].split()[0]) for line in lines if ":" in line}
    tight, annealed = (found[f"{kind}_negative_log_likelihood_nats"] for kind in ("importance_weighted", "annealed"))
    assert annealed == pytest.approx(tight, abs=3)
    assert 0 <= found["simulated_gap_nats"] + 0.5 < 4
