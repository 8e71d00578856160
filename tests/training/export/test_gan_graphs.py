"""The graphs that an encoder adds to a generator: exported, against the density in PyTorch and autograd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from app.runtime.session import GraphSession
from tests.training.export.test_graphs import BATCH_NORM, DENSE_GAN, trained_model
from training.encoder_section import EncoderConfig
from training.export.gan_graphs import assumed_likelihood, density_graphs
from training.export.graphs import Graph
from training.export.parity import check_parity
from training.export.storage import round_weights
from training.export.to_onnx import write_graph
from training.gan.inference import Encoder, GeneratorDensity
from training.gan.model import GenerativeAdversarialNetwork

SHAPE = (1, 12, 12)
KINDS: dict[str, dict[str, Any]] = {
    "no class": BATCH_NORM,
    "concatenation": BATCH_NORM | {"condition": "concatenation"},
    "projection, dense": DENSE_GAN | {"condition": "projection"},
    "auxiliary": BATCH_NORM | {"condition": "auxiliary"},
    "coupled": BATCH_NORM | {"condition": "coupled"},
}


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_exported_density_is_that_of_the_trained_nets(tmp_path: Path, model: dict[str, Any]) -> None:
    posterior = "full_covariance" if model.get("condition") == "concatenation" else "diagonal"
    density, size = _density(model, EncoderConfig(channels=(4, 6), posterior=posterior)), model["latent_size"]
    graphs = density_graphs(density, SHAPE, size, gradients=True)
    assert {"label" in graph.inputs for graph in graphs} == {bool(density.classes)}
    for graph in graphs:
        session = _session(graph, tmp_path)
        inputs = graph.random_inputs({"batch": 3, "samples": 4}, torch.Generator().manual_seed(1))
        found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
        for name, wanted in _wanted(density, graph.role, inputs).items():
            _hold_to(found[name], wanted)
        assert check_parity(graph, session) < 1e-3


def test_configuration_may_leave_the_gradients_out() -> None:
    density = _density(BATCH_NORM, EncoderConfig(channels=(4,)))
    with_all, without = (density_graphs(density, SHAPE, 5, gradients=there) for there in (True, False))
    assert {graph.role for graph in with_all} - {graph.role for graph in without} == {"latent_to_evidence"}


@pytest.mark.parametrize(
    ("conditional", "words"), [(False, "p(x|z) = N(G(z), σ²I)"), (True, "p(x|z,y) = N(G(z,y), σ²I)")]
)
def test_assumption_says_what_is_given(*, conditional: bool, words: str) -> None:
    assert assumed_likelihood(0.25, conditional=conditional).assumption.startswith(f"{words} with σ = 0.25")  # type: ignore[union-attr]


def _density(model: dict[str, Any], config: EncoderConfig) -> GeneratorDensity:
    """Of random nets, in half precision where publication rounds them, the pictures of classes too."""
    gan = trained_model(model, SHAPE[1], 1)
    assert isinstance(gan, GenerativeAdversarialNetwork)
    encoder = Encoder(config, SHAPE, model["latent_size"], gan.classes)
    if encoder.label_picture is not None:
        torch.nn.init.normal_(encoder.label_picture.pictures)
    density = GeneratorDensity(gan.generator, encoder, 0.2).eval().requires_grad_(False)
    round_weights(density)
    return density


def _wanted(density: GeneratorDensity, role: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    image, label = inputs["image"], inputs.get("label")
    match role:
        case "image_to_latent":
            posterior = density.posterior(image, label)
            drawn = posterior.draw(inputs["noise"][:, None]).latent[:, 0]
            return {"latent": drawn, "mean": posterior.mean, "scale": posterior.scale}
        case "image_to_evidence":
            return density.evidence(image, inputs["noise"], label)._asdict()
        case "latent_to_pixel_evidence":
            return {"log_likelihood": density.log_likelihood_map(image, inputs["latent"], label)}
        case _:
            latent = inputs["latent"].requires_grad_()
            log_likelihood = density.log_likelihood(image, latent[:, None], label)[:, 0]
            gradient = torch.autograd.grad(log_likelihood.sum(), latent)[0]
            return {"log_likelihood": log_likelihood, "likelihood_gradient": gradient, "prior_gradient": -latent}


def _session(graph: Graph, folder: Path) -> GraphSession:
    signature = write_graph(graph, folder)
    return GraphSession.open(folder / signature.file, signature)


def _hold_to(found: np.ndarray, wanted: Tensor) -> None:
    """To a thousandth of the largest: float32 sums of hundreds of large terms."""
    expected = wanted.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * max(1.0, float(np.abs(expected).max())))
