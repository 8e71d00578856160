"""Half-precision weights: small files whose numbers are those that were measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.testing import assert_close

from app.runtime.session import GraphSession
from training.config import DataConfig, VaeConfig
from training.export.graphs import Graph, graphs_of
from training.export.invariance import check_invariance
from training.export.parity import check_parity
from training.export.storage import SMALLEST_HALVED, round_weights, store_in_half_precision
from training.export.to_onnx import write_graph
from training.probability.flow import SettledLinearMap
from training.probability.prior import FlowPrior
from training.vae.model import VariationalAutoencoder


def test_large_weights_become_the_nearest_float16_and_small_ones_stay() -> None:
    net = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 63), nn.Conv2d(3, 200, 3))
    before = [layer.weight.detach().clone() for layer in net]
    assert round_weights(net) == []
    nearest = torch.from_numpy(before[0].numpy().astype(np.float16).astype(np.float32))
    assert torch.equal(net[0].weight, nearest)
    assert not torch.equal(nearest, before[0])
    assert torch.equal(net[1].weight, before[1])  # 4,032 numbers
    assert_close(net[2].weight, before[2], rtol=2**-11, atol=1e-7)
    assert not torch.equal(net[2].weight, before[2])


@pytest.mark.parametrize(("scale", "spike"), [(1e-7, 0.0), (0.1, 7e4)], ids=["below its exponents", "beyond its range"])
def test_weights_that_rounding_would_hurt_are_kept(scale: float, spike: float) -> None:
    net = nn.Sequential(nn.Linear(64, 64))
    with torch.no_grad():
        net[0].weight.copy_(scale * torch.randn(64, 64))
        net[0].weight[0, 0] += spike
    before = net[0].weight.detach().clone()
    assert round_weights(net) == ["0.weight"]
    assert torch.equal(net[0].weight, before)


def test_a_flow_keeps_the_inverse_and_determinant_of_its_map_exact() -> None:
    vae = _vae({"prior": {"kind": "flow", "couplings": 1, "hidden": 64}})
    exported = next(graph for graph in graphs_of(vae, (1, 8, 8), 70) if graph.role == "noise_to_latent").module
    prior = exported.get_submodule("vae.prior")
    assert isinstance(prior, FlowPrior)
    settled = next(step for step in prior.flow.steps if isinstance(step, SettledLinearMap))
    assert settled.weight.numel() >= SMALLEST_HALVED
    precise = settled.weight.double()
    assert_close(settled.inverse_weight.double() @ precise, torch.eye(70, dtype=torch.float64), atol=1e-6, rtol=0)
    assert_close(settled.log_determinant.double(), torch.linalg.slogdet(precise).logabsdet, atol=1e-5, rtol=0)


def test_graph_file_halves_and_computes_the_same(tmp_path: Path) -> None:
    graph = next(graph for graph in graphs_of(_vae({}), (1, 8, 8), 70) if graph.role == "latent_to_image")
    signature = write_graph(graph, tmp_path)
    path = tmp_path / signature.file
    weights = sum(parameter.numel() for parameter in graph.module.get_submodule("vae.decoder").parameters())
    assert path.stat().st_size < 2.1 * weights + 5000
    assert {t.data_type for t in onnx.load(path).graph.initializer if np.prod(t.dims) >= SMALLEST_HALVED} == {
        TensorProto.FLOAT16
    }
    assert check_parity(graph, GraphSession.open(path, signature)) < 1e-5
    check_invariance(graph, path, signature)


def test_graph_file_says_nothing_of_the_machine_that_wrote_it(tmp_path: Path) -> None:
    graph = Graph(
        "latent_to_image", nn.Linear(64, 64).requires_grad_(requires_grad=False), {"latent": ("batch", 64)}, ("image",)
    )
    content = (tmp_path / write_graph(graph, tmp_path).file).read_bytes()
    assert str(Path(__file__).parents[3]).encode() not in content
    assert b".py" not in content


def test_storing_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    exact = rng.normal(size=(64, 64)).astype(np.float16).astype(np.float32)
    tensors = {
        "halved": exact,
        "unrounded": rng.normal(size=(64, 64)).astype(np.float32),
        "overflowing": exact * np.float32(1e6),
        "small": exact[:63],
        "indices": np.zeros(5000, np.int64),
    }
    initialisers = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    model = helper.make_model(helper.make_graph([], "g", [], [], initialisers))
    store_in_half_precision(model)
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert stored.keys() == {"halved.float16", *tensors} - {"halved"}
    assert [(list(node.input), list(node.output)) for node in model.graph.node] == [(["halved.float16"], ["halved"])]
    np.testing.assert_array_equal(stored["halved.float16"].astype(np.float32), exact)
    for name in tensors.keys() - {"halved"}:
        np.testing.assert_array_equal(stored[name], tensors[name])


def test_bound_moves_by_less_than_a_hundredth_of_a_nat() -> None:
    vae, image, noise = _vae({}), torch.rand(50, 1, 8, 8).round(), torch.randn(50, 20, 70)
    exact = _elbo(vae, image, noise)
    round_weights(vae)
    moved = _elbo(vae, image, noise) - exact
    assert 0 < moved.abs().max() < 0.01 * 8
    assert moved.mean().abs() < 0.01


@torch.no_grad()
def _elbo(vae: VariationalAutoencoder, image: Tensor, noise: Tensor) -> Tensor:
    return vae.evidence(image, noise).log_weights().mean(dim=1)


def _vae(changes: dict[str, object]) -> VariationalAutoencoder:
    torch.manual_seed(0)
    document = {"family": "vae", "nets": "dense", "latent_size": 70, "hidden": [128], "objective": {"kl": "sampled"}}
    return VariationalAutoencoder.from_config(
        VaeConfig.model_validate(document | changes), DataConfig(set="digits", size=8)
    ).eval()
