from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from app.manifest import GraphRole, GraphSignature
from app.runtime.session import GraphSession, describe_graph, file_sha256
from training.export.graphs import Graph
from training.export.parity import ParityError, Tolerance, check_parity
from training.export.to_onnx import write_graph


def test_faithful_graph_passes_with_the_largest_difference(tmp_path: Path) -> None:
    graph = _linear()
    assert check_parity(graph, _session(graph, tmp_path)) < 1e-6


def test_graph_with_one_weight_changed_is_refused(tmp_path: Path) -> None:
    graph = _linear()
    path = tmp_path / write_graph(graph, tmp_path).file
    model = onnx.load(path)
    tensor = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    weights = numpy_helper.to_array(tensor).copy()
    weights.flat[5] += 1e-3
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    onnx.save(model, path)
    with pytest.raises(ParityError, match=r"latent_to_image: image is off by .* times the tolerance .* at batch 1"):
        check_parity(graph, _reopened(graph, path))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("side", ["found", "wanted"])
def test_number_that_is_not_finite_is_beyond_any_tolerance(bad: float, side: str) -> None:
    arrays = {name: np.ones(3, np.float32) for name in ("found", "wanted")}
    arrays[side][1] = bad
    assert Tolerance(1.0, 1.0).excess(**arrays) == np.inf


@pytest.mark.parametrize(
    ("found", "wanted", "excess"), [(1.0, 1.5, 5.0), (100.0, 101.0, 1 / 1.01), (100.0, 103.0, 3 / 1.03)]
)
def test_tolerance_is_the_larger_of_absolute_and_relative(found: float, wanted: float, excess: float) -> None:
    arrays = (np.array([value], np.float32) for value in (found, wanted))
    assert Tolerance(absolute=0.1, relative=0.01).excess(*arrays) == pytest.approx(excess, rel=1e-5)


@pytest.mark.parametrize("role", ["image_to_evidence", "latent_to_evidence", "image_to_latent"])
def test_log_terms_are_held_to_nats(role: GraphRole) -> None:
    found = Tolerance.of(Graph(role, nn.Identity(), {}, ()))
    assert found == (Tolerance(1e-3, 3e-6) if role.endswith("evidence") else Tolerance(1e-4, 1e-5))


def test_pixels_are_held_to_a_share_of_the_largest_as_a_sharp_likelihood_spreads_errors_of_the_mean() -> None:
    scale, off = 0.02, 1e-6
    x, mean = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)
    wanted, found = (-0.5 * ((x - mean - shift) / scale) ** 2 for shift in (0, off))
    strict = Tolerance.of(Graph("latent_to_pixel_evidence", nn.Identity(), {}, ()))
    assert strict.excess(found, wanted) > 1
    assert strict.for_terms("latent_to_pixel_evidence", wanted).excess(found, wanted) < 1
    far = wanted - 0.02 * np.abs(wanted).max()
    assert strict.for_terms("latent_to_pixel_evidence", wanted).excess(far, wanted) > 1000


def test_sums_that_nearly_cancel_are_held_to_a_share_of_the_largest_of_the_batch() -> None:
    tolerance, wanted = Tolerance(1e-3, 1e-6), np.array([-4000.0, 0.1], np.float32)
    off = wanted + np.array([0.0, 2e-3], np.float32)
    assert tolerance.excess(off, wanted) > 1
    assert tolerance.for_terms("image_to_evidence", wanted).excess(off, wanted) == pytest.approx(0.5, rel=0.01)
    assert tolerance.for_terms("image_to_evidence", wanted[1:]).excess(off[1:], wanted[1:]) > 1
    assert tolerance.for_terms("image_to_latent", wanted) == tolerance


def test_gradient_is_held_to_a_share_of_its_largest_entry() -> None:
    wanted = np.array([[0.5, -4000.0]] * 7, np.float32)
    tolerance, error = Tolerance(1e-3, 1e-6), np.array([[0.02, 0.0]] * 7, np.float32)
    assert tolerance.excess_of_output("likelihood_gradient", wanted + error, wanted) == pytest.approx(0.5, rel=1e-3)
    assert tolerance.excess_of_output("likelihood_gradient", wanted + 5 * error, wanted) == pytest.approx(2.5, rel=1e-3)
    assert tolerance.excess_of_output("log_likelihood", wanted + error, wanted) == pytest.approx(20, rel=1e-3)


def test_one_row_may_have_the_other_slope_of_a_kink_but_not_another_direction() -> None:
    wanted = np.array([[0.5, -4000.0]] * 7, np.float32)
    kinked, turned = wanted.copy(), wanted.copy()
    kinked[3, 0] += 100
    turned[3, 0] += 400
    tolerance = Tolerance(1e-3, 1e-6)
    assert tolerance.excess_of_output("gradient", kinked, wanted) == pytest.approx(0.5)
    assert tolerance.excess_of_output("gradient", turned, wanted) == pytest.approx(2)
    assert tolerance.excess_of_output("gradient", kinked[:1] * np.nan, wanted[:1]) == np.inf


def _linear() -> Graph:
    torch.manual_seed(0)
    return _graph(nn.Linear(6, 6).requires_grad_(False))


def _graph(module: nn.Module) -> Graph:
    return Graph("latent_to_image", module, {"latent": ("batch", 6)}, ("image",))


def _session(graph: Graph, folder: Path) -> GraphSession:
    return _reopened(graph, folder / write_graph(graph, folder).file)


def _reopened(graph: Graph, path: Path) -> GraphSession:
    inputs, outputs = describe_graph(path)
    signature = GraphSignature(
        role=graph.role, file=path.name, sha256=file_sha256(path), inputs=inputs, outputs=outputs
    )
    return GraphSession.open(path, signature)
