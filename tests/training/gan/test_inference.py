"""The density around a generator and its bounds: against linear generators' closed forms, scipy and autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor, nn

from training.encoder_section import EncoderConfig
from training.gan.generator import Generator
from training.gan.inference import Encoder, GeneratorDensity
from training.nets.labels import Labels
from training.probability.posterior import DiagonalPosterior, GaussianPosterior

SIZE, SIGMA = 3, 0.15
SHAPE = (1, 4, 4)
CLASSES = 3
TOLD = {"no class": (0, False), "a class": (CLASSES, False), "coupled": (CLASSES, True)}


class Linear(Generator):
    """W z, told a class W z + b_y, and coupled W_y z + b_y, in [−1, 1], so that p(x|y) is Gaussian unless more follows.

    The columns of each W are orthogonal, so that p(z|x,y) has a diagonal covariance.
    """

    def __init__(self, classes: int = 0, *, coupled: bool = False, ending: nn.Module | None = None) -> None:
        super().__init__(SIZE, classes, coupled=coupled)
        told, drawn = (0, classes) if coupled else (classes, 1)
        self.layer = nn.Linear(SIZE + told, drawn * 16, bias=coupled)
        self.picture = nn.Unflatten(1, (drawn, 4, 4))
        self.ending = ending or nn.Identity()
        for block in self.layer.weight.data[:, :SIZE].split(16):
            block.copy_(torch.linalg.qr(torch.randn(16, SIZE))[0] * torch.tensor([1.0, 0.6, 0.3]))

    def chain(self) -> tuple[nn.Module, ...]:
        return self.layer, self.picture, self.ending

    def affine(self, label: int | None) -> tuple[Tensor, Tensor]:
        """W_y (16, latent) and b_y (16), of pixels in [0, 1]."""
        weight = self.layer.weight.detach()
        if label is None:
            return weight / 2, torch.full((16,), 0.5)
        if not self.coupled:
            return weight[:, :SIZE] / 2, weight[:, SIZE + label] / 2 + 0.5
        rows = slice(16 * label, 16 * (label + 1))
        return weight[rows] / 2, self.layer.bias.detach()[rows] / 2 + 0.5

    def log_density(self, image: Tensor, label: int | None, sigma: float) -> float:
        """log p(x|y) of one image's pixels in [0, 1]: N(b_y, W_y W_yᵀ + σ² I)."""
        weight, offset = (part.double().numpy() for part in self.affine(label))
        covariance = weight @ weight.T + sigma**2 * np.eye(16)
        return float(multivariate_normal(offset, covariance).logpdf((image.flatten().double().numpy() + 1) / 2))

    def posterior(self, image: Tensor, label: int | None, sigma: float) -> tuple[Tensor, Tensor]:
        """Mean and scale of p(z|x,y), by conjugacy."""
        weight, offset = self.affine(label)
        precision = weight.square().sum(dim=0) / sigma**2 + 1
        return ((image.flatten() + 1) / 2 - offset) @ weight / sigma**2 / precision, precision.rsqrt()


class Exact(Encoder):
    """The exact posterior."""

    def __init__(self, generator: Linear) -> None:
        super().__init__(EncoderConfig(), (1, 8, 8), SIZE)
        self.posterior = generator.posterior

    def forward(self, image: Tensor, label: Labels | None = None) -> GaussianPosterior:
        rows = [self.posterior(row, of, SIGMA) for row, of in zip(image, each(label, len(image)), strict=True)]
        return DiagonalPosterior(*(torch.stack(part) for part in zip(*rows, strict=True)))


def each(label: Labels | None, count: int) -> list[int] | list[None]:
    return [None] * count if label is None else label.tolist()


@pytest.fixture(scope="module", params=list(TOLD))
def density(request: pytest.FixtureRequest) -> GeneratorDensity:
    torch.manual_seed(0)
    classes, coupled = TOLD[request.param]
    generator = Linear(classes, coupled=coupled).requires_grad_(False)
    return GeneratorDensity(generator, Exact(generator), SIGMA)


@pytest.fixture
def label(density: GeneratorDensity) -> Labels | None:
    return torch.tensor([2, 0, 1, 2]) if density.classes else None


def images(count: int) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_exact_posterior_makes_every_draw_the_density(density: GeneratorDensity, label: Labels | None) -> None:
    assert isinstance(density.generator, Linear)
    found = density.evidence(images(4), torch.randn(4, 5, SIZE), label)
    rows = zip(images(4), each(label, 4), strict=True)
    expected = torch.tensor([density.generator.log_density(image, of, SIGMA) for image, of in rows])
    log_weights = found.log_likelihood + found.log_prior - found.log_posterior
    torch.testing.assert_close(log_weights, expected[:, None].expand(4, 5), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.elbo, log_weights.mean(dim=1))


def test_gradients_are_autograd_s(density: GeneratorDensity, label: Labels | None) -> None:
    latent = torch.randn(4, SIZE, generator=torch.Generator().manual_seed(2)).requires_grad_()
    found = density.joint_with_gradients(images(4), latent.detach(), label)
    likelihood = density.log_likelihood(images(4), latent[:, None], label)[:, 0]
    (gradient,) = torch.autograd.grad(likelihood.sum(), latent)
    torch.testing.assert_close(found.log_likelihood, likelihood.detach())
    torch.testing.assert_close(found.likelihood_gradient, gradient, rtol=1e-4, atol=1e-4)
    (prior,) = torch.autograd.grad(found.log_prior.sum() - 0.5 * latent.square().sum(), latent)
    torch.testing.assert_close(found.prior_gradient, prior)


def test_pixels_add_up_to_the_likelihood(density: GeneratorDensity, label: Labels | None) -> None:
    latent = torch.randn(4, SIZE)
    pixels = density.log_likelihood_map(images(4), latent, label)
    assert pixels.shape == (4, 4, 4)
    torch.testing.assert_close(pixels.sum(dim=(1, 2)), density.log_likelihood(images(4), latent[:, None], label)[:, 0])
    error = (images(4) - density.generator(latent, label))[0, 0, 1, 2] / 2
    expected = -0.5 * (error / SIGMA) ** 2 - math.log(SIGMA) - 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(pixels[0, 1, 2], expected)


@pytest.mark.parametrize("posterior", ["diagonal", "full_covariance"])
def test_encoder_says_a_gaussian_of_each_image(posterior: str) -> None:
    encoder = Encoder(EncoderConfig.model_validate({"posterior": posterior, "channels": (4, 6)}), (3, 8, 8), SIZE)
    found = encoder(torch.rand(2, 3, 8, 8))
    assert isinstance(found, GaussianPosterior)
    assert found.mean.shape == found.scale.shape == (2, SIZE)
    assert (found.scale > 0).all()


def test_encoder_reads_the_class_beside_the_image() -> None:
    """By autograd: the picture of a class is of the images of that class, and of no other."""
    encoder = Encoder(EncoderConfig(channels=(4,)), (3, 8, 8), SIZE, CLASSES)
    encoder(torch.rand(2, 3, 8, 8), torch.tensor([2, 0])).mean.sum().backward()
    assert encoder.label_picture is not None
    assert encoder.label_picture.pictures.grad is not None
    assert encoder.label_picture.pictures.grad.abs().sum(dim=1).bool().tolist() == [True, False, True]


def test_encoder_asks_for_labels_where_there_are_some_and_for_none_elsewhere() -> None:
    config, image = EncoderConfig(channels=(4,)), torch.rand(2, 3, 8, 8)
    with pytest.raises(ValueError, match="needs labels"):
        Encoder(config, (3, 8, 8), SIZE, CLASSES)(image)
    with pytest.raises(ValueError, match="takes no labels"):
        Encoder(config, (3, 8, 8), SIZE)(image, torch.tensor([0, 1]))
