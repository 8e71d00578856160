"""Annealing on models whose log p(x) is known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from app.density.annealing import Annealed, Annealing, Noise, Sandwich, anneal, anneal_back
from app.density.hamiltonian import EXTRA_NUMBERS, Array, Doubles, Dynamics, JointTerms

SIZE, PIXELS, IMAGES = 3, 6, 4
HOW = Annealing(chains=24, temperatures=150, leapfrog_steps=3, scouts=4)
GENERATOR = np.random.default_rng(1)
WEIGHT, NOISE_SCALE = GENERATOR.normal(size=(PIXELS, SIZE)), 0.5
MARGINAL = stats.multivariate_normal(np.zeros(PIXELS), WEIGHT @ WEIGHT.T + NOISE_SCALE**2 * np.eye(PIXELS))
LATENTS = GENERATOR.normal(size=(IMAGES, SIZE))
DRAWN = LATENTS @ WEIGHT.T + NOISE_SCALE * GENERATOR.normal(size=(IMAGES, PIXELS))


def joint(images: Array, latents: Doubles) -> JointTerms:
    """z ~ N(0, I), x|z ~ N(W z, σ²I)."""
    error = images - latents @ WEIGHT.T
    return JointTerms(
        log_likelihood=stats.norm(scale=NOISE_SCALE).logpdf(error).sum(axis=1),
        log_prior=stats.norm.logpdf(latents).sum(axis=1),
        likelihood_gradient=error @ WEIGHT / NOISE_SCALE**2,
        prior_gradient=-latents,
    )


def starts(how: Annealing, images: int = IMAGES) -> Doubles:
    return np.random.default_rng(2).normal(size=(images, how.rows_an_image, SIZE))


def noise(rows: int, seed: int = 3) -> Noise:
    return lambda step: np.random.default_rng([seed, step]).normal(size=(rows, SIZE + EXTRA_NUMBERS))


def led(images: Array, how: Annealing, latents: Doubles | None = None) -> list[Annealed]:
    """The estimates from chains that start at draws from N(0, I)."""
    latents = starts(how, len(images)) if latents is None else latents
    return anneal(joint, images, latents, how, noise(latents[..., 0].size)).estimates


def test_estimate_is_within_its_error_of_the_exact_log_density() -> None:
    estimates = led(DRAWN, HOW)
    for estimate, exact in zip(estimates, MARGINAL.logpdf(DRAWN), strict=True):
        assert estimate.standard_error_nats is not None
        assert 0.01 < estimate.standard_error_nats < 0.3
        assert abs(estimate.log_density_nats - exact) < 4 * estimate.standard_error_nats
        assert estimate.reliable
        assert estimate.acceptance == pytest.approx(HOW.target_acceptance, abs=0.2)


def test_weights_average_to_the_density_however_few_the_temperatures() -> None:
    """E[w] = p(x) exactly (Neal 2001), with step sizes still adapting: over many chains of one image."""
    estimate = led(DRAWN[:1], replace(HOW, chains=6000, temperatures=6))[0]
    assert estimate.standard_error_nats is not None
    assert abs(estimate.log_density_nats - MARGINAL.logpdf(DRAWN[0])) < 4 * estimate.standard_error_nats < 0.3


def test_one_temperature_is_plain_importance_sampling_from_the_prior() -> None:
    how = replace(HOW, temperatures=1)
    latents = starts(how)
    for image, estimate in enumerate(led(DRAWN, how, latents)):
        terms = joint(DRAWN[image].repeat(how.chains).reshape(PIXELS, -1).T, latents[image, : how.chains])
        assert estimate.log_density_nats == pytest.approx(np.log(np.exp(terms.log_likelihood).mean()))
        assert estimate.acceptance == 1


def test_bounds_from_both_sides_close_on_the_exact_value() -> None:
    """Of single chains, whose expected bounds are strict: below, above, and nearer when they are led more slowly."""
    images, gaps = np.tile(DRAWN, (60, 1)), []
    exact, ends = MARGINAL.logpdf(images), _posterior_draws(images)
    for temperatures in (4, 40):
        how = replace(HOW, chains=1, temperatures=temperatures)
        there = anneal(joint, images, starts(how, len(images)), how, noise(len(images) * how.rows_an_image))
        back = anneal_back(joint, images, ends, how, noise(len(images), 4), step_sizes=there.step_sizes)
        below = exact - [each.log_density_nats for each in there.estimates]
        above = np.array([each.log_density_nats for each in back]) - exact
        for slack in (below, above):
            assert slack.mean() > 2 * slack.std() / len(slack) ** 0.5
        gaps.append(np.mean([Sandwich(*pair).gap_nats for pair in zip(there.estimates, back, strict=True)]))
        assert gaps[-1] == pytest.approx((below + above).mean())
    assert gaps[1] < gaps[0] / 3


def test_upper_bound_is_reached_from_exact_posterior_draws() -> None:
    sizes = anneal(joint, DRAWN, starts(HOW), HOW, noise(IMAGES * HOW.rows_an_image)).step_sizes
    found = anneal_back(joint, DRAWN, LATENTS, HOW, noise(IMAGES * HOW.chains, 4), step_sizes=sizes)
    for upper, exact in zip(found, MARGINAL.logpdf(DRAWN), strict=True):
        assert upper.standard_error_nats is not None
        assert abs(upper.log_density_nats - exact) < 5 * upper.standard_error_nats


def test_image_s_estimate_does_not_depend_on_its_company() -> None:
    """Given the same noise: step sizes, too, are each image's own."""
    rows = slice(2 * HOW.rows_an_image, 3 * HOW.rows_an_image)
    together = noise(IMAGES * HOW.rows_an_image)
    alone = anneal(joint, DRAWN[2:3], starts(HOW)[2:3], HOW, lambda step: together(step)[rows]).estimates[0]
    assert alone.log_density_nats == pytest.approx(led(DRAWN, HOW)[2].log_density_nats, rel=1e-12)


def test_unit_of_length_makes_a_stretched_model_the_same_model() -> None:
    """z' = s z with unit s: every chain takes the same path, so the estimates agree up to rounding."""
    stretch = np.array([0.01, 1.0, 50.0])

    def stretched(images: Array, latents: Doubles) -> JointTerms:
        terms = joint(images, latents / stretch)
        return JointTerms(
            terms.log_likelihood,
            terms.log_prior - np.log(stretch).sum(),
            terms.likelihood_gradient / stretch,
            terms.prior_gradient / stretch,
        )

    rows = noise(IMAGES * HOW.rows_an_image)
    scaled = anneal(stretched, DRAWN, starts(HOW) * stretch, HOW, rows, scale=stretch).estimates
    for one, other in zip(led(DRAWN, HOW), scaled, strict=True):
        assert one.log_density_nats == pytest.approx(other.log_density_nats, abs=1e-6)


def test_transitions_leave_the_tempered_density_as_it_is() -> None:
    """From exact draws at β, draws at β: their means and covariance stay those of the Gaussian in closed form."""
    beta, rows = 0.4, 20_000
    precision = np.eye(SIZE) + beta * WEIGHT.T @ WEIGHT / NOISE_SCALE**2
    covariance = np.linalg.inv(precision)
    mean = beta * covariance @ WEIGHT.T @ DRAWN[0] / NOISE_SCALE**2
    generator = np.random.default_rng(0)
    dynamics = Dynamics(joint, np.tile(DRAWN[0], (rows, 1)), leapfrog_steps=3, scale=np.ones(SIZE))
    position = dynamics.at(generator.multivariate_normal(mean, covariance, rows))
    accepted = np.zeros(rows)
    for _ in range(3):
        numbers = generator.normal(size=(rows, SIZE + EXTRA_NUMBERS))
        position, accepted = dynamics.transition(position, beta, np.full(rows, 0.25), numbers)
    assert 0.5 < accepted.mean() < 0.99
    np.testing.assert_allclose(position.latent.mean(axis=0), mean, atol=5 * np.sqrt(covariance.max() / rows))
    np.testing.assert_allclose(np.cov(position.latent.T), covariance, atol=0.05 * covariance.max())


def test_trajectory_that_flies_off_is_refused_and_the_chain_stays() -> None:
    def broken(images: Array, latents: Doubles) -> JointTerms:
        terms = joint(images, latents)
        return terms._replace(log_prior=np.where(np.abs(latents).max(axis=1) > 1, np.nan, terms.log_prior))

    dynamics = Dynamics(broken, DRAWN, leapfrog_steps=2, scale=np.ones(SIZE))
    start = dynamics.at(np.zeros((IMAGES, SIZE)))
    end, acceptance = dynamics.transition(start, 1.0, np.full(IMAGES, 1e6), noise(IMAGES)(1))
    np.testing.assert_array_equal(end.latent, start.latent)
    assert acceptance.tolist() == [0.0] * IMAGES


def test_schedule_goes_from_prior_to_posterior_slowly_at_both_ends() -> None:
    betas = Annealing(temperatures=10).inverse_temperatures
    assert (len(betas), betas[0], betas[-1]) == (11, 0.0, 1.0)
    steps = np.diff(betas)
    assert (steps > 0).all()
    np.testing.assert_allclose(steps, steps[::-1])
    assert steps[0] < steps[5] / 4


@pytest.mark.parametrize("wrong", [{"chains": 0}, {"temperatures": 0}, {"scouts": 0}, {"leapfrog_steps": 0}])
def test_annealing_without_chains_or_steps_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="annealing needs a chain"):
        Annealing(**wrong)


def _posterior_draws(images: Array) -> Doubles:
    precision = np.eye(SIZE) + WEIGHT.T @ WEIGHT / NOISE_SCALE**2
    covariance = np.linalg.inv(precision)
    noise = np.random.default_rng(5).normal(size=(len(images), SIZE))
    draws: Doubles = images @ WEIGHT @ covariance / NOISE_SCALE**2 + noise @ np.linalg.cholesky(covariance).T
    return draws
