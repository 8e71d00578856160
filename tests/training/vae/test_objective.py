from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.testing import assert_close

from training.config import DataConfig, VaeConfig
from training.vae.model import Evidence, VariationalAutoencoder
from training.vae.objective import (
    ElboTerms,
    Signal,
    doubly_reparameterised_signal,
    elbo_terms,
    free_bits_kl,
    importance_weighted_bound,
    importance_weighted_signal,
    negative_elbo_loss,
    score_function_signal,
    warmup_weight,
)

DATA = DataConfig(set="digits", size=8)


@pytest.mark.parametrize(
    ("epoch", "warmup_epochs", "weight"),
    [(0, 0, 1), (3, 0, 1), (0, 4, 0), (1, 4, 0.25), (3.5, 4, 0.875), (4, 4, 1), (100, 4, 1)],
)
def test_warmup_rises_linearly_to_one_and_stays(epoch: float, warmup_epochs: float, weight: float) -> None:
    assert warmup_weight(epoch, warmup_epochs) == weight


def test_loss_weighs_the_kl_alone() -> None:
    terms = ElboTerms(reconstruction=torch.tensor([-10.0, -20.0]), kl=torch.tensor([2.0, 4.0]))
    assert_close(negative_elbo_loss(terms), -terms.elbo)
    assert_close(negative_elbo_loss(terms, kl_weight=0.25), torch.tensor([10.5, 21.0]))


def test_closed_form_and_sampled_kl_agree_in_expectation_and_share_the_reconstruction() -> None:
    vae, image = _vae(), torch.rand(1, 1, 8, 8).expand(4000, -1, -1, -1)
    noise = torch.randn(4000, 3)
    closed, sampled = (elbo_terms(vae, image, noise, kl=kl) for kl in ("closed_form", "sampled"))
    assert_close(closed.reconstruction, sampled.reconstruction)
    assert abs(sampled.kl.mean() - closed.kl[0]) < 5 * sampled.kl.std() / 4000**0.5


def test_sampled_elbo_is_the_mean_log_weight_of_the_evidence() -> None:
    vae, image, noise = _vae(), torch.rand(6, 1, 8, 8), torch.randn(6, 1, 3)
    evidence = vae(image, noise)
    log_weight = evidence.log_likelihood + evidence.log_prior - evidence.log_posterior
    assert_close(elbo_terms(vae, image, noise[:, 0], kl="sampled").elbo, log_weight[:, 0])


def test_rows_do_not_depend_on_their_company() -> None:
    vae, image, noise = _vae(), torch.rand(6, 1, 8, 8), torch.randn(6, 4, 3)
    together, alone = vae.evidence(image, noise), vae.evidence(image[2:3], noise[2:3, 1:2])
    for whole, part in zip(together, alone, strict=True):
        assert_close(part[0, 0], whole[2, 1])


@pytest.mark.parametrize("nets", ["dense", "convolutional"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_bfloat16_nets_leave_every_log_term_in_float32(nets: str, likelihood: str) -> None:
    vae, image, noise = _vae(nets=nets, likelihood=likelihood), torch.rand(5, 1, 8, 8), torch.randn(5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert vae.decoder(noise).dtype == torch.bfloat16  # the nets themselves did change their arithmetic
        terms, evidence = elbo_terms(vae, image, noise, kl="sampled"), vae(image, noise[:, None])
    exact = elbo_terms(vae, image, noise, kl="sampled")
    assert {term.dtype for term in (*terms, *evidence)} == {torch.float32}
    assert_close(terms.elbo, exact.elbo, rtol=0.02, atol=0.5)


@pytest.mark.parametrize(
    "parts",
    [
        {"prior": {"kind": "flow", "couplings": 2, "hidden": 6}, "posterior": {"kind": "full_covariance"}},
        {"prior": {"kind": "vamp", "components": 3}},
        {"prior": {"kind": "mixture", "components": 3}, "posterior": {"kind": "flow", "couplings": 2, "hidden": 6}},
    ],
    ids=["flow and full covariance", "vamp", "mixture and flow"],
)
@pytest.mark.parametrize("signal", [importance_weighted_signal, doubly_reparameterised_signal, score_function_signal])
def test_every_signal_moves_every_weight_of_every_model(
    parts: dict[str, object], signal: Callable[..., Signal]
) -> None:
    vae = _vae(**parts, objective={"kl": "sampled"})
    with torch.no_grad():
        for weight in vae.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    found = signal(vae, torch.rand(4, 1, 8, 8), torch.randn(4, 3, 3))
    found.loss.mean().backward()
    assert not [name for name, weight in vae.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert found.terms.elbo.shape == (4,)


def test_free_bits_count_a_spared_dimension_as_the_minimum_and_leave_it_alone() -> None:
    kl = torch.tensor([[0.1, 2.0, 0.0], [0.3, 4.0, 1.2]], requires_grad=True)
    found = free_bits_kl(kl, 0.5)
    assert_close(found, torch.tensor([2.5, 1.2 + 0.5 + 4.0]))  # means 0.2, 3 and 0.6: the first is spared
    assert_close(found.mean(), torch.tensor([0.2, 3.0, 0.6]).clamp(min=0.5).sum())
    found.mean().backward()
    assert_close(kl.grad, torch.tensor([[0.0, 0.5, 0.5], [0.0, 0.5, 0.5]]))


def test_free_bits_below_every_kl_change_nothing() -> None:
    vae, image, noise = _vae(), torch.rand(6, 1, 8, 8), torch.randn(6, 3)
    plain = elbo_terms(vae, image, noise, kl="closed_form")
    assert_close(elbo_terms(vae, image, noise, kl="closed_form", free_bits=1e-9), plain)


def test_importance_weighted_bound_is_the_log_of_the_mean_weight_and_no_less_than_the_elbo() -> None:
    vae = _vae(prior={"kind": "flow", "couplings": 2, "hidden": 6}, objective={"kl": "sampled"})
    evidence = vae(torch.rand(6, 1, 8, 8), torch.randn(6, 20, 3))
    bound, elbo = importance_weighted_bound(evidence), ElboTerms.of(evidence).elbo
    assert_close(bound, evidence.log_weights().double().exp().mean(dim=1).log().float())
    assert (bound > elbo).all()
    assert_close(elbo, evidence.log_weights().mean(dim=1))
    one = Evidence(*(term[:, :1] for term in evidence))
    assert_close(importance_weighted_bound(one), ElboTerms.of(one).elbo)


def test_posterior_without_closed_forms_is_refused() -> None:
    vae = _vae(posterior={"kind": "flow"}, objective={"kl": "sampled"})
    with pytest.raises(TypeError, match="the KL of a FlowPosterior has no closed form"):
        elbo_terms(vae, torch.rand(2, 1, 8, 8), torch.randn(2, 3), kl="closed_form")
    with pytest.raises(TypeError, match="free bits need a diagonal posterior"):
        elbo_terms(vae, torch.rand(2, 1, 8, 8), torch.randn(2, 3), kl="closed_form", free_bits=0.1)


def test_gradients_reach_every_parameter() -> None:
    vae = _vae(nets="convolutional", likelihood="gaussian")
    terms = elbo_terms(vae, torch.rand(4, 1, 8, 8), torch.randn(4, 3), kl="closed_form")
    negative_elbo_loss(terms).mean().backward()
    assert not [name for name, weight in vae.named_parameters() if weight.grad is None]


def _vae(**model: object) -> VariationalAutoencoder:
    torch.manual_seed(0)
    settings = {"family": "vae", "nets": "dense", "latent_size": 3, "hidden": (8,), "channels": (4, 8), **model}
    return VariationalAutoencoder.from_config(VaeConfig.model_validate(settings), DATA)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(1)
