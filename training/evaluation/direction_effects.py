"""What a step along a direction does to pictures, by the decisions of a judge that knows nothing of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from training.evaluation.attribute_judge import AttributeJudge, Contrast

Latents = Float32[np.ndarray, "n d"]
Decode = Callable[[Latents], UInt8[np.ndarray, "n h w c"]]


@dataclass(frozen=True)
class Effects:
    """How each contrast's decision changes a step, on average over places, and its standard error."""

    contrasts: tuple[Contrast, ...]
    mean: Float64[np.ndarray, " contrasts"]
    standard_error: Float64[np.ndarray, " contrasts"]

    @property
    def strongest(self) -> int:
        """The contrast that is moved most, either way."""
        return int(np.abs(self.mean).argmax())

    @property
    def sign_of_strongest(self) -> int:
        """1 where that grows or nothing moves, −1 where it falls."""
        return -1 if self.mean[self.strongest] < 0 else 1

    def leak(self, of: int) -> tuple[float, str | None]:
        """The largest change of anything but one contrast, and what that is.

        Of other attributes either way. Another value of the same one loses where this gains: only its rise is a leak.
        """
        own = self.contrasts[of]
        found = [
            (abs(change) if contrast.attribute != own.attribute else max(0.0, change), contrast.name)
            for contrast, change in zip(self.contrasts, self.mean.tolist(), strict=True)
            if contrast != own
        ]
        size, name = max(found, default=(0.0, None))
        return (size, name) if size > 0 else (0.0, None)

    def selectivity(self, of: int) -> float:
        """The share of what was wanted in what was changed: 1 where nothing leaks, 0 where nothing wanted happens."""
        effect = max(0.0, float(self.mean[of]))
        return effect / (effect + self.leak(of)[0]) if effect else 0.0


def measure_effects(
    judge: AttributeJudge, decode: Decode, places: Latents, vectors: Sequence[Float64[np.ndarray, " d"]]
) -> list[Effects]:
    """Half the difference between a step forward and a step back, at every place, in standard deviations.

    Decisions are in units of their standard deviation on real validation pictures.
    """
    found = []
    for vector in vectors:
        step = vector.astype(np.float32)
        forward, back = (judge.decide(decode(places + sign * step)) for sign in (1, -1))
        change = (forward - back) / 2
        error = change.std(axis=0, ddof=1) / np.sqrt(len(places))
        found.append(Effects(judge.contrasts, change.mean(axis=0), error))
    return found
