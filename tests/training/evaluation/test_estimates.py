"""Annealing through exported graphs: against closed forms, and from the command line on published files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from app.density.annealing import Annealing
from app.manifest import ImageSpace, Likelihood, PixelRange
from app.runtime.session import GraphSession
from tests.training.linear_gaussian import LATENT_SIZE, SIDE, LinearGaussian, linear_gaussian
from training.__main__ import main
from training.config import ConfigError
from training.evaluation.annealed import AnnealedModel
from training.evaluation.published import PublishedGraphs
from training.export.graphs import graphs_of
from training.export.to_onnx import write_graph
from training.probability.likelihood import make_likelihood
from training.probability.prior import GaussianMixturePrior

HOW = Annealing(chains=20, temperatures=200, leapfrog_steps=3)
ROLES = ("noise_to_latent", "latent_to_image", "latent_to_evidence")
SHAPE = (1, SIDE, SIDE)


@pytest.fixture(scope="module")
def exact() -> LinearGaussian:
    return linear_gaussian()


@pytest.fixture(scope="module")
def model(exact: LinearGaussian, tmp_path_factory: pytest.TempPathFactory) -> AnnealedModel:
    return AnnealedModel(_published(exact.vae, tmp_path_factory.mktemp("graphs")), HOW)


def test_annealing_through_onnx_finds_the_exact_log_density(exact: LinearGaussian, model: AnnealedModel) -> None:
    found = model.estimates(exact.image.numpy())
    for estimate, log_density in zip(found, exact.log_density.tolist(), strict=True):
        assert estimate.standard_error_nats is not None
        assert abs(estimate.log_density_nats - log_density) < 5 * estimate.standard_error_nats < 2.5


def test_images_that_the_model_draws_have_its_distribution(exact: LinearGaussian, model: AnnealedModel) -> None:
    """x ~ N(b, WWᵀ + σ²I), so that its squared Mahalanobis distances are χ² of as many degrees as there are pixels."""
    drawn = model.simulate(2000, _gaussian())
    decoder, likelihood = exact.vae.decoder, exact.vae.likelihood
    weight, offset = (np.asarray(part, np.float64) for part in (decoder.linear.weight, decoder.linear.bias))
    covariance = weight @ weight.T + float(likelihood.scale) ** 2 * np.eye(len(offset))
    centred = drawn.images.reshape(2000, -1) - offset
    distances = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(covariance), centred)
    assert distances.mean() == pytest.approx(9, abs=5 * (18 / 2000) ** 0.5)
    assert distances.var() == pytest.approx(18, rel=0.2)
    residuals = centred - drawn.latents @ weight.T
    assert residuals.std() == pytest.approx(float(likelihood.scale), rel=0.03)


def test_bounds_from_both_sides_enclose_the_exact_log_density(exact: LinearGaussian, model: AnnealedModel) -> None:
    drawn = model.simulate(20, _gaussian())
    found = model.sandwiches(drawn)
    gaps = np.array([each.gap_nats for each in found])
    assert abs(gaps.mean()) < 4 * gaps.std() / len(gaps) ** 0.5 + 0.05
    alone = AnnealedModel(model.graphs, Annealing(chains=1, temperatures=8, leapfrog_steps=3)).sandwiches(drawn)
    wide = np.array([each.gap_nats for each in alone])
    assert wide.mean() > 3 * wide.std() / len(wide) ** 0.5
    assert wide.mean() > gaps.mean()


def test_simulated_binary_images_are_coins_of_their_means(tmp_path: Path) -> None:
    vae = linear_gaussian().vae
    vae.likelihood = make_likelihood("bernoulli")
    model = AnnealedModel(_published(vae, tmp_path), HOW)
    drawn = model.simulate(3000, Likelihood(kind="bernoulli", nats_of="probability of a binary image", discrete=True))
    assert set(np.unique(drawn.images)) == {0.0, 1.0}
    means = model.graphs.means(drawn.latents)
    np.testing.assert_allclose(drawn.images.mean(axis=0), means.mean(axis=0), atol=5 * 0.5 / 3000**0.5)
    assert np.mean((drawn.images - means) * means) == pytest.approx(0, abs=0.01)


def test_learned_prior_is_where_chains_start_and_what_their_steps_are_measured_by(tmp_path: Path) -> None:
    """A decoder that ignores the latent: whatever the prior, p(x) = p(x|z), and every weight is exactly that."""
    vae = linear_gaussian().vae
    vae.decoder.linear.weight.data.zero_()
    torch.manual_seed(0)
    vae.prior = GaussianMixturePrior(LATENT_SIZE, 3)
    with torch.no_grad():
        vae.prior.log_scales += torch.tensor([-3.0, 1.0])
    image = linear_gaussian().image
    wanted = vae.log_likelihood(image, torch.zeros(len(image), 1, LATENT_SIZE))[:, 0].tolist()
    found = AnnealedModel(_published(vae.requires_grad_(False), tmp_path), HOW).estimates(image.numpy())
    assert [each.log_density_nats for each in found] == pytest.approx(wanted, abs=1e-4)
    assert min(each.effective_sample_size for each in found) == pytest.approx(HOW.chains)
    assert min(each.acceptance for each in found) > 0.5


def test_pixels_that_their_mean_does_not_determine_are_not_simulated(model: AnnealedModel) -> None:
    likelihood = Likelihood(kind="categorical", nats_of="probability of an 8-bit image", discrete=True)
    with pytest.raises(ConfigError, match="not of categorical ones"):
        model.simulate(2, likelihood)


def test_evaluate_prints_every_estimate_with_its_protocol(models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--samples", "30", "--ais", "12x20", "--bdmc", "12×20", "--images", "5", "--leapfrog-steps", "3"]
    assert main(["evaluate", str(models_dir / "tiny_vae" / "1"), *options]) == 0
    printed = capsys.readouterr().out
    number = re.compile(r"^(\w+): (\S+) ± \S+ nats per image; (.+)$", re.MULTILINE)
    found = {name: (float(value), protocol) for name, value, protocol in number.findall(printed)}
    weighted, protocol = found["importance_weighted_negative_log_likelihood_nats"]
    assert "K = 30" in protocol
    assert "a random 5 of the " in protocol
    assert "effective sample size" in protocol
    annealed, protocol = found["annealed_negative_log_likelihood_nats"]
    assert "12 chains × 20 temperatures × 3 leapfrog steps" in protocol
    assert found["annealed_minus_importance_weighted_nats"][0] == pytest.approx(weighted - annealed, abs=1e-3)
    lower, upper = (found[f"simulated_{side}_bound_nats"][0] for side in ("lower", "upper"))
    assert found["simulated_gap_nats"][0] == pytest.approx(upper - lower, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("tiny_gan", ["--samples", "5"], "tiny_gan@1 has no density to estimate"),
        ("tiny_gan", ["--ais"], "tiny_gan@1 has no density to estimate"),
    ],
)
def test_evaluate_says_what_a_model_has_no_estimate_of(
    models_dir: Path, capsys: pytest.CaptureFixture[str], name: str, options: list[str], said: str
) -> None:
    assert main(["evaluate", str(models_dir / name / "1"), *options]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--ais", "many"], ["--ais", "0x10"], ["--bdmc", "3"], ["--samples", "0"]])
def test_evaluate_refuses_what_is_no_protocol(models_dir: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", str(models_dir / "tiny_vae" / "1"), *wrong])


def test_version_without_the_graph_is_told_why(exact: LinearGaussian) -> None:
    space = ImageSpace(height=SIDE, width=SIDE, channels=1, pixel_range=PixelRange(low=0, high=1))
    with pytest.raises(ConfigError, match="needs the graph latent_to_evidence"):
        AnnealedModel(PublishedGraphs(space, {}), HOW)


def _published(vae: nn.Module, folder: Path) -> PublishedGraphs:
    sessions = {}
    for graph in graphs_of(vae, SHAPE, LATENT_SIZE):
        if graph.role in ROLES:
            signature = write_graph(graph, folder)
            sessions[graph.role] = GraphSession.open(folder / signature.file, signature)
    space = ImageSpace(height=SIDE, width=SIDE, channels=1, pixel_range=PixelRange(low=0, high=1))
    return PublishedGraphs(space, sessions)


def _gaussian() -> Likelihood:
    return Likelihood(kind="gaussian", nats_of="density of pixels in [0, 1]", discrete=False)
