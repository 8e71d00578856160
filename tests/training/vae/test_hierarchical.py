"""The ladder against second derivations: its factors by torch.distributions, its densities by change of variables."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal
from torch.testing import assert_close

from training.config import DataConfig, VaeConfig
from training.nets.ladder import LadderLayer
from training.vae.hierarchical import HierarchicalVae, make_vae
from training.vae.model import VariationalAutoencoder
from training.vae.objective import (
    doubly_reparameterised_signal,
    elbo_terms,
    importance_weighted_signal,
)

DATA = DataConfig(set="digits", size=8)
LADDER: dict[str, Any] = {
    "family": "vae",
    "nets": "ladder",
    "channels": [4, 6],
    "latent_size": 8 + 16,
    "ladder": {"layers": [1, 1], "latent_channels": [1, 2]},
    "objective": {"kl": "sampled"},
}
PRIORS: dict[str, dict[str, Any]] = {
    "standard normal": {"kind": "standard_normal"},
    "flow": {"kind": "flow", "couplings": 2, "hidden": 8},
}


@pytest.fixture(params=PRIORS)
def vae(request: pytest.FixtureRequest) -> HierarchicalVae:
    return _vae(PRIORS[request.param])


def test_evidence_is_the_product_of_the_factors(vae: HierarchicalVae) -> None:
    image, noise = torch.rand(3, 1, 8, 8).round(), torch.randn(3, 2, 24)
    found = vae.evidence(image, noise)
    for row, sample in [(0, 0), (1, 1), (2, 0)]:
        wanted = _by_hand(vae, image[row : row + 1], noise[row, sample])
        assert_close(torch.stack([term[row, sample] for term in found]), torch.stack(wanted), atol=1e-4, rtol=1e-5)


def test_log_terms_of_given_latents_are_those_of_the_draws(vae: HierarchicalVae) -> None:
    image, noise = torch.rand(3, 1, 8, 8).round(), torch.randn(3, 5, 24)
    evidence, (latent, log_density) = vae.evidence(image, noise), vae.posterior(image).draw(noise)
    assert_close(log_density, evidence.log_posterior)
    assert_close(vae.prior.log_density(latent), evidence.log_prior, atol=1e-4, rtol=1e-5)
    assert_close(vae.posterior(image).log_density(latent), evidence.log_posterior, atol=1e-3, rtol=1e-5)
    assert_close(vae.log_likelihood(image, latent), evidence.log_likelihood, atol=1e-4, rtol=1e-5)


def test_prior_density_is_that_of_the_noise_by_change_of_variables(vae: HierarchicalVae) -> None:
    noise = torch.randn(24)
    jacobian = torch.func.jacrev(lambda one: vae.prior.from_noise(one[None])[0])(noise)
    wanted = Normal(0, 1).log_prob(noise).sum() - torch.linalg.slogdet(jacobian).logabsdet
    assert_close(vae.prior.log_density(vae.prior.from_noise(noise[None]))[0], wanted, atol=1e-3, rtol=1e-5)


def test_posterior_density_is_that_of_the_noise_by_change_of_variables(vae: HierarchicalVae) -> None:
    posterior, noise = vae.posterior(torch.rand(1, 1, 8, 8)), torch.randn(24)
    jacobian = torch.func.jacrev(lambda one: posterior.draw(one[None, None]).latent[0, 0])(noise)
    wanted = Normal(0, 1).log_prob(noise).sum() - torch.linalg.slogdet(jacobian).logabsdet
    assert_close(posterior.draw(noise[None, None]).log_density[0, 0], wanted, atol=1e-4, rtol=1e-5)


def test_mixture_on_top_adds_its_selector_to_the_noise() -> None:
    vae = _vae({"kind": "mixture", "components": 3})
    assert (vae.prior.selectors, vae.prior.noise_size, vae.latent_size) == (1, 25, 24)
    low, high = torch.zeros(1, 25), torch.zeros(1, 25)
    low[0, 0], high[0, 0] = -9.0, 9.0
    means = vae.prior.top.get_parameter("means")
    assert_close(torch.cat([vae.prior.from_noise(low), vae.prior.from_noise(high)])[:, :8], means[[0, 2]])


def test_layers_are_parts_of_the_latent_and_depend_on_those_above_alone(vae: HierarchicalVae) -> None:
    assert vae.prior.layers == VaeConfig.model_validate(LADDER).ladder.sizes(8) == (8, 16)
    noise = torch.randn(1, 24).repeat(3, 1)
    noise[1, 8:] += 1.0  # below the top
    noise[2, :8] += 1.0  # the top
    latent = vae.prior.from_noise(noise)
    assert torch.equal(latent[0, :8], latent[1, :8])
    assert not torch.allclose(latent[0, 8:], latent[1, 8:])
    assert not torch.allclose(latent[0, 8:], latent[2, 8:])


def test_sides_without_layers_are_passed_and_others_may_have_several() -> None:
    ladder = {"layers": [0, 2], "latent_channels": [1, 2]}
    vae = _vae(PRIORS["flow"], ladder=ladder, latent_size=16)
    assert vae.prior.layers == (8, 8)
    assert vae.sample(torch.randn(2, 16)).shape == (2, 1, 8, 8)


def test_rows_do_not_depend_on_their_company(vae: HierarchicalVae) -> None:
    image, noise = torch.rand(6, 1, 8, 8), torch.randn(6, 4, 24)
    together, alone = vae.evidence(image, noise), vae.evidence(image[2:3], noise[2:3, 1:2])
    for whole, part in zip(together, alone, strict=True):
        assert_close(part[0, 0], whole[2, 1], atol=1e-4, rtol=1e-5)


def test_settled_prior_is_the_same(vae: HierarchicalVae) -> None:
    settled, noise = vae.prior.settled(), torch.randn(4, 24)
    latent = vae.prior.from_noise(noise)
    assert (settled.kind, settled.noise_size) == ("hierarchical", 24)
    assert_close(settled.from_noise(noise), latent, atol=1e-5, rtol=1e-5)
    assert_close(settled.log_density(latent), vae.prior.log_density(latent), atol=1e-4, rtol=1e-5)


def test_shared_weights_have_one_name_each(vae: HierarchicalVae) -> None:
    places = [tensor.data_ptr() for tensor in vae.state_dict().values()]
    assert len(places) == len(set(places))


def test_no_scale_leaves_its_bounds() -> None:
    vae = _vae(PRIORS["standard normal"])
    layer = cast(LadderLayer, vae.decoder.layers[1])
    assert layer.prior_head is not None
    with torch.no_grad():
        layer.prior_head.weight.mul_(1e6)
        log_scale = layer.prior(torch.randn(5, 4, 4, 4))[1]
    assert log_scale.abs().max() <= 5
    assert log_scale.abs().max() > 4.99


def test_free_bits_are_those_of_layers() -> None:
    vae, image, noise = _vae(PRIORS["flow"]), torch.rand(50, 1, 8, 8), torch.randn(50, 24)
    log_likelihood, log_prior, log_posterior = vae.evidence_by_layer(image, noise[:, None])
    kl = (log_posterior - log_prior)[:, 0]  # (50, 2)
    small, large = sorted(kl.mean(dim=0).tolist())
    between = (small + large) / 2
    spared = elbo_terms(vae, image, noise, kl="sampled", free_bits=between)
    assert_close(spared.reconstruction, log_likelihood[:, 0])
    assert spared.kl.mean().item() == pytest.approx(between + large, rel=1e-5)
    assert_close(elbo_terms(vae, image, noise, kl="sampled").kl, kl.sum(dim=1), atol=1e-4, rtol=1e-5)


def test_free_bits_of_layers_are_refused_where_there_are_none() -> None:
    flat = make_vae(VaeConfig.model_validate({"family": "vae", "channels": [4, 6]}), DATA)
    with pytest.raises(TypeError, match="free bits of a sampled KL are those of layers: a VariationalAutoencoder has"):
        elbo_terms(flat, torch.rand(2, 1, 8, 8), torch.randn(2, 16), kl="sampled", free_bits=0.1)


def test_doubly_reparameterised_gradient_has_the_expectation_of_the_reparameterised_one() -> None:
    vae = _vae(PRIORS["standard normal"])
    image = torch.rand(1, 1, 8, 8).round().expand(250, -1, -1, -1)
    gradients = [
        torch.stack([_gradient(vae, estimator(vae, image, torch.randn(250, 3, 24)).loss.mean()) for _ in range(40)])
        for estimator in (importance_weighted_signal, doubly_reparameterised_signal)
    ]
    error = torch.stack([found.var(dim=0) for found in gradients]).sum(dim=0).div(40).sqrt()
    deviation = (gradients[0].mean(dim=0) - gradients[1].mean(dim=0)) / error.clamp(min=1e-7)
    assert deviation.abs().max() < 5.5
    assert deviation.square().mean() == pytest.approx(1.0, abs=0.35)


def _gradient(vae: VariationalAutoencoder, loss: Tensor) -> Tensor:
    """Of weights of the way up, of the path that is shared, and of heads of prior and posterior."""
    names = ["encoder.steps.1.0.bias", "decoder.layers.0.add.bias", "decoder.layers.1.posterior_head.bias"]
    names += ["decoder.layers.0.posterior_head.bias", "decoder.layers.1.of_features.bias", "decoder.start"]
    return torch.cat(
        [part.flatten() for part in torch.autograd.grad(loss, [vae.get_parameter(name) for name in names])]
    )


def _by_hand(vae: HierarchicalVae, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The log terms of one draw, factor by factor."""
    features = vae.encoder(image)
    state = vae.decoder.start[None]
    log_prior = log_posterior = torch.zeros(())
    for number, (module, part) in enumerate(zip(vae.decoder.layers, noise.split(vae.decoder.sizes), strict=True)):
        layer = cast(LadderLayer, module)
        state = layer.arrive(state)
        mean, log_scale = layer.prior(state)
        shift, log_ratio = layer.posterior(state, layer.seen(features[layer.level]))
        prior = Normal(mean, log_scale.exp())
        posterior = Normal(mean + log_scale.exp() * shift, (log_scale + log_ratio).exp())
        latent = posterior.mean + posterior.stddev * part
        of_prior = prior.log_prob(latent).sum() if number else vae.prior.top.log_density(latent)[0]
        log_prior, log_posterior = log_prior + of_prior, log_posterior + posterior.log_prob(latent).sum()
        state = layer.merge(state, latent)
    log_likelihood = Bernoulli(logits=vae.decoder.picture(state)).log_prob(image).sum()
    return log_likelihood, log_prior, log_posterior


def _vae(prior: dict[str, Any], **changes: Any) -> HierarchicalVae:
    """A ladder whose every weight differs from what it starts as."""
    torch.manual_seed(0)
    vae = make_vae(VaeConfig.model_validate(LADDER | {"prior": prior} | changes), DATA)
    assert isinstance(vae, HierarchicalVae)
    with torch.no_grad():
        for weight in vae.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return vae
