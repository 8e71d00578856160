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
NATS_TOLERANCE, NATS_RELATIVE_TOLERANCE = 1e-3, 1e-6
"""Log terms are sums over all pixels: an absolute error in nats is what matters for a bound."""
GRADIENT_TOLERANCE = 1e-5
"""Of a gradient, relative to its largest entry: a small one is what is left when large terms cancel."""


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

    def of_output(self, name: str, wanted: NDArray[np.float32]) -> Tolerance:
        """What this output of the graph is held to."""
        if not name.endswith("gradient"):
            return self
        return replace(self, absolute=max(self.absolute, GRADIENT_TOLERANCE * float(np.abs(wanted).max(initial=0.0))))

    def excess(self, found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
        """The largest error as a multiple of what is allowed; infinite where a number of either is not finite."""
        if found.shape != wanted.shape or not (np.isfinite(found).all() and np.isfinite(wanted).all()):
            return float("inf")
        allowed = np.maximum(self.absolute, self.relative * np.abs(wanted))
        return float((np.abs(found - wanted) / allowed).max(initial=0.0))


def check_parity(graph: Graph, session: GraphSession, *, seed: int = 0) -> float:
    """Compare PyTorch and ONNX on random inputs at several batch sizes; the largest absolute difference seen.

    Raises ParityError beyond the graph's tolerance.
    """
    generator = torch.Generator().manual_seed(seed)
    tolerance = Tolerance.of(graph)
    worst = 0.0
    for batch in BATCH_SIZES:
        inputs = graph.random_inputs({"batch": batch, "samples": SAMPLES}, generator)
        found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
        with torch.no_grad():
            answer = graph.module(*inputs.values())
        wanted = dict(zip(graph.outputs, answer if isinstance(answer, tuple) else (answer,), strict=True))
        for name, tensor in wanted.items():
            held_to = tolerance.of_output(name, tensor.numpy())
            if (excess := held_to.excess(found[name], tensor.numpy())) > 1:
                raise ParityError(
                    f"{graph.role}: {name} is off by {excess:.3g} times the tolerance of "
                    f"{held_to.absolute:g} (relative {held_to.relative:g}) at batch {batch}"
                )
            worst = max(worst, float(np.abs(found[name] - tensor.numpy()).max()))
    return worst
