"""`tiny_inverse`: the generator of `tiny_gan` with its adjoint written out; latents are searched for."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from tests.app.tiny_graphs import Shape, graph
from tests.app.tiny_models import GAN_FIELDS, TinyModel, convolutional_generator


def tiny_inverse(name: str = "tiny_inverse", seed: int = 0) -> TinyModel:
    """8×8 colour in [−1, 1], four latent numbers."""
    graphs = {"latent_to_image": convolutional_generator(seed), "latent_gradient": convolutional_gradient(seed)}
    return TinyModel(name, graphs, GAN_FIELDS)  # type: ignore[arg-type]  # its keys are roles


def convolutional_gradient(seed: int) -> onnx.ModelProto:
    """latent (B,4), cotangent (B,3,8,8) → gradient (B,4): back through tanh, the convolution, ReLU and the matrix."""
    generator = convolutional_generator(seed)
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in generator.graph.initializer}
    constants = {**weights, "V_transposed": weights["V"].T.copy(), "one": np.ones(1), "zero": np.zeros(1)}
    constants["flat_shape"] = np.array([-1, 8 * 4 * 4])
    nodes = [
        *generator.graph.node,
        helper.make_node("Mul", ["image", "image"], ["squared"]),
        helper.make_node("Sub", ["one", "squared"], ["slope"]),
        helper.make_node("Mul", ["cotangent", "slope"], ["of_wide"]),
        helper.make_node("Conv", ["of_wide", "kernel"], ["of_positive"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Greater", ["features", "zero"], ["open"]),
        helper.make_node("Cast", ["open"], ["gate"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["of_positive", "gate"], ["of_features"]),
        helper.make_node("Reshape", ["of_features", "flat_shape"], ["of_flat"]),
        helper.make_node("MatMul", ["of_flat", "V_transposed"], ["gradient"]),
    ]
    inputs: dict[str, Shape] = {"latent": ["batch", 4], "cotangent": ["batch", 3, 8, 8]}
    return graph(nodes, inputs, {"gradient": ["batch", 4]}, constants)
