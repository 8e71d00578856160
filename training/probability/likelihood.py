"""p(x|z): what the decoder's output means. Each likelihood owns its mean, its log density and its unit."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from app.manifest import Likelihood as LikelihoodSpec
from app.manifest import LikelihoodKind
from training.nets.adjoint import Linearised, NoAdjoint, sigmoid
from training.probability import bernoulli, continuous_bernoulli, discretised_logistic, gaussian
from training.probability.discretised_logistic import LEVELS

SMALLEST_SCALE = 1 / 256
"""A Gaussian narrower than one 8-bit step would score the rounding of the pixels, not the picture."""
SMALLEST_LOG_SCALE, FIRST_LOG_SCALE = -7.0, -2.0
"""Of a logistic: the least, a quarter of an 8-bit step, and where training starts."""
COMPONENTS = 10
"""Logistics in the mixture of a pixel, as in PixelCNN++."""
NATS_OF_8_BITS = "probability of an 8-bit image"


class Likelihood(nn.Module):
    """p(x|z) given the decoder's output, pixels in [0, 1]."""

    spec: LikelihoodSpec

    def output_channels(self, channels: int) -> int:
        """How many numbers a pixel the decoder must give for pictures of so many channels."""
        return channels

    def mean(self, output: Float[Tensor, "*batch outputs h w"]) -> Float[Tensor, "*batch c h w"]:
        """E[x|z]: the picture that is shown."""
        return torch.sigmoid(output)

    def log_density(
        self, x: Float[Tensor, "*batch c h w"], output: Float[Tensor, "*batch outputs h w"]
    ) -> Float[Tensor, "*batch"]:
        """log p(x|z) per example, in nats; `x` and `output` broadcast over the leading axes."""
        return self._per_pixel(x, output.float()).flatten(start_dim=-3).sum(dim=-1)

    def log_density_map(
        self, x: Float[Tensor, "*batch c h w"], output: Float[Tensor, "*batch outputs h w"]
    ) -> Float[Tensor, "*batch h w"]:
        """log p(x|z) of each pixel, all its channels together, in nats: what `log_density` sums."""
        return self._per_pixel(x, output.float()).sum(dim=-3)

    def linearised_mean(self, output: Float[Tensor, "batch outputs h w"]) -> Linearised:
        """`mean` and its adjoint: cotangents of the picture become cotangents of the output."""
        return sigmoid(output)

    def score(
        self, x: Float[Tensor, "batch c h w"], output: Float[Tensor, "batch outputs h w"]
    ) -> Float[Tensor, "batch outputs h w"]:
        """∂ log p(x|z) / ∂ output, written out so that it exports. Raises NoAdjoint where that is not known."""
        raise NoAdjoint(f"the score of {type(self).__name__} is not known: give it a `score`")

    def _per_pixel(self, x: Tensor, output: Tensor) -> Tensor:
        raise TypeError(f"{type(self).__name__} has no density of its own: use one of its subclasses")


class BernoulliLikelihood(Likelihood):
    """Binary pixels; the decoder gives logits."""

    spec = LikelihoodSpec(kind="bernoulli", nats_of="probability of a binary image", discrete=True)

    def _per_pixel(self, x: Tensor, output: Tensor) -> Tensor:
        return bernoulli.log_mass(x, output)

    def score(self, x: Tensor, output: Tensor) -> Tensor:
        """x − sigmoid(output)."""
        return bernoulli.score(x, output)


class GaussianLikelihood(Likelihood):
    """Pixels in [0, 1] around a sigmoid mean, with one learned scale for all of them (Rybkin et al. 2021, σ-VAE).

    A density of pixel values: its nats have either sign and do not compare with those of a discrete model.
    """

    spec = LikelihoodSpec(kind="gaussian", nats_of="density of pixels in [0, 1]", discrete=False)

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-1.0))

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The learned standard deviation of a pixel, never below one 8-bit step."""
        return torch.exp(self.log_scale) + SMALLEST_SCALE

    def _per_pixel(self, x: Tensor, output: Tensor) -> Tensor:
        return gaussian.log_density(x, self.mean(output), self.scale)

    def score(self, x: Tensor, output: Tensor) -> Tensor:
        """(x − mean) / scale², back through the mean."""
        mean, pullback = self.linearised_mean(output)
        return pullback(gaussian.score(x, mean, self.scale))


class ContinuousBernoulliLikelihood(Likelihood):
    """Pixels in [0, 1], each with a density that leans to one end; the decoder gives logits."""

    spec = LikelihoodSpec(kind="continuous_bernoulli", nats_of="density of pixels in [0, 1]", discrete=False)

    def mean(self, output: Float[Tensor, "*batch c h w"]) -> Float[Tensor, "*batch c h w"]:
        """Not the sigmoid of the logits: the mean lies nearer to ½."""
        return continuous_bernoulli.mean(output)

    def _per_pixel(self, x: Tensor, output: Tensor) -> Tensor:
        return continuous_bernoulli.log_density(x, output)

    def linearised_mean(self, output: Tensor) -> Linearised:
        """The mean's derivative is the variance."""
        return Linearised(self.mean(output), lambda cotangent: cotangent * continuous_bernoulli.variance(output))

    def score(self, x: Tensor, output: Tensor) -> Tensor:
        """x − mean."""
        return continuous_bernoulli.score(x, output)


class LogisticMixtureLikelihood(Likelihood):
    """8-bit pixels by a mixture of discretised logistics (Salimans et al. 2017, section 2.1 and 2.2).

    Each component is of a whole pixel: in colour, green's mean leans on red, and blue's on both. The decoder gives, for
    every component, a weight, and means and log scales of the channels, and in colour three coefficients.
    """

    spec = LikelihoodSpec(kind="logistic_mixture", nats_of=NATS_OF_8_BITS, discrete=True)

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def output_channels(self, channels: int) -> int:
        """A weight, and for each channel a mean, a log scale and, beyond the first, the coefficients before it."""
        return COMPONENTS * (1 + 2 * channels + channels * (channels - 1) // 2)

    def mean(self, output: Float[Tensor, "*batch outputs h w"]) -> Float[Tensor, "*batch c h w"]:
        """The components' means, kept within [0, 1], by weight: what the tails take back at the ends is left out."""
        log_weights, means, _, coefficients = self._parts(output)
        inside = torch.stack(self._leaning_on_each_other(means, coefficients), dim=-4).clamp(0, 1)
        return _paired_sum(log_weights.exp().unsqueeze(-4) * inside)

    def linearised_mean(self, output: Tensor) -> Linearised:
        """Back from the sum to weights and means, and from each channel's mean, last first, to those it leans on."""
        log_weights, means, log_scales, coefficients = self._parts(output)
        found = self._leaning_on_each_other(means, coefficients)
        stacked, weights = torch.stack(found, dim=-4), log_weights.exp()

        def pullback(cotangent: Tensor) -> Tensor:
            shared = cotangent.unsqueeze(-3)  # (batch, c, 1, h, w)
            of_weights = (shared * stacked.clamp(0, 1)).sum(dim=-4)
            of_logits = weights * (of_weights - (weights * of_weights).sum(dim=-3, keepdim=True))
            unclamped = (stacked > 0) & (stacked < 1)
            of_found = torch.where(unclamped, shared * weights.unsqueeze(-4), 0.0).unbind(dim=-4)
            of_means, of_coefficients = _back_along_leanings(coefficients, found, of_found)
            return _joined(of_logits, of_means, torch.zeros_like(log_scales).unbind(dim=-4), of_coefficients)

        return Linearised(self.mean(output), pullback)

    def score(self, x: Tensor, output: Tensor) -> Tensor:
        """Each component's own derivatives, by its responsibility for the pixel; weights get r − π."""
        log_weights, means, log_scales, coefficients = self._parts(output)
        seen = x.unsqueeze(-3).unbind(dim=-4)
        masses, scores = log_weights, []
        for channel in range(self.channels):
            place = seen[channel], _leaning(means, coefficients, seen, channel), log_scales.select(-4, channel)
            masses = masses + discretised_logistic.log_mass(*place)
            scores.append(discretised_logistic.score(*place))
        responsible = torch.softmax(masses, dim=-3)
        of_means = [responsible * score.by_mean for score in scores]
        free = (log_scales > SMALLEST_LOG_SCALE).to(output.dtype).unbind(dim=-4)
        of_scales = [responsible * score.by_log_scale * free[channel] for channel, score in enumerate(scores)]
        of_coefficients = [
            of_means[channel] * _leaning_slope(coefficients, seen, channel, other)
            for channel, other in _pairs(len(seen))
        ]
        return _joined(responsible - log_weights.exp(), of_means, of_scales, of_coefficients)

    def _leaning_on_each_other(self, means: Tensor, coefficients: Tensor) -> list[Tensor]:
        """The components' means of each channel, where the channels before it stand at their own."""
        found = list(means.unbind(dim=-4)[:1])
        for channel in range(1, self.channels):
            found.append(_leaning(means, coefficients, found, channel))
        return found

    def _per_pixel(self, x: Tensor, output: Tensor) -> Tensor:
        log_weights, means, log_scales, coefficients = self._parts(output)
        seen = list(x.unsqueeze(-3).unbind(dim=-4))  # each (*batch, 1, h, w)
        masses = log_weights
        for channel in range(self.channels):
            mean = _leaning(means, coefficients, seen, channel)
            masses = masses + discretised_logistic.log_mass(seen[channel], mean, log_scales.select(-4, channel))
        return torch.logsumexp(masses, dim=-3, keepdim=True)

    def _parts(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log weights (*batch, M, h, w); means, log scales and coefficients (*batch, parts, M, h, w)."""
        parts = output.unflatten(-3, (-1, COMPONENTS))
        sizes = [1, self.channels, self.channels, parts.shape[-4] - 1 - 2 * self.channels]
        weights, means, log_scales, coefficients = parts.split(sizes, dim=-4)
        log_weights = torch.log_softmax(weights.squeeze(-4), dim=-3)
        return log_weights, means + 0.5, (log_scales + FIRST_LOG_SCALE).clamp(min=SMALLEST_LOG_SCALE), coefficients


class CategoricalLikelihood(Likelihood):
    """8-bit pixels, every level with a probability of its own; the decoder gives 256 logits a pixel and channel."""

    spec = LikelihoodSpec(kind="categorical", nats_of=NATS_OF_8_BITS, discrete=True)

    def output_channels(self, channels: int) -> int:
        """A logit for each level of each channel."""
        return LEVELS * channels

    def mean(self, output: Float[Tensor, "*batch outputs h w"]) -> Float[Tensor, "*batch c h w"]:
        """The levels' average."""
        probabilities = torch.softmax(output.unflatten(-3, (-1, LEVELS)), dim=-3)
        return _paired_sum(probabilities * (_levels(output) / (LEVELS - 1)))

    def linearised_mean(self, output: Tensor) -> Linearised:
        """∂ mean / ∂ logit of a level = its probability · (level − mean)."""
        mean, levels = self.mean(output), _levels(output) / (LEVELS - 1)

        def pullback(cotangent: Tensor) -> Tensor:
            probabilities = torch.softmax(output.unflatten(-3, (-1, LEVELS)), dim=-3)
            of_logits = probabilities * (levels - mean.unsqueeze(-3)) * cotangent.unsqueeze(-3)
            return of_logits.flatten(-4, -3)

        return Linearised(mean, pullback)

    def score(self, x: Tensor, output: Tensor) -> Tensor:
        """1 at the pixel's level, minus the probabilities."""
        probabilities = torch.softmax(output.unflatten(-3, (-1, LEVELS)), dim=-3)
        at_level = torch.round(x.unsqueeze(-3) * (LEVELS - 1)) == _levels(output)
        return (at_level.to(output.dtype) - probabilities).flatten(-4, -3)

    def _per_pixel(self, x: Tensor, output: Tensor) -> Tensor:
        log_masses = torch.log_softmax(output.unflatten(-3, (-1, LEVELS)), dim=-3)
        level = torch.round(x * (LEVELS - 1)).long().unsqueeze(-3)
        level, log_masses = torch.broadcast_tensors(level, log_masses)
        chosen: Tensor = log_masses.gather(-3, level[..., :1, :, :])
        return chosen.squeeze(-3)


def make_likelihood(kind: LikelihoodKind, channels: int = 1) -> Likelihood:
    """The likelihood that a configuration names, of pictures with so many channels."""
    match kind:
        case "bernoulli":
            return BernoulliLikelihood()
        case "continuous_bernoulli":
            return ContinuousBernoulliLikelihood()
        case "gaussian":
            return GaussianLikelihood()
        case "logistic_mixture":
            return LogisticMixtureLikelihood(channels)
        case "categorical":
            return CategoricalLikelihood()


def _paired_sum(terms: Float[Tensor, "*batch terms h w"]) -> Float[Tensor, "*batch h w"]:
    """The sum over the third axis from the end, by adding its halves until one term is left.

    Exported, a reduction adds in an order that depends on the batch's size; a picture must be the same bytes in any.
    """
    while (count := terms.shape[-3]) > 1:
        first, second, left = terms.split([count // 2, count // 2, count % 2], dim=-3)
        terms = torch.cat([first + second, left], dim=-3) if count % 2 else first + second
    return terms.squeeze(-3)


def _leaning(means: Tensor, coefficients: Tensor, before: Sequence[Tensor], channel: int) -> Tensor:
    """A channel's component means, moved by the channels before it; coefficients stand in the order gr, br, bg."""
    mean = means.select(-4, channel)
    first = channel * (channel - 1) // 2
    for other in range(channel):
        mean = mean + torch.tanh(coefficients.select(-4, first + other)) * (before[other] - 0.5)
    return mean


def _leaning_slope(coefficients: Tensor, before: Sequence[Tensor], channel: int, other: int) -> Tensor:
    """How a channel's component means move with the coefficient by which they lean on another."""
    leaning = torch.tanh(coefficients.select(-4, _pairs(channel + 1).index((channel, other))))
    return (1 - leaning.square()) * (before[other] - 0.5)


def _back_along_leanings(
    coefficients: Tensor, found: Sequence[Tensor], of_found: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """Cotangents of the means before they leaned on each other, and of the coefficients: the last channel's first."""
    of_means, of_coefficients = list(of_found), {}
    for place, (channel, other) in reversed([*enumerate(_pairs(len(found)))]):
        of_coefficients[place] = of_means[channel] * _leaning_slope(coefficients, found, channel, other)
        of_means[other] = of_means[other] + of_means[channel] * torch.tanh(coefficients.select(-4, place))
    return of_means, [of_coefficients[place] for place in sorted(of_coefficients)]


def _pairs(channels: int) -> list[tuple[int, int]]:
    """Which channel leans on which, in the order of the coefficients: gr, br, bg."""
    return [(channel, other) for channel in range(1, channels) for other in range(channel)]


def _joined(of_logits: Tensor, *parts: Sequence[Tensor]) -> Tensor:
    """The parts of a mixture's output, each (batch, M, h, w), in the order of `_parts`."""
    return torch.cat([of_logits, *(part for group in parts for part in group)], dim=-3)


def _levels(like: Tensor) -> Tensor:
    """0 … 255 along the third axis from the end."""
    return torch.arange(LEVELS, device=like.device, dtype=like.dtype)[:, None, None]
