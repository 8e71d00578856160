"""The graphs that an encoder adds to a generator: what it says of images, and the density that it bounds."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from app.manifest import Likelihood
from training.export.graphs import Graph, Shapes, ready
from training.gan.inference import GeneratorDensity, JointTerms, LogTerms


class _ImageToLatent(nn.Module):
    """A draw from q(z|x), its mean and its scale."""

    def __init__(self, density: GeneratorDensity) -> None:
        super().__init__()
        self.encoder = density.encoder

    def forward(self, image: Float[Tensor, "batch c h w"], noise: Float[Tensor, "batch size"]) -> tuple[Tensor, ...]:
        posterior = self.encoder(image)
        return posterior.draw(noise[:, None]).latent[:, 0], posterior.mean, posterior.scale


class _ImageToEvidence(nn.Module):
    def __init__(self, density: GeneratorDensity) -> None:
        super().__init__()
        self.density = density

    def forward(self, image: Float[Tensor, "batch c h w"], noise: Float[Tensor, "batch samples size"]) -> LogTerms:
        return self.density.evidence(image, noise)


class _LatentToPixelEvidence(nn.Module):
    def __init__(self, density: GeneratorDensity) -> None:
        super().__init__()
        self.density = density

    def forward(
        self, image: Float[Tensor, "batch c h w"], latent: Float[Tensor, "batch size"]
    ) -> Float[Tensor, "batch h w"]:
        return self.density.log_likelihood_map(image, latent)


class _LatentToEvidence(nn.Module):
    def __init__(self, density: GeneratorDensity) -> None:
        super().__init__()
        self.density = density

    def forward(self, image: Float[Tensor, "batch c h w"], latent: Float[Tensor, "batch size"]) -> JointTerms:
        return self.density.joint_with_gradients(image, latent)


def density_graphs(
    density: GeneratorDensity, image_shape: tuple[int, int, int], latent_size: int, *, gradients: bool
) -> list[Graph]:
    """On a copy that is made ready to export, as the generator's own graphs are."""
    density = ready(density)
    latent: Shapes = {"latent": ("batch", latent_size)}
    image: Shapes = {"image": ("batch", *image_shape)}
    noise: Shapes = {"noise": ("batch", latent_size)}
    draws: Shapes = {"noise": ("batch", "samples", latent_size)}
    joint = Graph("latent_to_evidence", _LatentToEvidence(density), {**image, **latent}, JointTerms._fields)
    return [
        Graph("image_to_latent", _ImageToLatent(density), {**image, **noise}, ("latent", "mean", "scale")),
        Graph("image_to_evidence", _ImageToEvidence(density), {**image, **draws}, LogTerms._fields),
        Graph("latent_to_pixel_evidence", _LatentToPixelEvidence(density), {**image, **latent}, ("log_likelihood",)),
        *([joint] if gradients else []),
    ]


def assumed_likelihood(scale: float) -> Likelihood:
    """The manifest's words for N(G(z), σ²I)."""
    return Likelihood(
        kind="gaussian",
        nats_of="density of pixels in [0, 1]",
        discrete=False,
        scale=scale,
        assumption=f"p(x|z) = N(G(z), σ²I) with σ = {scale:.4g}, chosen on validation images: a GAN has no density of "
        "its own, and scores are those of this one",
    )
