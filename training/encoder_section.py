"""The configuration of an encoder that is fitted to a finished generator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError

from training.config import ConfigError
from training.sections import Section, Widths


class EncoderConfig(Section):
    """An encoder trained through a frozen generator, on real images and on the generator's own."""

    posterior: Literal["diagonal", "full_covariance"] = "diagonal"  # of q(z|x), a Gaussian
    channels: Widths = (32, 64)  # at each halving of the side
    residual_blocks: Annotated[int, Field(ge=0)] = 1  # at each resolution
    own_weight: Annotated[float, Field(ge=0)] = 1.0  # of −log q(z|G(z)) beside the negative ELBO of real images
    epochs: PositiveInt = 5  # passes over the training images
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-3  # at the start; half a cosine to zero
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


def encoder_config(values: Mapping[str, Any]) -> EncoderConfig:
    """The configuration from values by name, widths also as "32,64". Raises ConfigError, naming what is wrong."""
    read = {name: _widths(value) if name == "channels" else value for name, value in values.items()}
    try:
        return EncoderConfig.model_validate(read)
    except ValidationError as error:
        said = [f"{problem['loc'][0]}: {problem['msg']}, got {problem['input']!r}" for problem in error.errors()]
        raise ConfigError(f"no encoder can be fitted so: {'; '.join(said)}") from error


def _widths(value: object) -> object:
    return tuple(value.split(",")) if isinstance(value, str) else value
