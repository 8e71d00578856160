"""p(z|y) against torch.distributions, and its draws against its moments."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.testing import assert_close

from training.probability.labelled_prior import LabelledMixturePrior

CLASSES, COMPONENTS, SIZE = 3, 4, 2


def _prior() -> LabelledMixturePrior:
    torch.manual_seed(0)
    prior = LabelledMixturePrior(SIZE, CLASSES, COMPONENTS).requires_grad_(False)
    for parameter in prior.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    return prior


def _reference(prior: LabelledMixturePrior, label: int) -> MixtureSameFamily:
    parts = Independent(Normal(prior.means[label], prior.log_scales[label].exp()), 1)
    return MixtureSameFamily(Categorical(logits=prior.logits[label]), parts)


def test_density_under_every_label_is_that_of_its_mixture() -> None:
    prior, latent = _prior(), torch.randn(5, 2, SIZE)
    expected = torch.stack([_reference(prior, label).log_prob(latent) for label in range(CLASSES)], dim=-1)
    assert_close(prior.log_density_by_label(latent), expected)
    assert_close(prior.log_density(latent), expected.exp().mean(dim=-1).log())


def test_draws_of_a_class_have_its_moments() -> None:
    prior = _prior()
    noise = torch.randn(60_000, prior.noise_size, generator=torch.Generator().manual_seed(0))
    for label in range(CLASSES):
        reference = _reference(prior, label)
        drawn = prior.from_noise(noise, torch.full((len(noise),), label))
        error = reference.stddev / len(noise) ** 0.5
        assert bool(((drawn.mean(dim=0) - reference.mean).abs() < 5 * error).all())
        assert_close(drawn.std(dim=0), reference.stddev, rtol=0.03, atol=0)


def test_settled_prior_draws_the_same_and_classes_take_turns_without_labels() -> None:
    prior = _prior()
    noise, label = torch.randn(50, prior.noise_size), torch.arange(50) % CLASSES
    settled = prior.settled()
    assert torch.equal(settled.from_noise(noise, label), prior.from_noise(noise, label))
    latent: Tensor = torch.randn(4, SIZE)
    assert torch.equal(settled.log_density_by_label(latent), prior.log_density_by_label(latent))
    assert torch.equal(settled.from_noise(noise), prior.from_noise(noise, label))
