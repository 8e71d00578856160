"""The graphs that an encoder adds to a generator: what it says of images, and the density that it bounds."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from app.manifest import LABEL, Likelihood
from training.export.graphs import Graph, Shapes, ready
from training.gan.inference import GeneratorDensity, JointTerms, LogTerms
from training.nets.labels import Labels


class _ImageToLatent(nn.Module):
    """A draw from q(z|x), its mean and its scale."""

    def __init__(self, density: GeneratorDensity) -> None:
        super().__init__()
        self.encoder = density.encoder

    def forward(
        self, image: Float[Tensor, "batch c h w"], noise: Float[Tensor, "batch size"], label: Labels | None = None
    ) -> tuple[Tensor, ...]:
        posterior = self.encoder(image, label)
        return posterior.draw(noise[:, None]).latent[:, 0], posterior.mean, posterior.scale


class _ImageToEvidence(nn.Module):
    def __init__(self, density: GeneratorDensity) -> None:
        super().__init__()
        self.density = density

    def forward(
        self,
        image: Float[Tensor, "batch c h w"],
        noise: Float[Tensor, "batch samples size"],
        label: Labels | None = None,
    ) -> LogTerms:
        return self.density.evidence(image, noise, label)


class _LatentToPixelEvidence(nn.Module):
    def __init__(self, density: GeneratorDensity) -> None:
        super().__init__()
        self.density = density

    def forward(
        self, image: Float[Tensor, "batch c h w"], latent: Float[Tensor, "batch size"], label: Labels | None = None
    ) -> Float[Tensor, "batch h w"]:
        return self.density.log_likelihood_map(image, latent, label)


class _LatentToEvidence(nn.Module):
    def __init__(self, density: GeneratorDensity) -> None:
        super().__init__()
        self.density = density

    def forward(
        self, image: Float[Tensor, "batch c h w"], latent: Float[Tensor, "batch size"], label: Labels | None = None
    ) -> JointTerms:
        return self.density.joint_with_gradients(image, latent, label)


def density_graphs(
    density: GeneratorDensity, image_shape: tuple[int, int, int], latent_size: int, *, gradients: bool
) -> list[Graph]:
    """On a copy that is made ready to export, as the generator's own graphs are; with labels where it takes them."""
    density, classes = ready(density), density.classes
    label: Shapes = {LABEL: ("batch",)} if classes else {}
    image: Shapes = {"image": ("batch", *image_shape)}
    read: Shapes = {**image, "noise": ("batch", latent_size), **label}
    weighed: Shapes = {**image, "noise": ("batch", "samples", latent_size), **label}
    seen: Shapes = {**image, "latent": ("batch", latent_size), **label}
    joint = Graph("latent_to_evidence", _LatentToEvidence(density), seen, JointTerms._fields, classes)
    return [
        Graph("image_to_latent", _ImageToLatent(density), read, ("latent", "mean", "scale"), classes),
        Graph("image_to_evidence", _ImageToEvidence(density), weighed, LogTerms._fields, classes),
        Graph("latent_to_pixel_evidence", _LatentToPixelEvidence(density), seen, ("log_likelihood",), classes),
        *([joint] if gradients else []),
    ]


def assumed_likelihood(scale: float, *, conditional: bool = False) -> Likelihood:
    """The manifest's words for N(G(z), σ²I), or N(G(z,y), σ²I)."""
    density = "p(x|z,y) = N(G(z,y), σ²I)" if conditional else "p(x|z) = N(G(z), σ²I)"
    return Likelihood(
        kind="gaussian",
        nats_of="density of pixels in [0, 1]",
        discrete=False,
        scale=scale,
        assumption=f"{density} with σ = {scale:.4g}, chosen on validation images: a GAN has no density of "
        "its own, and scores are those of this one",
    )
