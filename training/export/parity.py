"""Does the exported graph compute what PyTorch computes?"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from app.manifest import GraphRole
from app.runtime.session import GraphSession
from training.export.graphs import Graph

BATCH_SIZES = (1, 2, 7, 32)
SAMPLES = 5
ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 1e-4, 1e-5
LOG_TERM_ROLES: frozenset[GraphRole] = frozenset(
    {"image_to_evidence", "latent_to_evidence", "latent_to_pixel_evidence", "latent_to_prior"}
)
NATS_TOLERANCE, NATS_RELATIVE_TOLERANCE = 1e-3, 3e-6
"""Log terms are sums over all pixels: an absolute error in nats is what matters for a bound. The relative one is of the
largest term of the batch: where parts of opposite sign nearly cancel, a small sum is no more exact than a large one. A
mean that rounding moves by δ moves a Gaussian's squared error by 2δ/|x − μ| of itself: some 10⁻⁶, of a deep decoder."""
PIXEL_TOLERANCE = 1e-5
"""Of the log terms of single pixels, relative to the largest: where the mean is off by δ, a Gaussian pixel's term is by
(x − μ) δ / σ², which grows as the largest of them, (x − μ)² / 2σ², does where the likelihood is sharp."""
GRADIENT_TOLERANCE = 1e-5
"""Of a gradient, relative to its largest entry: a small one is what is left when large terms cancel."""
KINK_TOLERANCE = 0.05
"""The same of a row by itself. At the kink of a rectifier rounding decides which slope it has: among a million of them
one may have the other slope in the other runtime, and its row another gradient, as right as the first."""
FEWEST_ROWS = 5
"""From so many rows on the one in the middle shows what a gradient is but for that."""


class ParityError(ValueError):
    """The exported graph does not compute what the model computes; it must not be published."""


@dataclass(frozen=True)
class Tolerance:
    """|found − wanted| ≤ max(absolute, relative · |wanted|)."""

    absolute: float
    relative: float

    @classmethod
    def of(cls, graph: Graph) -> Tolerance:
        """What this graph is held to."""
        if graph.role in LOG_TERM_ROLES:
            return cls(NATS_TOLERANCE, NATS_RELATIVE_TOLERANCE)
        return cls(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE)

    def beside_largest(self, share: float, wanted: NDArray[np.float32]) -> Tolerance:
        """With errors up to a share of the largest entry allowed."""
        return replace(self, absolute=max(self.absolute, share * float(np.abs(wanted).max(initial=0.0))))

    def for_terms(self, role: GraphRole, wanted: NDArray[np.float32]) -> Tolerance:
        """What one output of this role is held to: log terms, of images and of pixels, beside the largest of them."""
        if role not in LOG_TERM_ROLES:
            return self
        share = PIXEL_TOLERANCE if role == "latent_to_pixel_evidence" else self.relative
        return self.beside_largest(share, wanted)

    def excess_of_output(self, name: str, found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        """`excess`; of gradients that of the middle row, and of every row by the tolerance for kinks."""
        if not is_gradient(name):
            return self.excess(found, wanted)
        anywhere = self.beside_largest(KINK_TOLERANCE, wanted).excess(found, wanted)
        if not np.isfinite(anywhere) or len(wanted) < FEWEST_ROWS:
            return anywhere
        narrow = self.beside_largest(GRADIENT_TOLERANCE, wanted)
        return max(anywhere, float(np.median([narrow.excess(*rows) for rows in zip(found, wanted, strict=True)])))

    def excess(self, found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        """The largest error as a multiple of what is allowed; infinite where a number of either is not finite."""
        if found.shape != wanted.shape or not (np.isfinite(found).all() and np.isfinite(wanted).all()):
            return float("inf")
        allowed = np.maximum(self.absolute, self.relative * np.abs(wanted))
        return float((np.abs(found - wanted) / allowed).max(initial=0.0))


def is_gradient(output: str) -> bool:
    """Whether an output of this name is a gradient, which jumps where a rectifier has its kink."""
    return output.endswith("gradient")


def check_parity(graph: Graph, session: GraphSession, *, seed: int = 0) -> float:
    """Compare PyTorch and ONNX on random inputs at several batch sizes; the largest absolute difference seen.

    Raises ParityError beyond the graph's tolerance.
    """
    generator = torch.Generator().manual_seed(seed)
    asked = Tolerance.of(graph)
    worst = 0.0
    for batch in BATCH_SIZES:
        inputs = graph.random_inputs({"batch": batch, "samples": SAMPLES}, generator)
        found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
        with torch.no_grad():
            answer = graph.module(*inputs.values())
        wanted = dict(zip(graph.outputs, answer if isinstance(answer, tuple) else (answer,), strict=True))
        for name, tensor in wanted.items():
            tolerance = asked.for_terms(graph.role, tensor.numpy())
            if (excess := tolerance.excess_of_output(name, found[name], tensor.numpy())) > 1:
                raise ParityError(
                    f"{graph.role}: {name} is off by {excess:.3g} times the tolerance of "
                    f"{tolerance.absolute:g} (relative {tolerance.relative:g}) at batch {batch}"
                )
            worst = max(worst, float(np.abs(found[name] - tensor.numpy()).max()))
    return worst
