"""The conditional VAE against a linear-Gaussian model of every class, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

from tests.training.linear_gaussian import (
    LATENT_SIZE,
    PIXELS,
    SIDE,
    LinearGaussian,
    LinearGaussianLikelihood,
    linear_gaussian,
)
from training.config import ConfigError, DataConfig, VaeConfig
from training.nets.labels import LabelPicture, one_hot
from training.vae.model import VariationalAutoencoder
from training.vae.objective import (
    doubly_reparameterised_signal,
    elbo_terms,
    importance_weighted_signal,
    score_function_signal,
)

CLASSES = 3
DATA = DataConfig(set="digits", size=8)
SETTINGS: dict[str, Any] = {"family": "vae", "nets": "dense", "hidden": [12], "latent_size": 2, "conditional": True}


class _ToldLinear(nn.Module):
    """A linear net whose last inputs are what it is told."""

    def __init__(self, plain: nn.Linear, told: Tensor, side: tuple[int, int, int] | None = None) -> None:
        super().__init__()
        self.weight = torch.cat([plain.weight, told], dim=1)
        self.bias, self.side = plain.bias, side

    def forward(self, x: Tensor) -> Tensor:
        out = nn.functional.linear(x.flatten(1), self.weight, self.bias)
        return out if self.side is None else out.unflatten(1, self.side)


class _WithScale(nn.Module):
    def __init__(self, mean: nn.Module, log_scale: Tensor) -> None:
        super().__init__()
        self.mean, self.log_scale = mean, log_scale

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean(x)
        return torch.cat([mean, self.log_scale.expand_as(mean)], dim=1)


def _conditional(plain: LinearGaussian, offsets: Tensor) -> VariationalAutoencoder:
    """x|z,y ~ N(W z + b + U_y, σ²I) with its exact posterior: the encoder subtracts the label's picture U_y."""
    encoder, decoder = plain.vae.encoder, plain.vae.decoder
    picture = LabelPicture(CLASSES, SIDE, SIDE)
    picture.pictures.data = offsets
    vae = VariationalAutoencoder(
        _WithScale(_ToldLinear(encoder.mean, -encoder.mean.weight), encoder.log_scale),
        _ToldLinear(decoder.linear, offsets.T, (1, SIDE, SIDE)),
        LinearGaussianLikelihood(),
        LATENT_SIZE,
        label_picture=picture,
    )
    return vae.requires_grad_(False)


def test_every_bound_is_log_p_of_x_given_y_where_the_posterior_is_exact() -> None:
    plain = linear_gaussian()
    generator = torch.Generator().manual_seed(1)
    offsets, label = torch.randn(CLASSES, PIXELS, generator=generator), torch.tensor([0, 1, 2, 2, 1, 0])
    vae = _conditional(plain, offsets)
    weight, bias = plain.vae.decoder.linear.weight.double(), plain.vae.decoder.linear.bias.double()
    covariance = weight @ weight.T + float(plain.vae.likelihood.scale) ** 2 * torch.eye(PIXELS)
    wanted = MultivariateNormal(bias, covariance).log_prob(plain.image.double().flatten(1) - offsets[label].double())
    noise = torch.randn(6, 4, LATENT_SIZE, generator=generator)
    found = vae.evidence(plain.image, noise, label).log_weights()
    assert_close(found.double(), wanted[:, None].expand(-1, 4), atol=2e-3, rtol=1e-5)


def test_every_objective_conditions_on_the_label() -> None:
    vae = _fresh(SETTINGS)
    generator = torch.Generator().manual_seed(0)
    image, noise = torch.rand(4, 1, 8, 8, generator=generator), torch.randn(4, 3, 2, generator=generator)
    for bound in (importance_weighted_signal, doubly_reparameterised_signal, score_function_signal):
        first, second = (bound(vae, image, noise, label=torch.full((4,), y)).terms.elbo for y in (0, 1))
        assert (first != second).all()
    for kl in ("closed_form", "sampled"):
        first, second = (
            elbo_terms(vae, image, noise[:, 0], kl=kl, label=torch.full((4,), y)).elbo  # type: ignore[arg-type]
            for y in (0, 1)
        )
        assert (first != second).all()


@pytest.mark.parametrize("nets", ["dense", "convolutional"])
def test_row_answers_as_it_does_alone_under_its_own_label(nets: str) -> None:
    vae = _fresh(SETTINGS | {"nets": nets, "channels": [4, 6]})
    generator = torch.Generator().manual_seed(0)
    image, noise = torch.rand(3, 1, 8, 8, generator=generator), torch.randn(3, 5, 2, generator=generator)
    label = torch.tensor([2, 0, 2])
    together = vae.evidence(image, noise, label)
    for row in range(3):
        alone = vae.evidence(image[row : row + 1], noise[row : row + 1], label[row : row + 1])
        for term, same in zip(together, alone, strict=True):
            assert_close(term[row], same[0], atol=1e-4, rtol=1e-5)


def test_one_hot_is_torch_s() -> None:
    label = torch.tensor([2, 0, 1])
    assert_close(one_hot(label, 4), nn.functional.one_hot(label, 4).float())


def test_labels_are_neither_forgotten_nor_invented() -> None:
    latent, label = torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="needs labels"):
        _fresh(SETTINGS).decode(latent)
    with pytest.raises(ValueError, match="takes no labels"):
        _fresh(SETTINGS | {"conditional": False}).decode(latent, label)


def test_conditional_model_of_data_without_classes_is_refused() -> None:
    with pytest.raises(ConfigError, match="two classes or more"):
        VariationalAutoencoder.from_config(VaeConfig.model_validate(SETTINGS), DATA)


def test_conditional_vamp_prior_is_refused() -> None:
    with pytest.raises(ValueError, match="which need labels"):
        VaeConfig.model_validate(SETTINGS | {"prior": {"kind": "vamp"}, "objective": {"kl": "sampled"}})


def _fresh(settings: dict[str, Any]) -> VariationalAutoencoder:
    """A model whose label pictures are not blank."""
    torch.manual_seed(0)
    vae = VariationalAutoencoder.from_config(VaeConfig.model_validate(settings), DATA, classes=CLASSES)
    if vae.label_picture is not None:
        nn.init.normal_(vae.label_picture.pictures)
    return vae
