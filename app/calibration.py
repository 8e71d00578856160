"""What versions hold in JSON files beside their manifest: how statistics of held-out images are distributed."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.manifest import OutlierStatistic, Tensor


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class OutlierTail(_Record):
    """How one statistic is distributed over the images that the combination of all was fitted on."""

    statistic: OutlierStatistic
    knots: tuple[float, ...]
    """Ascending quantiles, exceeded by the shares 1, 0.75, 0.5, 0.25, 0.1 and 0.05 of the images."""
    mean_excess: Annotated[float, Field(gt=0)]
    """By how much an image beyond the last knot exceeds it, on average: the scale of an exponential tail."""

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if len(self.knots) != 6 or list(self.knots) != sorted(self.knots):
            raise ValueError("a tail has six knots in ascending order")
        return self


class OutlierCalibration(_Record):
    """Statistics of held-out images, larger = stranger, which the p-values of `score` refer to: a JSON file.

    One part of the images gave the tails, which combine the statistics; the other, the values that p-values count.
    """

    tails: tuple[OutlierTail, ...]
    values: Tensor
    """float32 (statistics + 1, images), each row ascending: a row for each of `tails`, then their combination."""
    typical_code_norm: float | None
    """The median norm of a code among the fitting images; None where codes take no part."""
    samples: Annotated[int, Field(ge=1)]
    """Importance samples an image that every statistic is taken over."""
    seed: Annotated[int, Field(ge=0)]
    """Of their noise."""
    split: str

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        names = [tail.statistic for tail in self.tails]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"each statistic has one tail, and there is one at least, got {names}")
        if ("code_norm" in names) != (self.typical_code_norm is not None):
            raise ValueError("typical_code_norm belongs with the statistic code_norm, and is needed there")
        if self.values.dtype != "float32" or len(self.values.shape) != 2 or self.values.shape[0] != len(names) + 1:
            raise ValueError(f"values must be float32 of {len(names) + 1} rows, got {self.values.shape}")
        return self
