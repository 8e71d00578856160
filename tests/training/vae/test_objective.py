from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from training.config import DataConfig, VaeConfig
from training.probability.posterior import LARGEST_LOG_SCALE, SMALLEST_LOG_SCALE
from training.vae.model import VariationalAutoencoder
from training.vae.objective import ElboTerms, elbo_terms, negative_elbo_loss, warmup_weight

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


@pytest.mark.parametrize(("says", "scale"), [(1e3, LARGEST_LOG_SCALE), (-1e3, SMALLEST_LOG_SCALE)])
def test_posterior_scale_is_kept_where_the_exponential_behaves(says: float, scale: float) -> None:
    vae = _vae()
    with torch.no_grad():
        vae.encoder.head.bias[3:] = says
    assert_close(vae.posterior(torch.rand(2, 1, 8, 8)).scale, torch.full((2, 3), scale).exp())


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
