"""What a run is: one frozen, typed `RunConfig`, read from TOML.

Unknown keys are refused, every knob has its default and its reason on one line, and the whole configuration is printed
and saved with the run, so that a run folder says by itself how to repeat it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from app.manifest import NAME_PATTERN, LikelihoodKind


class ConfigError(ValueError):
    """The experiment file or an override is wrong; the message says where and what is accepted."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Section):
    """Which images, at what size, and how they are split."""

    set: Literal["mnist", "fashion_mnist", "digits", "folder"]
    folder: Path | None = None  # for set = "folder": the pictures, or class subfolders of pictures
    size: Annotated[int, Field(ge=8, le=256)] = 28  # pixels a side; pictures of other sizes are fitted
    channels: Literal[1, 3] = 1
    validation_images: PositiveInt | None = None  # None: 10,000 of the named sets, a tenth of a folder
    test_images: PositiveInt | None = None  # None: the published test set, or a tenth of a folder
    background: tuple[int, int, int] = (0, 0, 0)  # what transparent and oddly shaped pictures are laid on
    observation: Literal["grey", "binarised"] = "grey"  # binarised: each pixel drawn as a coin with its grey as odds, anew every epoch

    @model_validator(mode="after")
    def _folder_where_needed(self) -> Self:
        if (self.set == "folder") != (self.folder is not None):
            raise ValueError('data.folder belongs with data.set = "folder", and is needed there')
        return self


class VaeConfig(_Section):
    """A variational autoencoder (Kingma & Welling 2014)."""

    family: Literal["vae"]
    nets: Literal["dense", "convolutional"] = "convolutional"
    latent_size: PositiveInt = 16
    hidden: tuple[PositiveInt, ...] = (256,)  # dense: widths from the image inwards; mirrored in the decoder
    channels: tuple[PositiveInt, ...] = (32, 64)  # convolutional: channels at each halving of the side
    residual_blocks: Annotated[int, Field(ge=0)] = 1  # convolutional: blocks at each resolution
    likelihood: LikelihoodKind = "bernoulli"


class GanConfig(_Section):
    """A deep convolutional GAN (Radford et al. 2016)."""

    family: Literal["gan"]
    latent_size: PositiveInt = 100
    generator_channels: PositiveInt = 64  # channels at the last hidden resolution; doubled at each halving
    discriminator_channels: PositiveInt = 64
    spectral_norm: bool = False  # on every discriminator layer (Miyato et al. 2018)
    generator_batch_norm: bool = True  # the paper's; its running statistics are averaged with the weights
    discriminator_batch_norm: bool = True  # the paper's; not together with spectral norm

    @model_validator(mode="after")
    def _one_normalisation(self) -> Self:
        if self.spectral_norm and self.discriminator_batch_norm:
            raise ValueError("spectral_norm replaces discriminator_batch_norm: set one of them to false")
        return self


class VaeObjectiveConfig(_Section):
    """How the ELBO is estimated while training."""

    kl: Literal["closed_form", "sampled"] = "closed_form"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0  # the KL's weight rises linearly from 0 to 1 over these


class GanObjectiveConfig(_Section):
    """The two-player game."""

    kind: Literal["minimax", "non_saturating", "hinge"] = "non_saturating"
    discriminator_steps: PositiveInt = 1  # discriminator updates for each generator update


class OptimiserConfig(_Section):
    """Adam, its schedule, and how long it runs."""

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-3  # of the VAE, or of the generator
    discriminator_learning_rate: PositiveFloat | None = None  # None: the generator's
    betas: tuple[float, float] = (0.9, 0.999)  # GANs: (0, 0.9) or the paper's (0.5, 0.999)
    schedule: Literal["constant", "cosine"] = "cosine"  # cosine falls to zero at the last step
    clip_norm: PositiveFloat | None = 5.0  # of the whole gradient; None leaves it alone
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.999  # exponential average of the weights, a step; 0 keeps the raw weights
    precision: Literal["float32", "bfloat16"] = "float32"  # of the nets; sums of log terms stay in float32


class EvaluationConfig(_Section):
    """What is measured at publication, on test images, from the exported graphs."""

    images: PositiveInt = 2000  # a random subset of the test set; all of it where it is smaller
    importance_samples: PositiveInt = 1000  # K of the importance-weighted bound
    calibration_images: PositiveInt = 1000  # validation images behind percentiles and p-values
    map_points: PositiveInt = 400  # encoded test images for the latent map


class RunConfig(_Section):
    """One experiment: a published model or one row of a table."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    title: str
    summary: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig
    model: Annotated[VaeConfig | GanConfig, Field(discriminator="family")]
    objective: VaeObjectiveConfig | GanObjectiveConfig | None = None  # None: the family's defaults
    optimiser: OptimiserConfig = OptimiserConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    checkpoint_every_s: PositiveFloat = 60.0  # a killed run loses at most this much, and the step it was in
    samples_every_epochs: PositiveInt = 5  # how often a grid of samples is drawn into the run folder

    @model_validator(mode="after")
    def _objective_of_the_family(self) -> Self:
        wanted = VaeObjectiveConfig if self.model.family == "vae" else GanObjectiveConfig
        if self.objective is None:
            object.__setattr__(self, "objective", wanted())
        elif not isinstance(self.objective, wanted):
            raise ValueError(f"the [objective] section is not one of the {self.model.family} family")
        return self
