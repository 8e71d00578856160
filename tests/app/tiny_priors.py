"""Tiny models with learned priors, made without PyTorch: an affine flow and a mixture, both known in closed form.

Everything but the prior is the linear-Gaussian VAE's.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from app.manifest import LatentSpace
from tests.app.tiny_models import TinyModel, graph, tiny_vae, with_graph

SHIFT, SCALE = 1.0, 2.0
"""The flow: latent = SCALE · noise + SHIFT, so that z ~ N(SHIFT, SCALE² I)."""
MEANS = np.array([[-2.0, 0.0], [2.0, 1.0]])
WEIGHTS = np.array([0.25, 0.75])
"""The mixture: Σ wₖ N(meanₖ, I)."""
_THRESHOLD = -0.6744897501960817  # Φ⁻¹(¼)


def tiny_flow(name: str = "tiny_flow", *, scale: float = SCALE) -> TinyModel:
    """A prior that is an affine map of noise, with the way back and its density."""
    model = with_graph(_with_prior(name, LatentSpace(size=2, prior="flow")), "noise_to_latent", _affine(scale))
    model = with_graph(model, "latent_to_noise", _inverse(scale))
    return with_graph(model, "latent_to_prior", _normal_density(scale))


def tiny_mixture(name: str = "tiny_mixture") -> TinyModel:
    """A prior of two Gaussians, with its density and the components' shares."""
    model = _with_prior(name, LatentSpace(size=2, prior="mixture", selectors=1))
    return with_graph(with_graph(model, "noise_to_latent", _choice()), "latent_to_prior", _mixture_density())


def flow_log_density(latents: NDArray[np.float64]) -> NDArray[np.float64]:
    """log N(z; SHIFT, SCALE² I) of latents (N,2)."""
    squares = np.square((latents - SHIFT) / SCALE).sum(axis=1)
    return np.asarray(-0.5 * squares - math.log(2 * math.pi) - 2 * math.log(SCALE))


def mixture_joint(latents: NDArray[np.float64]) -> NDArray[np.float64]:
    """log wₖ + log N(z; meanₖ, I) of latents (N,2), as (N,2)."""
    squares = np.square(latents[:, None] - MEANS).sum(axis=2)
    return np.asarray(np.log(WEIGHTS) - 0.5 * squares - math.log(2 * math.pi))


def _with_prior(name: str, latent: LatentSpace) -> TinyModel:
    vae = tiny_vae(name)
    return replace(vae, fields=vae.fields | {"latent": latent})


def _affine(scale: float) -> onnx.ModelProto:
    constants = {"scale": np.full(2, scale), "shift": np.full(2, SHIFT)}
    nodes = [
        helper.make_node("Mul", ["noise", "scale"], ["wide"]),
        helper.make_node("Add", ["wide", "shift"], ["latent"]),
    ]
    return graph(nodes, {"noise": ["batch", 2]}, {"latent": ["batch", 2]}, constants)


def _inverse_nodes(output: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Sub", ["latent", "shift"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], [output]),
    ]


def _inverse(scale: float) -> onnx.ModelProto:
    constants = {"scale": np.full(2, scale), "shift": np.full(2, SHIFT)}
    return graph(_inverse_nodes("noise"), {"latent": ["batch", 2]}, {"noise": ["batch", 2]}, constants)


def _normal_density(scale: float) -> onnx.ModelProto:
    constants = {
        "scale": np.full(2, scale),
        "shift": np.full(2, SHIFT),
        "last": np.array([-1]),
        "half": np.array([-0.5]),
        "constant": np.array([-math.log(2 * math.pi) - 2 * math.log(scale)]),
    }
    nodes = [
        *_inverse_nodes("base"),
        helper.make_node("ReduceSumSquare", ["base", "last"], ["squares"], keepdims=0),
        helper.make_node("Mul", ["squares", "half"], ["exponent"]),
        helper.make_node("Add", ["exponent", "constant"], ["log_prior"]),
    ]
    return graph(nodes, {"latent": ["batch", 2]}, {"log_prior": ["batch"]}, constants)


def _choice() -> onnx.ModelProto:
    """noise (B,3): the first number picks a component, the others are added to its mean."""
    constants = {
        "parts": np.array([1, 2]),
        "threshold": np.array([_THRESHOLD]),
        "first": MEANS[0],
        "step": MEANS[1] - MEANS[0],
    }
    nodes = [
        helper.make_node("Split", ["noise", "parts"], ["selector", "rest"], axis=1),
        helper.make_node("Greater", ["selector", "threshold"], ["second"]),
        helper.make_node("Cast", ["second"], ["chosen"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["chosen", "step"], ["moved"]),
        helper.make_node("Add", ["moved", "first"], ["mean"]),
        helper.make_node("Add", ["mean", "rest"], ["latent"]),
    ]
    return graph(nodes, {"noise": ["batch", 3]}, {"latent": ["batch", 2]}, constants)


def _mixture_density() -> onnx.ModelProto:
    constants = {
        "middle": np.array([1]),
        "last": np.array([-1]),
        "half": np.array([-0.5]),
        "means": MEANS,
        "constant": np.log(WEIGHTS) - math.log(2 * math.pi),
    }
    nodes = [
        helper.make_node("Unsqueeze", ["latent", "middle"], ["row"]),
        helper.make_node("Sub", ["row", "means"], ["centred"]),
        helper.make_node("ReduceSumSquare", ["centred", "last"], ["squares"], keepdims=0),
        helper.make_node("Mul", ["squares", "half"], ["exponent"]),
        helper.make_node("Add", ["exponent", "constant"], ["joint"]),
        helper.make_node("ReduceLogSumExp", ["joint", "last"], ["log_prior"], keepdims=0),
        helper.make_node("ReduceLogSumExp", ["joint", "last"], ["column"], keepdims=1),
        helper.make_node("Sub", ["joint", "column"], ["component"]),
    ]
    return graph(nodes, {"latent": ["batch", 2]}, {"log_prior": ["batch"], "component": ["batch", 2]}, constants)
