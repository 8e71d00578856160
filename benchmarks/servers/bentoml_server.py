"""BentoML serving the graph: JSON in; lists out with adaptive batching, or bytes out through a second service.

A batchable method answers in lists alone, so bytes take BentoML's way of composing: an entry service that depends on
the one that batches.
"""

from typing import Annotated

import bentoml
import numpy as np
from bentoml.validators import ContentType
from decoder import IMAGE_BYTES, MAX_BATCH, WORKERS, Decoder

MAX_LATENCY_MS = 10_000
"""Requests that would take longer are refused; with one second some are while it still learns how long it takes."""

QUIET = {"access": {"enabled": False}}

Raw = Annotated[bytes, ContentType("application/octet-stream")]


@bentoml.service(workers=WORKERS, traffic={"timeout": 30}, logging=QUIET)
class Lists:
    """The graph; one batch at a time."""

    def __init__(self) -> None:
        self.decoder = Decoder()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS)
    def decode(self, latents: np.ndarray) -> np.ndarray:
        """Pictures (N, bytes) of latents (N, D), of several requests together."""
        return self.decoder(np.asarray(latents, np.float32)).reshape(-1, IMAGE_BYTES)


@bentoml.service(workers=WORKERS, traffic={"timeout": 30}, logging=QUIET)
class Bytes:
    """The same with bytes as the answer."""

    lists = bentoml.depends(Lists)

    @bentoml.api
    async def decode(self, latents: list[list[float]]) -> Raw:
        """The bytes of the pictures."""
        pictures = await self.lists.to_async.decode(np.asarray(latents, np.float32))
        return pictures.tobytes()
