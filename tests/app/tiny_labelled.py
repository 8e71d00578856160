"""A tiny conditional model whose p(x|y), p(x) and p(y|x) are known: `tiny_vae` with a mean of its own for each class.

x|z,y ~ N(W z + b + U_y, σ² I), and q(z|x,y) is the exact posterior, so that every bound is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from app.manifest import LABEL, GraphRole
from tests.app.tiny_models import (
    VAE_FIELDS,
    LinearGaussian,
    Shape,
    TinyModel,
    graph,
    posterior_constants,
    quadratic_nodes,
)

CLASSES = ("plain", "left", "1")
"""The last is a name that is also an index, of another class."""
PROBABILITIES = (0.5, 0.3, 0.2)


@dataclass(frozen=True)
class LabelledGaussian(LinearGaussian):
    """Its parameters. W's columns overlap with the offsets, so that latents depend on labels."""

    @property
    def offsets(self) -> NDArray[np.float64]:
        """U (3, 64): nothing; the left half brighter; the upper half brighter."""
        half = np.repeat([0.25, 0.0], 4)
        return np.stack([np.zeros(64), np.tile(half, 8), np.repeat(half, 8)])

    def log_conditional(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """log p(x|y) in nats of flat images x (N, 64) under every label, (N, 3)."""
        return np.stack([self.log_density(x - offset) for offset in self.offsets], axis=1)


def tiny_labelled(name: str = "tiny_labelled") -> TinyModel:
    """8×8 grey in [0, 1], two latent numbers, three classes: a decoder, an encoder, a density and a classifier."""
    exact = LabelledGaussian()
    graphs: dict[GraphRole, onnx.ModelProto] = {
        "latent_to_image": _decoder(exact),
        "image_to_latent": _encoder(exact),
        "image_to_evidence": _evidence(exact),
    }
    return TinyModel(name, graphs, LABELLED_FIELDS)


def linear_classifier(seed: int = 0) -> onnx.ModelProto:
    """image (B,1,8,8) → logits (B,3), of random weights."""
    constants = {"shape": np.array([-1, 64]), "weights": np.random.default_rng(seed).standard_normal((64, 3)) / 4}
    nodes = [
        helper.make_node("Reshape", ["image", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    return graph(nodes, {"image": ["batch", 1, 8, 8]}, {"logits": ["batch", 3]}, constants)


def _decoder(exact: LabelledGaussian) -> onnx.ModelProto:
    constants = {"W": exact.weights.T, "means": 0.5 + exact.offsets, "shape": np.array([-1, 1, 8, 8])}
    nodes = [
        helper.make_node("MatMul", ["latent", "W"], ["offset"]),
        helper.make_node("Gather", ["means", LABEL], ["b"], axis=0),
        helper.make_node("Add", ["offset", "b"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["image"]),
    ]
    return graph(nodes, {"latent": ["batch", 2], LABEL: ["batch"]}, {"image": ["batch", 1, 8, 8]}, constants)


def _encoder(exact: LabelledGaussian) -> onnx.ModelProto:
    nodes = [
        *_posterior_mean_nodes(),
        helper.make_node("Mul", ["noise", "posterior_scale"], ["jitter"]),
        helper.make_node("Add", ["mean", "jitter"], ["latent"]),
        helper.make_node("Mul", ["mean", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "posterior_scale"], ["scale"]),
    ]
    inputs: dict[str, Shape] = {"image": ["batch", 1, 8, 8], "noise": ["batch", 2], LABEL: ["batch"]}
    outputs: dict[str, Shape] = {"latent": ["batch", 2], "mean": ["batch", 2], "scale": ["batch", 2]}
    return graph(nodes, inputs, outputs, _constants(exact) | {"zero": np.zeros(1)})


def _evidence(exact: LabelledGaussian) -> onnx.ModelProto:
    scale = exact.posterior_sigma
    constants = _constants(exact) | {
        "W": exact.weights.T,
        "middle": np.array([1]),
        "last": np.array([-1]),
        "likelihood_slope": np.array([-0.5 / exact.sigma**2]),
        "half": np.array([-0.5]),
        "likelihood_constant": np.array([-32 * np.log(2 * np.pi * exact.sigma**2)]),
        "prior_constant": np.array([-np.log(2 * np.pi)]),
        "posterior_constant": np.array([-np.log(2 * np.pi) - 2 * np.log(scale)]),
    }
    nodes = [
        *_posterior_mean_nodes(),
        helper.make_node("Unsqueeze", ["mean", "middle"], ["wide_mean"]),
        helper.make_node("Mul", ["noise", "posterior_scale"], ["jitter"]),
        helper.make_node("Add", ["wide_mean", "jitter"], ["z"]),
        helper.make_node("MatMul", ["z", "W"], ["reconstruction"]),
        helper.make_node("Unsqueeze", ["centred", "middle"], ["x"]),
        helper.make_node("Sub", ["x", "reconstruction"], ["residual"]),
        *quadratic_nodes("residual", "likelihood_slope", "likelihood_constant", "log_likelihood"),
        *quadratic_nodes("z", "half", "prior_constant", "log_prior"),
        *quadratic_nodes("noise", "half", "posterior_constant", "log_posterior"),
    ]
    inputs: dict[str, Shape] = {"image": ["batch", 1, 8, 8], "noise": ["batch", "samples", 2], LABEL: ["batch"]}
    terms = ("log_likelihood", "log_prior", "log_posterior")
    return graph(nodes, inputs, {term: ["batch", "samples"] for term in terms}, constants)


def _posterior_mean_nodes() -> list[onnx.NodeProto]:
    """image, label → centred (B,64) → mean (B,2)."""
    return [
        helper.make_node("Reshape", ["image", "flat_shape"], ["flat"]),
        helper.make_node("Gather", ["means", LABEL], ["b"], axis=0),
        helper.make_node("Sub", ["flat", "b"], ["centred"]),
        helper.make_node("MatMul", ["centred", "projection"], ["mean"]),
    ]


def _constants(exact: LabelledGaussian) -> dict[str, NDArray[Any]]:
    constants = posterior_constants(exact) | {"means": 0.5 + exact.offsets}
    del constants["centre"]
    return constants


LABELLED_FIELDS: dict[str, Any] = VAE_FIELDS | {"classes": CLASSES, "class_probabilities": PROBABILITIES}
