"""Named directions of a latent space, which a version holds in a JSON file beside its manifest."""

from __future__ import annotations

import base64
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.manifest import Tensor

DirectionKind = Literal["supervised", "principal_component", "factorised"]
"""Of what is known of pictures; of the codes' covariance; of the weights of the decoder's first layer."""
DirectionName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.=-]{0,63}$")]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Direction(_Record):
    """A displacement of latents that has a name, and what one step along it does to pictures."""

    name: DirectionName
    kind: DirectionKind
    method: str
    """In words: how it was found, and how long one step is."""
    attribute: str | None = None
    """What it changes: for a supervised direction what it was made for, else what it moved most where it was turned."""
    effect: float | None = None
    """By how much a step changes that on places of its own, negative where it falls there; None where nothing is known
    of the pictures, as for all numbers here."""
    effect_standard_error: Annotated[float, Field(ge=0)] | None = None
    leakage: Annotated[float, Field(ge=0)] | None = None
    """By how much, at most, a step changes anything else, in the same unit, whichever way."""
    leaks_into: str | None = None
    unit: str | None = None
    """Of effect and leakage."""


class Directions(_Record):
    """All directions of a version, their displacements, and how their effects were measured."""

    directions: tuple[Direction, ...]
    vectors: Tensor
    """float32 (directions, D), in the same order: one step of each."""
    protocol: str

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        names = [direction.name for direction in self.directions]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"directions need names of their own, and there must be some, got {names}")
        shape = self.vectors.shape
        if self.vectors.dtype != "float32" or len(shape) != 2 or shape[0] != len(names):
            raise ValueError(f"vectors must be float32 of {len(names)} rows, got {shape}")
        numbers = np.frombuffer(base64.b64decode(self.vectors.base64), "<f4")
        if numbers.size != shape[0] * shape[1] or not np.isfinite(numbers).all():
            raise ValueError(f"vectors hold {numbers.size} numbers for {shape}, or some that are not finite")
        return self

    @cached_property
    def by_name(self) -> dict[str, npt.NDArray[np.float32]]:
        """The displacement (D,) of each name."""
        rows = np.frombuffer(base64.b64decode(self.vectors.base64), "<f4").reshape(self.vectors.shape)
        names = (direction.name for direction in self.directions)
        return dict(zip(names, rows.astype(np.float32), strict=True))

    @property
    def latent_size(self) -> int:
        """D."""
        return self.vectors.shape[1]
