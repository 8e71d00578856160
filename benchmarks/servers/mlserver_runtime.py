"""MLServer's custom runtime for the graph: the Open Inference Protocol, tensors or base64 out, adaptive batching."""

from __future__ import annotations

import asyncio
import base64

import numpy as np
import numpy.typing as npt
from decoder import IMAGE_BYTES, LATENT, Decoder
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Lists(MLModel):
    """Tensors in and out."""

    async def load(self) -> bool:
        self.decoder = Decoder()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """All requests of a batch arrive as one tensor."""
        latents = np.asarray(payload.inputs[0].data.root, np.float32).reshape(-1, LATENT)
        pictures = await asyncio.to_thread(self.decoder, latents)
        return InferenceResponse(model_name=self.name, outputs=[self.answer(pictures.reshape(-1, IMAGE_BYTES))])

    def answer(self, pictures: npt.NDArray[np.uint8]) -> ResponseOutput:
        """Pictures (N, bytes) as the protocol's numbers."""
        numbers = pictures.ravel().tolist()
        return ResponseOutput(name="image", shape=list(pictures.shape), datatype="UINT8", data=numbers)


class Base64(Lists):
    """Its REST interface has no binary form; base64 strings are the nearest thing."""

    def answer(self, pictures: npt.NDArray[np.uint8]) -> ResponseOutput:
        """Pictures (N, bytes) as base64, one string each."""
        texts = [base64.b64encode(picture.tobytes()).decode() for picture in pictures]
        return ResponseOutput(name="image", shape=[len(texts), 1], datatype="BYTES", data=texts)
