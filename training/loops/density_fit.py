"""Making a finished autoencoder generative: a density fitted to the features of its training images.

An autoencoder says where images go, not how often: its codes have holes, and an arbitrary scale. A density of what the
encoder says, by maximum likelihood in a second stage, is what it can be sampled from (Ghosh et al. 2020, "From
variational to deterministic autoencoders", section 4, with a Gaussian mixture; a flow serves as well).
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from torch import Tensor

from training.autoencoder.model import Autoencoder
from training.config import ConfigError, DensityConfig, OptimiserConfig
from training.loops.checkpoint import load_checkpoint, save_checkpoint
from training.loops.schedule import FIXED_DRAW, Plan, learning_rate_factor, set_learning_rate, step_generator
from training.loops.watched import observed
from training.probability.flow import ActNorm, real_nvp
from training.probability.full_mixture import FullCovarianceMixture
from training.probability.prior import FlowPrior, Prior

AT_ONCE = 500
MOST_ITERATIONS = 200
"""Of expectation maximisation."""
SMALLEST_VARIANCE_SHARE = 1e-6
"""Added to each component's variances, as a share of the features' mean variance: no component becomes a spike."""
CLIP_NORM = 5.0

Features = Float[Tensor, "n size"]


@dataclass(frozen=True)
class FittedDensity:
    """A density of features, how it was fitted, and how well it predicts features, in nats an image."""

    config: DensityConfig
    prior: Prior
    train_log_density_nats: float
    validation_log_density_nats: float

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        save_checkpoint(path, {"config": self.config.model_dump(), "prior": self.prior.state_dict(), **numbers})

    @classmethod
    def load(cls, path: Path, latent_size: int) -> FittedDensity:
        """Read what `save` wrote."""
        state = load_checkpoint(path)
        config = DensityConfig.model_validate(state["config"])
        prior = _unfitted(config, latent_size)
        prior.load_state_dict(state["prior"])
        return cls(config, prior, *(state[name] for name in _NUMBERS))

    def as_toml_document(self) -> dict[str, Any]:
        """Its configuration and its numbers as plain values."""
        return {"density": self.config.model_dump(), "fit": {name: round(getattr(self, name), 3) for name in _NUMBERS}}


_NUMBERS = ("train_log_density_nats", "validation_log_density_nats")


def fit_density(train: Features, validation: Features, config: DensityConfig) -> FittedDensity:
    """Fit to the features of training images and measure on those of validation images.

    Raises ConfigError where there are too few images or dimensions for what is to be fitted.
    """
    size = train.shape[1]
    if config.kind == "mixture" and config.components > len(train):
        raise ConfigError(f"{config.components} components cannot be fitted to {len(train)} codes")
    if config.kind == "flow" and size < 2:
        raise ConfigError("a flow couples dimensions: codes of one number take a mixture")
    prior = _fit_mixture(train, config) if config.kind == "mixture" else _fit_flow(train, validation, config)
    return FittedDensity(config, prior, _mean_log_density(prior, train), _mean_log_density(prior, validation))


def coins(config: DensityConfig) -> torch.Generator:
    """What tosses binarised pictures of a fit: its weights are drawn from the seed as it is, and coins not to match."""
    return step_generator(config.seed, FIXED_DRAW)


@torch.no_grad()
def features_of(net: Autoencoder, pictures: NDArray[np.uint8], coin: torch.Generator | None) -> Features:
    """What the encoder says of pictures (N, H, W, C), tossed as coins where the model was trained on such."""
    parts = range(0, len(pictures), AT_ONCE)
    return torch.cat([net.features(observed(pictures[start : start + AT_ONCE], coin)) for start in parts])


def _unfitted(config: DensityConfig, latent_size: int) -> Prior:
    if config.kind == "mixture":
        return FullCovarianceMixture.unfitted(config.components, latent_size)
    return FlowPrior(latent_size, real_nvp(latent_size, config.couplings, config.hidden))


def _fit_mixture(features: Features, config: DensityConfig) -> FullCovarianceMixture:
    """By expectation maximisation from k-means (Dempster et al. 1977), in double precision."""
    points = features.double().numpy()
    found = GaussianMixture(
        config.components,
        reg_covar=SMALLEST_VARIANCE_SHARE * float(points.var(axis=0).mean()),
        max_iter=MOST_ITERATIONS,
        random_state=config.seed,
    )
    with warnings.catch_warnings():  # stopped at the last iteration, it is a fit nevertheless
        warnings.simplefilter("ignore", ConvergenceWarning)
        found.fit(points)
    parts = (found.means_, np.linalg.cholesky(found.covariances_), np.log(found.weights_))
    return FullCovarianceMixture(*(torch.from_numpy(part).float() for part in parts))


def _fit_flow(train: Features, validation: Features, config: DensityConfig) -> FlowPrior:
    """By Adam on the mean log density; kept is the epoch that predicts the validation features best."""
    torch.manual_seed(config.seed)
    prior = FlowPrior(train.shape[1], real_nvp(train.shape[1], config.couplings, config.hidden))
    _standardise(prior, train)
    plan = Plan(len(train), min(config.batch_size, len(train)), config.epochs, config.seed)
    adam = torch.optim.Adam(prior.parameters(), lr=config.learning_rate)
    best, best_density = copy.deepcopy(prior), _mean_log_density(prior, validation)
    for step, chosen in enumerate(plan.batches(done_steps=0), start=1):
        factor = learning_rate_factor(OptimiserConfig(schedule="cosine"), step - 1, plan.total_steps)
        set_learning_rate(adam, config.learning_rate * factor)
        adam.zero_grad(set_to_none=True)
        (-prior.log_density(train[torch.from_numpy(chosen)]).mean()).backward()
        torch.nn.utils.clip_grad_norm_(prior.parameters(), CLIP_NORM)
        adam.step()
        if step % plan.steps_per_epoch == 0 and (density := _mean_log_density(prior, validation)) > best_density:
            best, best_density = copy.deepcopy(prior), density
    return best.requires_grad_(False)


@torch.no_grad()
def _standardise(prior: FlowPrior, features: Features) -> None:
    """Let the flow's first step give every dimension mean 0 and variance 1 (Kingma & Dhariwal 2018, section 3.1)."""
    first = prior.flow.steps[0]
    if not isinstance(first, ActNorm):
        raise TypeError(f"a flow begins with an act norm, not with {type(first).__name__}")
    first.shift.copy_(-features.mean(dim=0))
    first.log_scale.copy_(-features.std(dim=0).clamp(min=1e-6).log())


@torch.no_grad()
def _mean_log_density(prior: Prior, features: Features) -> float:
    return float(torch.cat([prior.log_density(part) for part in features.split(AT_ONCE)]).double().mean())
