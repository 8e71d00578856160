"""The density around a generator and its bounds: against a linear generator's closed form, scipy and autograd."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from training.encoder_section import EncoderConfig
from training.gan.inference import Encoder, GeneratorDensity
from training.probability.posterior import DiagonalPosterior, GaussianPosterior

SIZE, SIGMA = 3, 0.15
SHAPE = (1, 4, 4)


class Linear(nn.Module):
    """G(z) = W z in [−1, 1], so that p(x) is Gaussian."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SIZE, 16, bias=False)
        self.picture = nn.Unflatten(1, SHAPE)

    def forward(self, latent: Tensor) -> Tensor:
        image: Tensor = self.picture(self.layer(latent))
        return image

    def chain(self) -> tuple[nn.Module, ...]:
        return self.layer, self.picture


class Exact(Encoder):
    """The exact posterior, whose covariance is made diagonal by orthogonal columns."""

    def __init__(self, generator: Linear) -> None:
        super().__init__(EncoderConfig(), (1, 8, 8), SIZE)
        weights = generator.layer.weight.detach() / 2  # of pixels in [0, 1]
        self.precision = weights.square().sum(dim=0) / SIGMA**2 + 1
        self.read = weights / SIGMA**2 / self.precision

    def forward(self, image: Tensor) -> GaussianPosterior:
        mean = image.flatten(1) / 2 @ self.read
        return DiagonalPosterior(mean, self.precision.rsqrt().expand_as(mean))


@pytest.fixture(scope="module")
def density() -> GeneratorDensity:
    torch.manual_seed(0)
    generator = Linear().requires_grad_(False)
    generator.layer.weight.copy_(torch.linalg.qr(torch.randn(16, SIZE))[0] * torch.tensor([1.0, 0.6, 0.3]))
    return GeneratorDensity(generator, Exact(generator), SIGMA)


def images(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_exact_posterior_makes_every_draw_the_density(density: GeneratorDensity) -> None:
    """log p(x) of pixels in [0, 1]: N(½, ¼ W Wᵀ + σ² I)."""
    found = density.evidence(images(4), torch.randn(4, 5, SIZE))
    weights = density.generator.layer.weight / 2
    covariance = weights @ weights.T + SIGMA**2 * torch.eye(16)
    expected = multivariate_normal([0.5] * 16, covariance.double().numpy()).logpdf((images(4).flatten(1) + 1) / 2)
    log_weights = found.log_likelihood + found.log_prior - found.log_posterior
    torch.testing.assert_close(log_weights, torch.tensor(expected).float()[:, None].expand(4, 5), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.elbo, log_weights.mean(dim=1))


def test_gradients_are_autograd_s(density: GeneratorDensity) -> None:
    latent = torch.randn(4, SIZE, generator=torch.Generator().manual_seed(2)).requires_grad_()
    found = density.joint_with_gradients(images(4), latent.detach())
    likelihood = density.log_likelihood(images(4), latent[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(likelihood.sum(), latent)
    torch.testing.assert_close(found.log_likelihood, likelihood.detach())
    torch.testing.assert_close(found.likelihood_gradient, gradient, rtol=1e-4, atol=1e-4)
    (prior,) = torch.autograd.grad(found.log_prior.sum() - 0.5 * latent.square().sum(), latent)
    torch.testing.assert_close(found.prior_gradient, prior)


def test_pixels_add_up_to_the_likelihood(density: GeneratorDensity) -> None:
    latent = torch.randn(4, SIZE)
    pixels = density.log_likelihood_map(images(4), latent)
    assert pixels.shape == (4, 4, 4)
    torch.testing.assert_close(pixels.sum(dim=(1, 2)), density.log_likelihood(images(4), latent[:, None])[:, 0])
    error = (images(4) - density.generator(latent))[0, 0, 1, 2] / 2
    expected = -0.5 * (error / SIGMA) ** 2 - math.log(SIGMA) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(pixels[0, 1, 2], expected)


@pytest.mark.parametrize("posterior", ["diagonal", "full_covariance"])
def test_encoder_says_a_gaussian_of_each_image(posterior: str) -> None:
    encoder = Encoder(EncoderConfig.model_validate({"posterior": posterior, "channels": (4, 6)}), (3, 8, 8), SIZE)
    found = encoder(torch.rand(2, 3, 8, 8))
    assert isinstance(found, GaussianPosterior)
    assert found.mean.shape == found.scale.shape == (2, SIZE)
    assert (found.scale > 0).all()
