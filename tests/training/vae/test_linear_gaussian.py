"""Every bound is held to the exact log p(x) of a linear-Gaussian VAE."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from app.density.bounds import Bounds, bounds
from app.runtime.session import GraphSession
from tests.training.linear_gaussian import LATENT_SIZE, SIDE, LinearGaussian, linear_gaussian
from training.export.graphs import graphs_of
from training.export.to_onnx import write_graph
from training.vae.model import Evidence, VariationalAutoencoder
from training.vae.objective import elbo_terms

SAMPLES = 4000
ROUNDING = 2e-5
"""Nats that float32 costs here."""


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("samples", [1, 2, 50])
def test_every_draw_of_the_exact_posterior_weighs_exactly_log_p(samples: int) -> None:
    exact = linear_gaussian()
    for found, log_density in zip(_bounds(exact, samples), exact.log_density.tolist(), strict=True):
        assert found.importance_weighted_nats == pytest.approx(log_density, abs=ROUNDING)
        assert found.elbo_nats == pytest.approx(log_density, abs=ROUNDING)
        assert found.effective_sample_size == pytest.approx(samples)


@pytest.mark.parametrize(("shift", "inflation"), [(0.5, 1.0), (0.0, 1.4), (-0.3, 1.2)])
def test_elbo_falls_short_of_log_p_by_the_kl_to_the_true_posterior(shift: float, inflation: float) -> None:
    inexact = linear_gaussian(shift=shift, inflation=inflation)
    log_weights = _log_weights(_evidence(inexact, SAMPLES))
    error = log_weights.std(dim=1) / SAMPLES**0.5
    assert (((inexact.log_density - log_weights.mean(dim=1)) - inexact.gap).abs() < 5 * error).all()
    assert (log_weights.mean(dim=1) + 5 * error < inexact.log_density).all()


def test_bounds_are_ordered_and_the_tight_one_reaches_log_p() -> None:
    inexact = linear_gaussian(shift=0.3, inflation=1.3)
    for found, log_density in zip(_bounds(inexact, SAMPLES), inexact.log_density.tolist(), strict=True):
        assert found.standard_error_nats is not None
        assert found.elbo_nats < found.importance_weighted_nats
        assert abs(found.importance_weighted_nats - log_density) < 5 * found.standard_error_nats
        assert found.inference_gap_nats == pytest.approx(inexact.gap, abs=0.05)


def test_importance_weighted_bound_rises_with_the_number_of_samples() -> None:
    """Theorem 1 of Burda et al. 2016, on the average over groups of the same draws."""
    inexact = linear_gaussian(shift=0.6, inflation=1.3)
    log_weights = _log_weights(_evidence(inexact, SAMPLES))
    by_samples = [
        float((log_weights.unflatten(1, (-1, k)).logsumexp(dim=2) - math.log(k)).mean())
        for k in (1, 2, 5, 20, 100, SAMPLES)
    ]
    assert by_samples == sorted(by_samples)
    assert by_samples[1] - by_samples[0] > 0.1
    assert by_samples[-1] == pytest.approx(float(inexact.log_density.mean()), abs=0.05)


@pytest.mark.parametrize("kl", ["closed_form", "sampled"])
def test_both_training_elbos_have_the_expectation_that_theory_gives(kl: str) -> None:
    inexact = linear_gaussian(shift=0.4, inflation=1.2)
    image = inexact.image.repeat_interleave(SAMPLES, dim=0)
    noise = torch.randn(len(image), LATENT_SIZE)
    elbo = elbo_terms(inexact.vae, image, noise, kl=kl).elbo.double().reshape(-1, SAMPLES)
    error = elbo.std(dim=1) / SAMPLES**0.5
    assert ((elbo.mean(dim=1) - (inexact.log_density - inexact.gap)).abs() < 5 * error).all()


def test_three_forms_of_the_elbo_agree_in_expectation() -> None:
    """Reconstruction − KL, energy + entropy, and log p(x) − KL(q(z|x) ‖ p(z|x)), each from its own closed forms."""
    inexact = linear_gaussian(shift=0.4, inflation=1.2)
    evidence, posterior = _evidence(inexact, SAMPLES), inexact.vae.posterior(inexact.image)
    normal = Independent(Normal(posterior.mean.double(), posterior.scale.double()), 1)
    kl = kl_divergence(normal, Independent(Normal(torch.zeros(6, LATENT_SIZE).double(), 1.0), 1))
    energy = (evidence.log_likelihood + evidence.log_prior).double()
    first, second = evidence.log_likelihood.double() - kl[:, None], energy + normal.entropy()[:, None]
    third = inexact.log_density - inexact.gap
    for form in (first, second, _log_weights(evidence)):
        error = form.std(dim=1) / SAMPLES**0.5
        assert ((form.mean(dim=1) - third).abs() < 5 * error).all()


def test_exported_graph_gives_exact_bounds_at_sizes_it_never_saw(tmp_path: Path) -> None:
    exact = linear_gaussian()
    session = _exported(exact.vae, tmp_path)
    for images, samples in [(1, 1), (6, 1), (1, 40), (5, 17)]:
        image = exact.image[:images].numpy()
        noise = torch.randn(images, samples, LATENT_SIZE).numpy()
        terms = session.run({"image": image, "noise": noise})
        assert {name: term.shape for name, term in terms.items()} == dict.fromkeys(terms, (images, samples))
        for row in range(images):
            found = bounds(**{name: term[row] for name, term in terms.items()})
            assert found.importance_weighted_nats == pytest.approx(float(exact.log_density[row]), abs=ROUNDING)


def test_exported_graph_gives_the_terms_of_pytorch_with_an_inexact_posterior(tmp_path: Path) -> None:
    inexact = linear_gaussian(shift=0.3, inflation=1.3)
    session = _exported(inexact.vae, tmp_path)
    noise = torch.randn(6, 30, LATENT_SIZE)
    terms = session.run({"image": inexact.image.numpy(), "noise": noise.numpy()})
    wanted = inexact.vae.evidence(inexact.image, noise)
    for name, term in wanted._asdict().items():
        np.testing.assert_allclose(terms[name], term, atol=ROUNDING)


def _exported(vae: VariationalAutoencoder, folder: Path) -> GraphSession:
    graphs = graphs_of(vae, (1, SIDE, SIDE), LATENT_SIZE)
    graph = next(graph for graph in graphs if graph.role == "image_to_evidence")
    signature = write_graph(graph, folder)
    return GraphSession.open(folder / signature.file, signature)


def _evidence(model: LinearGaussian, samples: int) -> Evidence:
    noise = torch.randn(len(model.image), samples, LATENT_SIZE)
    return model.vae.evidence(model.image, noise)


def _log_weights(evidence: Evidence) -> torch.Tensor:
    return (evidence.log_likelihood + evidence.log_prior - evidence.log_posterior).double()


def _bounds(model: LinearGaussian, samples: int) -> list[Bounds]:
    return [bounds(*row) for row in zip(*(term.numpy() for term in _evidence(model, samples)), strict=True)]
