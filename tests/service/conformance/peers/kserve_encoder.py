"""KServe's side: the graph as a custom predictor, written as its documentation shows. Runs in KServe's environment."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from graph import encode
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.errors import InvalidInput

FP32 = "FP32"


class Encoder(Model):
    """image and noise → latent, mean, scale."""

    def load(self) -> bool:
        self.ready = True
        return self.ready

    def get_input_types(self) -> list[dict[str, Any]]:
        return [
            {"name": "image", "datatype": FP32, "shape": [-1, 1, 8, 8]},
            {"name": "noise", "datatype": FP32, "shape": [-1, 2]},
        ]

    def get_output_types(self) -> list[dict[str, Any]]:
        return [{"name": name, "datatype": FP32, "shape": [-1, 2]} for name in ("latent", "mean", "scale")]

    async def predict(self, payload: InferRequest, *_: object, **__: object) -> InferResponse:
        found = {sent.name: sent.as_numpy().astype(np.float32) for sent in payload.inputs}
        if found.keys() != {"image", "noise"}:
            raise InvalidInput(f"the inputs are image and noise, not {sorted(found)}")
        outputs = []
        for name, array in encode(**found).items():
            output = InferOutput(name, list(array.shape), FP32)
            output.set_data_from_numpy(array, binary_data=payload.use_binary_outputs)
            outputs.append(output)
        return InferResponse(
            response_id=payload.id,
            model_name=self.name,
            infer_outputs=outputs,
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


if __name__ == "__main__":
    encoder = Encoder("encoder")
    encoder.load()
    ModelServer(http_port=int(sys.argv[1]), enable_grpc=False).start([encoder])
