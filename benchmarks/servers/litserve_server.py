"""LitServe serving the graph: JSON in; lists or, at `/raw`, bytes out. Batches of what waits."""

import litserve as ls
import numpy as np
import numpy.typing as npt
from decoder import IMAGE_BYTES, MAX_BATCH, PORT, WORKERS, Decoder
from fastapi import Request, Response
from fastapi.responses import JSONResponse

Pictures = npt.NDArray[np.uint8]
Sizes = list[int]


class DecodeAPI(ls.LitAPI):
    """Requests hold one or more latents, so a batch is the latents of all of them, one after another."""

    def setup(self, device: str) -> None:
        self.decoder = Decoder()

    def decode_request(self, request: Request) -> npt.NDArray[np.float32]:
        return np.asarray(request["latents"], np.float32)

    def batch(self, inputs: list[npt.NDArray[np.float32]]) -> tuple[npt.NDArray[np.float32], Sizes]:
        return np.concatenate(inputs), [len(latents) for latents in inputs]

    def predict(self, x: tuple[npt.NDArray[np.float32], Sizes]) -> tuple[Pictures, Sizes]:
        latents, sizes = x
        return self.decoder(latents), sizes

    def unbatch(self, output: tuple[Pictures, Sizes]) -> list[Pictures]:
        pictures, sizes = output
        return np.split(pictures, np.cumsum(sizes)[:-1])

    def encode_response(self, output: Pictures) -> Response:
        return JSONResponse({"images": output.reshape(-1, IMAGE_BYTES).tolist()})


class RawAPI(DecodeAPI):
    """The same with the pictures' bytes as the answer."""

    def encode_response(self, output: Pictures) -> Response:
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    batching = {"max_batch_size": MAX_BATCH, "batch_timeout": 0.001}
    server = ls.LitServer(
        [DecodeAPI(api_path="/decode", **batching), RawAPI(api_path="/raw", **batching)],
        accelerator="cpu",
        workers_per_device=WORKERS,
    )
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, access_log=False)
