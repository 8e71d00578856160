"""Ray Serve serving the graph: JSON in and lists out, or bytes in and out. Batches by `serve.batch`."""

from __future__ import annotations

import asyncio
import os
import signal

import numpy as np
import numpy.typing as npt
import ray
from decoder import IMAGE_BYTES, LATENT, MAX_BATCH, PORT, WORKERS, Decoder
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

Latents = npt.NDArray[np.float32]
Pictures = npt.NDArray[np.uint8]


@serve.deployment(num_replicas=WORKERS, max_ongoing_requests=256)
class Decode:
    """One replica: its own graph."""

    def __init__(self) -> None:
        self.decoder = Decoder()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.001)
    async def decode(self, requests: list[Latents]) -> list[Pictures]:
        """The pictures of each request; all latents go through the graph together."""
        pictures = await asyncio.to_thread(self.decoder, np.concatenate(requests))
        return np.split(pictures, np.cumsum([len(latents) for latents in requests])[:-1])

    async def __call__(self, request: Request) -> Response:
        """Answer in the form of the question; a GET asks whether a replica is there."""
        if request.method == "GET":
            return Response()
        if request.headers["content-type"] == "application/octet-stream":
            pictures = await self.decode(np.frombuffer(await request.body(), np.float32).reshape(-1, LATENT))
            return Response(pictures.tobytes(), media_type="application/octet-stream")
        pictures = await self.decode(np.asarray((await request.json())["latents"], np.float32))
        return JSONResponse({"images": pictures.reshape(-1, IMAGE_BYTES).tolist()})


if __name__ == "__main__":
    ray.init(num_cpus=os.cpu_count(), include_dashboard=False, log_to_driver=False)
    quiet = LoggingConfig(enable_access_log=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT}, logging_config=quiet)
    serve.run(Decode.options(logging_config=quiet).bind(), route_prefix="/decode")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
