"""Gradient estimators of one bound have one expectation, whatever their variance."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.training.linear_gaussian import LATENT_SIZE, LinearGaussian, linear_gaussian
from training.vae.model import VariationalAutoencoder
from training.vae.objective import (
    Signal,
    doubly_reparameterised_signal,
    elbo_terms,
    importance_weighted_signal,
    negative_elbo_loss,
    score_function_signal,
)

Estimator = Callable[..., Signal]
REPETITIONS = 400
ROWS = 100


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("samples", [1, 2, 6])
@pytest.mark.parametrize("kl_weight", [1.0, 0.4])
def test_doubly_reparameterised_gradient_has_the_expectation_of_the_reparameterised_one(
    samples: int, kl_weight: float
) -> None:
    model = linear_gaussian(shift=0.4, inflation=1.3, images=1)
    _hold_alike(
        _gradients(model, importance_weighted_signal, samples, kl_weight),
        _gradients(model, doubly_reparameterised_signal, samples, kl_weight),
    )


@pytest.mark.parametrize("kl_weight", [1.0, 0.4])
def test_score_function_gradient_has_the_expectation_of_the_reparameterised_one(kl_weight: float) -> None:
    model = linear_gaussian(shift=0.4, inflation=1.3, images=1)
    _hold_alike(
        _gradients(model, importance_weighted_signal, 1, kl_weight),
        _gradients(model, score_function_signal, 1, kl_weight),
    )


def test_doubly_reparameterised_gradient_does_not_vary_where_the_posterior_is_exact() -> None:
    """Roeder et al. 2017, section 3: only the score varies there, and it is left out."""
    model = linear_gaussian(images=1)
    assert _encoder_gradients(model, doubly_reparameterised_signal, 4).std(dim=0).max() < 1e-3
    assert _encoder_gradients(model, importance_weighted_signal, 4).std(dim=0).max() > 0.1


def test_generative_gradient_is_that_of_the_bound_draw_for_draw() -> None:
    """Only the encoder's estimators differ."""
    model = linear_gaussian(shift=0.4, inflation=1.3)
    noise = torch.randn(len(model.image), 3, LATENT_SIZE)
    weights = list(model.vae.decoder.requires_grad_(True).parameters())
    found = [
        torch.autograd.grad(estimator(model.vae, model.image, noise).loss.sum(), weights)
        for estimator in (importance_weighted_signal, doubly_reparameterised_signal)
    ]
    assert_close(*found, rtol=1e-3, atol=1e-3)


def test_closed_form_elbo_has_the_expected_gradient_too() -> None:
    model = linear_gaussian(shift=0.4, inflation=1.3, images=1)

    def closed_form(vae: VariationalAutoencoder, image: Tensor, noise: Tensor, *, kl_weight: float) -> Signal:
        terms = elbo_terms(vae, image, noise[:, 0], kl="closed_form")
        return Signal(negative_elbo_loss(terms, kl_weight=kl_weight), terms)

    _hold_alike(_gradients(model, importance_weighted_signal, 1, 0.7), _gradients(model, closed_form, 1, 0.7))


def _hold_alike(one: Tensor, other: Tensor) -> None:
    """Two samples of gradients (R, W) have the same mean, within their standard errors, at every weight."""
    error = ((one.var(dim=0) + other.var(dim=0)) / REPETITIONS).sqrt()
    assert ((one.mean(dim=0) - other.mean(dim=0)).abs() < 4.5 * error + 1e-4).all()


def _gradients(model: LinearGaussian, estimator: Estimator, samples: int, kl_weight: float) -> Tensor:
    """Gradients of every weight (R, W), each the mean over ROWS draws of the same image."""
    return _repeated(model, list(model.vae.requires_grad_(True).parameters()), estimator, samples, kl_weight)


def _encoder_gradients(model: LinearGaussian, estimator: Estimator, samples: int) -> Tensor:
    return _repeated(model, list(model.vae.encoder.requires_grad_(True).parameters()), estimator, samples, 1.0)


def _repeated(
    model: LinearGaussian, weights: list[Tensor], estimator: Estimator, samples: int, kl_weight: float
) -> Tensor:
    image = model.image.expand(ROWS, -1, -1, -1)
    found = []
    for _ in range(REPETITIONS):
        signal = estimator(model.vae, image, torch.randn(ROWS, samples, LATENT_SIZE), kl_weight=kl_weight)
        gradients = torch.autograd.grad(signal.loss.mean(), weights)
        found.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(found)
