"""The graphs of gradients: exported, against autograd on the model that was trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from app.runtime.session import GraphSession
from tests.training.export.test_graphs import (
    BATCH_NORM,
    CONDITIONAL,
    CONVOLUTIONAL,
    DENSE_GAN,
    LADDER,
    VAMP,
    trained_model,
)
from training.config import ExportConfig
from training.export.graphs import Graph, TrainedModel, graphs_of
from training.export.parity import check_parity
from training.export.to_onnx import write_graph
from training.nets.adjoint import NoAdjoint
from training.vae.model import VariationalAutoencoder

DENSE = {"nets": "dense", "hidden": [6]}
MODELS: list[tuple[dict[str, Any], int, int]] = [
    (CONVOLUTIONAL | {"likelihood": "gaussian"}, 10, 3),
    (CONVOLUTIONAL | DENSE | {"likelihood": "logistic_mixture"}, 8, 3),
    (CONVOLUTIONAL | DENSE | {"likelihood": "categorical"}, 8, 1),
    (CONDITIONAL | DENSE, 8, 1),
    (VAMP | DENSE | {"likelihood": "continuous_bernoulli"}, 8, 1),
]
IDS = ["Gaussian", "mixture of logistics", "categorical", "conditional, flow prior", "VampPrior"]


@pytest.mark.parametrize(("model", "size", "channels"), MODELS, ids=IDS)
def test_exported_log_terms_and_gradients_are_autograd_s(
    tmp_path: Path, model: dict[str, Any], size: int, channels: int
) -> None:
    trained = trained_model(model, size, channels)
    assert isinstance(trained, VariationalAutoencoder)
    graph = _graph(trained, "latent_to_evidence", (channels, size, size), model["latent_size"])
    session = _session(graph, tmp_path)
    inputs = graph.random_inputs({"batch": 5}, torch.Generator().manual_seed(1))
    found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
    latent = inputs["latent"].requires_grad_()
    log_likelihood = trained.log_likelihood(inputs["image"], latent[:, None], inputs.get("label"))[:, 0]
    log_prior = trained.prior.log_density(latent)
    _hold_to(found["log_likelihood"], log_likelihood)
    _hold_to(found["log_prior"], log_prior)
    _hold_to(found["likelihood_gradient"], torch.autograd.grad(log_likelihood.sum(), latent)[0])
    _hold_to(found["prior_gradient"], torch.autograd.grad(log_prior.sum(), latent)[0])
    assert check_parity(graph, session) < 1e-3
    _holds_weights_once(tmp_path / session.signature.file, [trained.decoder, graph.module.vae.prior])


@pytest.mark.parametrize(
    "model",
    [CONDITIONAL | DENSE, BATCH_NORM, DENSE_GAN | {"condition": "projection"}, BATCH_NORM | {"condition": "coupled"}],
    ids=["conditional VAE", "GAN", "conditional dense GAN", "coupled GAN"],
)
def test_exported_adjoint_is_autograd_s(tmp_path: Path, model: dict[str, Any]) -> None:
    trained = trained_model(model, 12, 1)
    graph = _graph(trained, "latent_gradient", (1, 12, 12), model["latent_size"])
    session = _session(graph, tmp_path)
    inputs = graph.random_inputs({"batch": 3}, torch.Generator().manual_seed(1))
    found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
    latent = inputs["latent"].requires_grad_()
    if isinstance(trained, VariationalAutoencoder):
        image = trained.decode(latent, inputs["label"])
    else:
        image = trained.generator(latent, inputs.get("label"))
    _hold_to(found["gradient"], torch.autograd.grad(image, latent, inputs["cotangent"])[0])
    assert check_parity(graph, session) < 1e-4


@pytest.mark.parametrize("model", [CONVOLUTIONAL, BATCH_NORM], ids=["VAE", "GAN"])
def test_configuration_may_leave_the_gradients_out(model: dict[str, Any]) -> None:
    trained, size = trained_model(model, 12, 1), model["latent_size"]
    without = {graph.role for graph in graphs_of(trained, (1, 12, 12), size, gradients=False)}
    added = {graph.role for graph in graphs_of(trained, (1, 12, 12), size)} - without
    assert added == ({"latent_gradient"} | ({"latent_to_evidence"} if model["family"] == "vae" else set()))
    assert ExportConfig().gradients


def test_hierarchical_model_has_no_gradients() -> None:
    graphs = graphs_of(trained_model(LADDER, 8, 1), (1, 8, 8), LADDER["latent_size"])
    assert not {"latent_gradient", "latent_to_evidence"} & {graph.role for graph in graphs}


def test_decoder_with_an_unknown_layer_is_refused_by_name_before_the_exporter_sees_it(tmp_path: Path) -> None:
    trained = trained_model(CONVOLUTIONAL, 8, 1)
    trained.decoder = nn.Sequential(trained.decoder, nn.GELU())
    with pytest.raises(NoAdjoint, match="the adjoint of GELU is not known"):
        write_graph(_graph(trained, "latent_gradient", (1, 8, 8), 4), tmp_path)


def _graph(model: TrainedModel, role: str, shape: tuple[int, int, int], latent_size: int) -> Graph:
    return next(graph for graph in graphs_of(model, shape, latent_size) if graph.role == role)


def _session(graph: Graph, folder: Path) -> GraphSession:
    signature = write_graph(graph, folder)
    return GraphSession.open(folder / signature.file, signature)


def _holds_weights_once(path: Path, parts: list[nn.Module]) -> None:
    """The way back uses the tensors of the way there; but for them there are only small constants."""
    stored = sum(math.prod(tensor.dims) for tensor in onnx.load(path).graph.initializer)
    weights = sum(tensor.numel() for part in parts for tensor in (*part.parameters(), *part.buffers()))
    assert stored < weights + 300


def _hold_to(found: np.ndarray, wanted: Tensor) -> None:
    """Within float32's rounding of a sum whose terms are as large as its largest result."""
    array = wanted.detach().numpy()
    assert found.shape == array.shape
    np.testing.assert_allclose(found, array, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(array).max())))
