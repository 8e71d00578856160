"""MLServer's side: the graph as a custom runtime, as its documentation shows. Runs in MLServer's environment."""

from __future__ import annotations

import numpy as np
from graph import encode
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse


class Encoder(MLModel):
    """image and noise → latent, mean, scale."""

    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        found = {sent.name: NumpyCodec.decode_input(sent).astype(np.float32) for sent in payload.inputs}
        if found.keys() != {"image", "noise"}:
            raise InferenceError(f"the inputs are image and noise, not {sorted(found)}")
        answer = encode(**found)
        wanted = [output.name for output in payload.outputs or []] or list(answer)
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            outputs=[NumpyCodec.encode_output(name, answer[name]) for name in wanted],
        )
