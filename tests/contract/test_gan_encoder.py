"""GANs with an encoder over HTTP, told a class or none: they answer as PyTorch does, and annealing agrees on scores."""

from __future__ import annotations

import base64
import io
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax, logsumexp
from starlette.testclient import TestClient

from app.api.application import create_application
from app.images.pixels import to_bytes
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
from training.gan.model import GenerativeAdversarialNetwork
from training.loops.encoder_fit import images_of
from training.loops.gan_training import PIXELS
from training.nets.labels import Labels

MODEL = "/v1/models/tiny_gan"
SIZE, SAMPLES, SEED = 6, 24, 5
KINDS: dict[str, dict[str, Any]] = {
    "no class": {},
    "projection": {"model": {"condition": "projection"}},
    "auxiliary": {"model": {"condition": "auxiliary"}},
    "coupled": {"model": {"condition": "coupled"}, "data": {"second_domain": "inverted"}},
}
TOLD = pytest.mark.parametrize("served", [kind for kind in KINDS if kind != "no class"], indirect=True)


@dataclass(frozen=True)
class Served:
    """The published version, and the trained model behind it."""

    client: TestClient
    version: Path
    density: GeneratorDensity

    def post(self, operation: str, *, status: int = 200, **body: Any) -> dict[str, Any]:
        return post(self.client, f"tiny_gan/{operation}", body, status=status)

    def ask(self, operation: str, pictures: np.ndarray, **body: Any) -> dict[str, Any]:
        """About pictures, each in its class where the model has some."""
        label = self.labels(len(pictures))
        told = {} if label is None else {"label": label.tolist()}
        return self.post(operation, images=texts(pictures), **told, **body)

    def labels(self, count: int) -> Labels | None:
        """Classes in turn, the last one first."""
        return -(torch.arange(count) + 1) % self.density.classes if self.density.classes else None


@pytest.fixture(scope="module", params=list(KINDS))
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("gan_encoder")
    run = train(folder, TINY_GAN, **KINDS[request.param])
    options = ["--channels", "8,16", "--residual-blocks", "0", "--epochs", "3", "--threads", "1"]
    assert main(["fit-encoder", str(run), *options]) == 0
    version = publish(run, folder / "models")
    trained = TrainedRun.load(run)
    assert isinstance(trained.model, GenerativeAdversarialNetwork)
    assert trained.encoder is not None
    density = GeneratorDensity(trained.model.generator, trained.encoder.encoder, trained.encoder.fit.pixel_scale)
    with TestClient(create_application(Settings(models_dir=folder / "models"))) as client:
        yield Served(client, version, density.eval())


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)


def texts(pictures: np.ndarray) -> list[str]:
    return [base64.b64encode(encode_png(picture)).decode() for picture in pictures]


def grey(text: str) -> np.ndarray:
    """A PNG's pixels."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))), int)


def importance_noise(count: int) -> torch.Tensor:
    noise = standard_normal(SEED, range(count), SAMPLES * SIZE, stream=Stream.IMPORTANCE)
    return torch.from_numpy(noise.reshape(count, SAMPLES, SIZE))


def test_encoder_adds_what_it_makes_possible(served: Served) -> None:
    found = served.client.get(MODEL).json()
    assert {"encode", "reconstruct", "score", "pixel_evidence", "realism"} <= set(found["capabilities"])
    likelihood = found["likelihood"]
    assert (likelihood["kind"], likelihood["discrete"]) == ("gaussian", False)
    assert likelihood["scale"] == pytest.approx(float(served.density.scale))
    assert ("N(G(z,y), σ²I)" if served.density.classes else "N(G(z), σ²I)") in likelihood["assumption"]
    assert likelihood["assumption"].replace("|", r"\|") in (served.version / "card.md").read_text(encoding="utf-8")
    fit = tomllib.loads((served.version / "encoder.toml").read_text(encoding="utf-8"))
    assert fit["fit"]["pixel_scale"] == pytest.approx(likelihood["scale"], abs=1e-5)
    told = {graph["role"] for graph in found["manifest"]["graphs"] if graph["inputs"][-1]["name"] == "label"}
    density = {"image_to_latent", "image_to_evidence", "latent_to_pixel_evidence", "latent_to_evidence"}
    assert told >= density if served.density.classes else not told


@torch.no_grad()
def test_latents_are_the_encoder_s(served: Served, pictures: np.ndarray) -> None:
    found = served.ask("encode", pictures, draws=1, seed=SEED)
    assert found["method"] == "encoder"
    posterior = served.density.posterior(images_of(pictures), served.labels(3))
    noise = torch.from_numpy(standard_normal(SEED, range(3), SIZE, stream=Stream.POSTERIOR))
    drawn = posterior.draw(noise[:, None]).latent
    for name, wanted in (("mean", posterior.mean), ("scale", posterior.scale), ("draws", drawn)):
        np.testing.assert_allclose([latent[name] for latent in found["latents"]], wanted, atol=1e-3)


@torch.no_grad()
def test_scores_are_of_the_assumed_density(served: Served, pictures: np.ndarray) -> None:
    found = served.ask("score", pictures, samples=SAMPLES, seed=SEED)
    assert "σ²I)" in found["assumption"]
    terms = served.density.evidence(images_of(pictures), importance_noise(3), served.labels(3))
    weights = terms.log_likelihood + terms.log_prior - terms.log_posterior
    for score, elbo, row in zip(found["scores"], terms.elbo, weights.double(), strict=True):
        assert score["elbo_nats"] == pytest.approx(float(elbo), rel=1e-3, abs=0.1)
        expected = float(torch.logsumexp(row, dim=0)) - np.log(SAMPLES)
        assert score["importance_weighted_nats"] == pytest.approx(expected, rel=1e-3, abs=0.1)
        assert score["outlier"] is not None


@TOLD
@torch.no_grad()
def test_every_class_is_scored_and_the_likeliest_is_named(served: Served, pictures: np.ndarray) -> None:
    """p(x, y), p(x) and p(y|x) follow from p(x|y) under each label by Bayes' rule."""
    image, noise, classes = images_of(pictures), importance_noise(3), served.density.classes
    under = [served.density.evidence(image, noise, torch.full((3,), label)) for label in range(classes)]
    weights = torch.stack([terms.log_likelihood + terms.log_prior - terms.log_posterior for terms in under], dim=1)
    conditional = torch.logsumexp(weights.double(), dim=2).numpy() - np.log(SAMPLES)
    joint = conditional + np.log(served.client.get(MODEL).json()["manifest"]["class_probabilities"])
    asked = {"images": texts(pictures), "samples": SAMPLES, "seed": SEED}
    scores = served.post("score", every_label=True, **asked)["scores"]
    for found, row in zip(scores, joint, strict=True):
        np.testing.assert_allclose(found["joint"]["log_joint_nats"], row, rtol=1e-3, atol=0.1)
        assert found["joint"]["log_marginal_nats"] == pytest.approx(logsumexp(row), rel=1e-3, abs=0.1)
    answer = served.post("classify", method="bayes", **asked)["classifications"]
    wanted = np.exp(log_softmax(joint, axis=1))
    np.testing.assert_allclose([found["probabilities"] for found in answer], wanted, atol=0.02)
    problem = served.post("score", images=asked["images"], status=422)
    assert "needs a label" in problem["detail"]


@torch.no_grad()
def test_walks_between_pictures_end_at_what_the_encoder_says(served: Served, pictures: np.ndarray) -> None:
    label = served.labels(1)
    told = {} if label is None else {"label": int(label)}
    points = [{"image": text, "method": "encoder"} for text in texts(pictures[:2])]
    images = served.post("interpolate", points=points, steps=3, **told)["images"]
    both = None if label is None else label.expand(2)
    ends = served.density.posterior(images_of(pictures[:2]), both).mean
    np.testing.assert_allclose([images[0]["latent"], images[-1]["latent"]], ends, atol=1e-3)
    wanted = to_bytes(served.density.generator(ends, both).numpy(), PIXELS)[..., 0]
    found = np.array([grey(images[place]["png"]) for place in (0, -1)])
    assert np.abs(found - wanted.astype(int)).max() <= 2


def test_search_starts_from_the_encoder_and_ends_nearer(served: Served) -> None:
    test = load_scikit_digits(DataConfig(set="digits", size=8)).test.pictures[:6]
    encoder, search = (served.ask("reconstruct", test, method=method) for method in ("encoder", "optimize"))
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
