"""What a manifest with a learned prior must state."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.manifest import GoldenCase, GraphSignature, Manifest, TensorSpec
from tests.app.tiny_models import tiny_vae, write_version

NOISE_SIZE = 5


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The manifest of a model whose prior is its noise."""
    folder = write_version(tmp_path_factory.mktemp("models"), tiny_vae())
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes()).model_dump()


def test_noise_of_a_standard_normal_prior_is_the_latent(document: dict[str, Any]) -> None:
    manifest = Manifest.model_validate(document)
    assert (manifest.noise_size, manifest.latent.selectors) == (manifest.latent.size, 0)


def test_noise_of_a_learned_prior_has_the_size_that_its_graph_states(document: dict[str, Any]) -> None:
    manifest = Manifest.model_validate(_with_prior(document, selectors=1))
    assert manifest.noise_size == NOISE_SIZE
    assert "sample" in manifest.capabilities


@pytest.mark.parametrize("kind", ["mixture", "vamp", "flow"])
def test_learned_prior_needs_its_graph(document: dict[str, Any], kind: str) -> None:
    with pytest.raises(ValidationError, match=f"a {kind} prior needs noise_to_latent"):
        Manifest.model_validate(document | {"latent": document["latent"] | {"prior": kind}})


def test_selectors_leave_numbers_to_draw_with(document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="5 selectors leave nothing of 5 numbers of noise"):
        Manifest.model_validate(_with_prior(document, selectors=NOISE_SIZE))


def _with_prior(document: dict[str, Any], *, selectors: int) -> dict[str, Any]:
    latent = document["latent"] | {"prior": "mixture", "selectors": selectors}
    noise = TensorSpec(name="noise", dtype="float32", shape=("batch", NOISE_SIZE))
    found = TensorSpec(name="latent", dtype="float32", shape=("batch", latent["size"]))
    signature = GraphSignature(
        role="noise_to_latent", file="noise_to_latent.onnx", sha256="0" * 64, inputs=(noise,), outputs=(found,)
    )
    golden = GoldenCase(role="noise_to_latent", inputs={}, outputs={}, absolute_tolerance=1e-4, relative_tolerance=0)
    return document | {
        "latent": latent,
        "graphs": [*document["graphs"], signature.model_dump()],
        "golden": [*document["golden"], golden.model_dump()],
    }
