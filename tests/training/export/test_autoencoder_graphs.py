"""Exported autoencoders against PyTorch, with and without a density of their codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from app.runtime.session import GraphSession
from training.autoencoder.model import Autoencoder
from training.config import AutoencoderConfig, DataConfig
from training.export.graphs import graphs_of
from training.export.invariance import check_invariance
from training.export.parity import check_parity
from training.export.to_onnx import write_graph
from training.probability.flow import real_nvp
from training.probability.full_mixture import FullCovarianceMixture
from training.probability.prior import FlowPrior, Prior

SIZE, SIDE = 6, 8
BOTH_WAYS = ["latent_to_image", "image_to_latent"]
RECTIFIED = {"nets": "linear", "sparsity": {"kind": "l1"}}
TOP = {"channels": [4, 6], "sparsity": {"kind": "top_k", "active": 2}}


@pytest.mark.parametrize(
    ("settings", "density", "roles"),
    [
        (RECTIFIED, "flow", ["noise_to_latent", *BOTH_WAYS]),
        (TOP, "mixture", ["noise_to_latent", *BOTH_WAYS]),
        ({"nets": "dense", "hidden": [9], "reconstruction": "bernoulli_cross_entropy"}, None, BOTH_WAYS),
    ],
    ids=["linear, l1, flow", "convolutional, top-k, mixture", "dense, no density"],
)
def test_graphs_compute_what_pytorch_computes_in_any_batch(
    tmp_path: Path, settings: dict[str, Any], density: str | None, roles: list[str]
) -> None:
    model = _autoencoder(settings, density)
    graphs = graphs_of(model, (3, SIDE, SIDE), SIZE)
    assert [graph.role for graph in graphs] == roles
    for graph in graphs:
        signature = write_graph(graph, tmp_path)
        path = tmp_path / signature.file
        assert check_parity(graph, GraphSession.open(path, signature)) < 1e-4  # and the operators are served ones
        if graph.role != "image_to_latent":
            check_invariance(graph, path, signature)


def test_encoder_keeps_the_noise_among_its_inputs_and_does_not_read_it(tmp_path: Path) -> None:
    graph = graphs_of(_autoencoder(TOP, None), (3, SIDE, SIDE), SIZE)[1]
    signature = write_graph(graph, tmp_path)
    assert [(spec.name, spec.shape) for spec in signature.inputs] == [
        ("image", ("batch", 3, SIDE, SIDE)),
        ("noise", ("batch", SIZE)),
    ]
    exported = onnx.load(tmp_path / signature.file).graph
    assert "noise" not in {name for node in exported.node for name in node.input}
    assert "TopK" in {node.op_type for node in exported.node}


def _autoencoder(settings: dict[str, Any], density: str | None) -> Autoencoder:
    torch.manual_seed(0)
    config = AutoencoderConfig.model_validate({"family": "autoencoder", "latent_size": SIZE, **settings})
    model = Autoencoder.from_config(config, DataConfig(set="folder", folder=Path("x"), size=SIDE, channels=3))
    model.density = _density(density)
    return model


def _density(kind: str | None) -> Prior | None:
    match kind:
        case "flow":
            return FlowPrior(SIZE, real_nvp(SIZE, couplings=2, hidden=8))
        case "mixture":
            factors = torch.randn(4, SIZE, SIZE).tril() + 3 * torch.eye(SIZE)
            return FullCovarianceMixture(torch.randn(4, SIZE), factors, torch.full((4,), 0.25).log())
        case _:
            return None
