"""The hierarchical ladder VAE: layers of latents, inferred in the order in which they generate.

p(x, z) = p(x | z) Πₗ p(zₗ | z above) and q(z | x) = Πₗ q(zₗ | z above, x), both from the top down, on one path of nets
(bidirectional inference: Sønderby et al. 2016; with a residual path, Kingma et al. 2016). To the outside the latents of
all layers are one flat vector, the top layer's first.

Every Gaussian is kept in units of its layer's prior: z = mean + scale · u with u = shift + ratio · noise. Then
log p(zₗ | z above) = log N(u; 0, I) − Σ log scale and log q(zₗ | z above, x) = log N(noise; 0, I) − Σ log ratio · scale
follow from the noise without a difference of large numbers. The top layer's prior is a `Prior` of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from training.config import DataConfig, VaeConfig
from training.nets.labels import Labels
from training.nets.ladder import LadderDecoder, LadderEncoder, LadderLayer, Walk
from training.probability import gaussian
from training.probability.likelihood import Likelihood, make_likelihood
from training.probability.posterior import Draw, Posterior
from training.probability.prior import Prior, make_prior
from training.vae.model import Evidence, VariationalAutoencoder


class HierarchicalPrior(Prior):
    """p(z) = p(top) Π p(zₗ | z above): ancestral sampling along the decoder's path."""

    kind = "hierarchical"

    def __init__(self, top: Prior, layers: Sequence[int], walk: Walk) -> None:
        """`layers` are the sizes of all layers; `walk` is the decoder's own, whose weights stay there."""
        super().__init__(sum(layers))
        self.top = top
        self.selectors = top.selectors
        self.layers = tuple(layers)
        self._walk = walk

    def from_noise(self, noise: Float[Tensor, "batch noise"]) -> Float[Tensor, "batch size"]:
        """zₗ = mean + scale · noise of the layer, from the top down."""
        parts = _split(noise, [self.top.noise_size, *self.layers[1:]])

        def ancestral(number: int, layer: LadderLayer, state: Tensor) -> Tensor:
            if number == 0:
                return self.top.from_noise(parts[0])
            mean, log_scale = layer.prior(state)
            return mean + torch.exp(log_scale) * parts[number]

        return self._walk(noise.shape[0], ancestral)[0]

    def log_density(self, latent: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch"]:
        """log p(top) + Σ log p(zₗ | z above)."""
        parts = _split(latent.reshape(-1, self.latent_size), self.layers)
        terms: list[Tensor] = []

        def given(number: int, layer: LadderLayer, state: Tensor) -> Tensor:
            mean, log_scale = layer.prior(state)
            normed = (parts[number] - mean) * torch.exp(-log_scale)
            terms.append(self.layer_log_density(number, normed, log_scale))
            return parts[number]

        self._walk(parts[0].shape[0], given)  # its len would fix the batch in an exported graph
        return torch.stack(terms).sum(dim=0).reshape(latent.shape[:-1])

    def layer_log_density(self, number: int, normed: Tensor, log_scale: Tensor) -> Float[Tensor, " rows"]:
        """log p of a layer's latents, given in units of its prior; the top layer's unit is 1."""
        if number == 0:
            return self.top.log_density(normed)
        return gaussian.standard_log_density(normed) - log_scale.sum(dim=-1)

    def settled(self) -> Prior:
        """With the top layer's prior settled."""
        return HierarchicalPrior(self.top.settled(), self.layers, self._walk)


class Walked(NamedTuple):
    """K draws of every layer for each image, flat, and the state that they lead to; the log terms layer by layer."""

    latent: Float[Tensor, "batch samples size"]
    state: Float[Tensor, "rows c s s"]
    log_prior: Float[Tensor, "batch samples layers"]
    log_posterior: Float[Tensor, "batch samples layers"]


@dataclass(frozen=True)
class HierarchicalPosterior(Posterior):
    """q(z|x) = Πₗ q(zₗ | z above, x)."""

    decoder: LadderDecoder
    prior: HierarchicalPrior
    seen: list[Float[Tensor, "batch c s s"]]
    """What each layer takes from the image, the top first."""

    def walk(self, noise: Float[Tensor, "batch samples size"]) -> Walked:
        """Down the ladder with the posterior's draws."""
        parts = _split(noise.flatten(0, 1), self.decoder.sizes)
        priors: list[Tensor] = []
        posteriors: list[Tensor] = []

        def draw(number: int, layer: LadderLayer, state: Tensor) -> Tensor:
            mean, log_scale = layer.prior(state)
            shift, log_ratio = layer.posterior(state, self._repeated(number, noise))
            normed = shift + torch.exp(log_ratio) * parts[number]
            priors.append(self.prior.layer_log_density(number, normed, log_scale))
            posteriors.append(gaussian.standard_log_density(parts[number]) - (log_ratio + log_scale).sum(dim=-1))
            return mean + torch.exp(log_scale) * normed

        latent, state = self.decoder.walk(noise.shape[0] * noise.shape[1], draw)
        return Walked(
            latent.unflatten(0, noise.shape[:2]), state, _by_image(priors, noise), _by_image(posteriors, noise)
        )

    def draw(self, noise: Float[Tensor, "batch samples size"]) -> Draw:
        """Every layer's draw, given those above."""
        walked = self.walk(noise)
        return Draw(walked.latent, walked.log_posterior.sum(dim=-1))

    def log_density(self, latent: Float[Tensor, "batch samples size"]) -> Float[Tensor, "batch samples"]:
        """Loses digits where a scale is small beside its mean: fit for gradients; `draw` gives the exact values."""
        parts = _split(latent.flatten(0, 1), self.decoder.sizes)
        terms: list[Tensor] = []

        def given(number: int, layer: LadderLayer, state: Tensor) -> Tensor:
            mean, log_scale = layer.prior(state)
            shift, log_ratio = layer.posterior(state, self._repeated(number, latent))
            noise = ((parts[number] - mean) * torch.exp(-log_scale) - shift) * torch.exp(-log_ratio)
            terms.append(gaussian.standard_log_density(noise) - (log_ratio + log_scale).sum(dim=-1))
            return parts[number]

        self.decoder.walk(latent.shape[0] * latent.shape[1], given)
        return _by_image(terms, latent).sum(dim=-1)

    def held(self) -> HierarchicalPosterior:
        """With features detached, and copies of decoder and prior: the path is the posterior's as well."""
        decoder, prior = copy.deepcopy((self.decoder, self.prior))
        decoder.requires_grad_(requires_grad=False)
        return HierarchicalPosterior(
            decoder, prior.requires_grad_(requires_grad=False), [seen.detach() for seen in self.seen]
        )

    def central(self) -> Float[Tensor, "batch size"]:
        """Every layer at its mean, given those above at theirs: not the mean of the draws."""
        rows = self.seen[0].shape[0]
        noise = self.seen[0].new_zeros(rows, 1, sum(self.decoder.sizes), dtype=torch.float32)
        return self.walk(noise).latent[:, 0]

    def _repeated(self, number: int, rows: Float[Tensor, "batch samples size"]) -> Float[Tensor, "n c s s"]:
        """What a layer takes from each image, for each of its draws."""
        seen = self.seen[number]
        return seen[:, None].expand(-1, rows.shape[1], -1, -1, -1).flatten(0, 1)


class HierarchicalVae(VariationalAutoencoder):
    """A VAE whose prior and posterior share the decoder's path."""

    encoder: LadderEncoder
    decoder: LadderDecoder
    prior: HierarchicalPrior

    def __init__(self, encoder: LadderEncoder, decoder: LadderDecoder, likelihood: Likelihood, top: Prior) -> None:
        super().__init__(encoder, decoder, likelihood, sum(decoder.sizes))
        self.prior = HierarchicalPrior(top, decoder.sizes, decoder.walk)

    @classmethod
    def from_config(cls, config: VaeConfig, data: DataConfig, *, classes: int = 0) -> HierarchicalVae:
        """The model that an experiment describes, freshly initialised from torch's global generator.

        Whatever the data's `classes`, it is told none.
        """
        shape = (data.channels, data.size, data.size)
        likelihood = make_likelihood(config.likelihood, data.channels)
        painted = (likelihood.output_channels(data.channels), data.size, data.size)
        ladder = config.ladder
        encoder = LadderEncoder(shape, config.channels, config.residual_blocks)
        decoder = LadderDecoder(painted, config.channels, config.residual_blocks, ladder.layers, ladder.latent_channels)
        return cls(encoder, decoder, likelihood, make_prior(config.prior, decoder.sizes[0], shape, _no_encoder))

    @property
    def has_moments(self) -> bool:
        """None in closed form: below the top they depend on the draws above."""
        return False

    def posterior(self, image: Float[Tensor, "batch c h w"], label: Labels | None = None) -> HierarchicalPosterior:
        """q(z|x) of each image, pixels in [0, 1]."""
        self._check(label)
        features = self.encoder(image)
        layers: list[LadderLayer] = list(self.decoder.layers)  # type: ignore[arg-type]  # a ModuleList says Module
        return HierarchicalPosterior(self.decoder, self.prior, [layer.seen(features[layer.level]) for layer in layers])

    def evidence(
        self,
        image: Float[Tensor, "batch c h w"],
        noise: Float[Tensor, "batch samples size"],
        label: Labels | None = None,
    ) -> Evidence:
        """The log terms of the posterior's draws, in one walk down the ladder."""
        self._check(label)
        log_likelihood, log_prior, log_posterior = self.evidence_by_layer(image, noise)
        return Evidence(log_likelihood, log_prior.sum(dim=-1), log_posterior.sum(dim=-1))

    def evidence_by_layer(
        self, image: Float[Tensor, "batch c h w"], noise: Float[Tensor, "batch samples size"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log p(x|z) (B, K), and log p and log q of each layer given those above (B, K, L), the top first."""
        walked = self.posterior(image).walk(noise)
        output = self.decoder.picture(walked.state).float().unflatten(0, noise.shape[:2])
        return self.likelihood.log_density(image[:, None], output), walked.log_prior, walked.log_posterior


def make_vae(config: VaeConfig, data: DataConfig, *, classes: int = 0) -> VariationalAutoencoder:
    """The VAE that an experiment describes, with one layer of latents or several, for data of so many classes."""
    kind = HierarchicalVae if config.nets == "ladder" else VariationalAutoencoder
    return kind.from_config(config, data, classes=classes)


def _by_image(terms: list[Tensor], rows: Float[Tensor, "batch samples size"]) -> Float[Tensor, "batch samples layers"]:
    return torch.stack(terms, dim=-1).reshape(*rows.shape[:2], -1)


def _split(rows: Float[Tensor, "rows size"], sizes: Sequence[int]) -> Sequence[Tensor]:
    parts: Sequence[Tensor] = rows.split(list(sizes), dim=1)
    return parts


def _no_encoder(image: Tensor) -> Posterior:
    raise TypeError("the top layer's prior cannot be made of posteriors")
