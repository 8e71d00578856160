"""Whether a model of two domains draws the same thing in both: by the way that leads from one to the other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

from training.data.domains import Turn, turned

Pictures = UInt8[np.ndarray, "n h w c"]


def own_nearer(first: Pictures, second: Pictures, kind: Turn) -> Float[np.ndarray, " n"]:
    """Of each latent: the share of the other latents whose first picture, turned, is further from its second one.

    1 where every second picture is nearest to its own first one; 0.5 where the two have nothing to do with each other.
    """
    wanted, drawn = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (turned(first, kind), second))
    # ‖a − b‖² without ‖a‖², which is the same for all that a is compared with
    distances = (wanted**2).sum(axis=1) - 2 * drawn @ wanted.T
    further = distances > np.diag(distances)[:, None]
    share: Float[np.ndarray, " n"] = further.sum(axis=1) / (len(first) - 1)
    return share
