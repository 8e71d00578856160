from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from app.manifest import ImageSpace, Manifest, PixelRange
from app.runtime.session import GraphSession
from tests.app.tiny_labelled import LabelledGaussian, tiny_labelled
from tests.app.tiny_models import write_version
from tests.training.linear_gaussian import LATENT_SIZE, SIDE, linear_gaussian
from training.__main__ import main
from training.data.splits import DataSplits, ImageSet
from training.evaluation.bounds import SAMPLES_AT_ONCE, Average, image_bounds, joint_bounds, set_bounds
from training.evaluation.published import PublishedGraphs, active_dimensions, read_manifest, subset
from training.export.graphs import graphs_of
from training.export.to_onnx import write_graph
from training.nets.dense import DenseDecoder
from training.probability.likelihood import make_likelihood
from training.probability.prior import GaussianMixturePrior
from training.vae.model import VariationalAutoencoder


@pytest.mark.parametrize("name", ["tiny_vae", "tiny_gan"])
def test_evaluate_finds_the_numbers_of_the_card_again(
    models_dir: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = models_dir / name / "1"
    assert main(["evaluate", str(folder)]) == 0
    found = re.findall(r"^(\w+): (\S+)(?: ± \S+)? .*\(published: (\S+)\); ", capsys.readouterr().out, re.MULTILINE)
    metrics = read_manifest(folder).metrics
    assert [name for name, _, _ in found] == list(metrics)
    for metric, again, published in found:
        assert float(published) == pytest.approx(metrics[metric].value, rel=1e-5)
        assert float(again) == pytest.approx(metrics[metric].value, rel=1e-5)


def test_subset_is_random_the_same_every_time_and_nested() -> None:
    images = ImageSet(np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1), np.arange(200))
    chosen = subset(images, 50).labels
    assert chosen is not None
    assert len(set(chosen.tolist())) == 50
    assert chosen.tolist() == subset(images, 50).labels.tolist()
    assert chosen.tolist() == subset(images, 80).labels[:50].tolist()
    assert 70 < chosen.mean() < 130  # the first fifty have a mean of 24.5
    assert subset(images, 200) is images


def test_average_has_the_standard_error_of_a_mean() -> None:
    average = Average.of([1.0, 2.0, 4.0, 5.0])
    assert average.mean == 3.0
    assert average.standard_error == pytest.approx((10 / 3) ** 0.5 / 2)
    assert Average.of([7.0]) == Average(7.0, 0.0)


def test_bounds_of_a_set_reach_the_exact_log_density_whatever_the_number_of_runs(tmp_path: Path) -> None:
    inexact = linear_gaussian(shift=0.2, inflation=1.2)
    session = _session(inexact.vae, (1, SIDE, SIDE), LATENT_SIZE, "image_to_evidence", tmp_path)
    found = set_bounds(session, inexact.image.numpy(), samples=2 * SAMPLES_AT_ONCE + 1, seed=0)
    for bounds, log_density in zip(found, inexact.log_density.tolist(), strict=True):
        assert bounds.standard_error_nats is not None
        assert abs(bounds.importance_weighted_nats - log_density) < 5 * bounds.standard_error_nats
    alone = image_bounds(session, inexact.image[3].numpy(), samples=2 * SAMPLES_AT_ONCE + 1, seed=0, index=3)
    assert alone == found[3]


def test_joint_bounds_are_those_of_every_label(tmp_path: Path) -> None:
    version = write_version(tmp_path, tiny_labelled())
    manifest = Manifest.model_validate_json((version / "manifest.json").read_bytes())
    session = GraphSession.open(version / "image_to_evidence.onnx", manifest.graph("image_to_evidence"))
    images = np.random.default_rng(0).random((4, 1, 8, 8), np.float32)
    found = joint_bounds(session, images, classes=3, samples=3, seed=0)
    np.testing.assert_allclose(found, LabelledGaussian().log_conditional(images.reshape(4, 64)), rtol=1e-5, atol=2e-3)


def test_active_dimensions_are_those_that_say_something_most_informative_first(tmp_path: Path) -> None:
    """Dimension i of the encoder's mean is a pixel times `gain`, its scale 1: a KL of ½ gain² E[pixel²]."""

    class KnownEncoder(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            gain = torch.tensor([1.0, 0.0, 3.0, 0.01, 2.0])
            mean = image.flatten(1)[:, :5] * gain
            return torch.cat([mean, torch.zeros_like(mean)], dim=1)

    vae = VariationalAutoencoder(KnownEncoder(), DenseDecoder((1, 3, 3), (4,), 5), make_likelihood("bernoulli"), 5)
    session = _session(vae, (1, 3, 3), 5, "image_to_latent", tmp_path)
    space = ImageSpace(height=3, width=3, channels=1, pixel_range=PixelRange(low=0, high=1))
    pictures = ImageSet(np.random.default_rng(0).integers(0, 256, (300, 3, 3, 1), dtype=np.uint8), None)
    data = DataSplits("noise", pictures, pictures, pictures, None, "0" * 64)
    assert active_dimensions(PublishedGraphs(space, {"image_to_latent": session}), data) == (2, 4, 0)


def test_active_dimensions_under_a_learned_prior_depend_on_no_affine_map_of_the_codes(tmp_path: Path) -> None:
    """The same codes shifted and stretched, scale and all, say as much as before."""
    found = []
    for shift, stretch in [(0.0, 1.0), (40.0, 8.0)]:

        class Encoder(nn.Module):
            def forward(self, image: torch.Tensor, shift: float = shift, stretch: float = stretch) -> torch.Tensor:
                pixels = image.flatten(1)
                mean = torch.stack([pixels[:, 0], 3 * pixels[:, 1], 0 * pixels[:, 2]], dim=1)
                return torch.cat([shift + stretch * mean, torch.full_like(mean, math.log(0.3 * stretch))], dim=1)

        vae = VariationalAutoencoder(Encoder(), DenseDecoder((1, 3, 3), (4,), 3), make_likelihood("bernoulli"), 3)
        vae.prior = GaussianMixturePrior(3, 2)
        (folder := tmp_path / str(shift)).mkdir()
        sessions = {role: _session(vae, (1, 3, 3), 3, role, folder) for role in ("noise_to_latent", "image_to_latent")}
        space = ImageSpace(height=3, width=3, channels=1, pixel_range=PixelRange(low=0, high=1))
        pictures = ImageSet(np.random.default_rng(0).integers(0, 256, (300, 3, 3, 1), dtype=np.uint8), None)
        data = DataSplits("noise", pictures, pictures, pictures, None, "0" * 64)
        found.append(active_dimensions(PublishedGraphs(space, sessions), data))
    assert found == [(1, 0), (1, 0)]


def _session(
    vae: VariationalAutoencoder, shape: tuple[int, int, int], size: int, role: str, folder: Path
) -> GraphSession:
    graph = next(graph for graph in graphs_of(vae, shape, size) if graph.role == role)
    signature = write_graph(graph, folder)
    return GraphSession.open(folder / signature.file, signature)
