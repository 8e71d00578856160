"""What a manifest with a learned prior, or with classes, must state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.manifest import GoldenCase, GraphSignature, Manifest, TensorSpec
from tests.app.tiny_labelled import PROBABILITIES, linear_classifier, tiny_labelled
from tests.app.tiny_models import tiny_vae, with_graph, without_graphs, write_version

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


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The manifest of a conditional model."""
    folder = write_version(tmp_path_factory.mktemp("models"), tiny_labelled())
    return Manifest.model_validate_json((folder / "manifest.json").read_bytes()).model_dump()


def test_conditional_roles_are_those_that_take_a_label(labelled: dict[str, Any], document: dict[str, Any]) -> None:
    manifest = Manifest.model_validate(labelled)
    assert manifest.conditional_roles == manifest.roles
    assert "classify" in manifest.capabilities  # by Bayes' rule
    plain = Manifest.model_validate(document)
    assert (plain.conditional_roles, plain.prior_of_labels) == (frozenset(), ())
    assert "classify" not in plain.capabilities


def test_labels_are_equally_likely_unless_stated(labelled: dict[str, Any]) -> None:
    assert Manifest.model_validate(labelled).prior_of_labels == PROBABILITIES
    assert Manifest.model_validate(labelled | {"class_probabilities": ()}).prior_of_labels == (1 / 3,) * 3


def test_classifier_alone_classifies(tmp_path: Path) -> None:
    model = without_graphs(tiny_labelled(), "image_to_evidence", "latent_to_image", "image_to_latent")
    folder = write_version(tmp_path, replace(with_graph(model, "image_to_class", linear_classifier()), preview=False))
    assert Manifest.model_validate_json((folder / "manifest.json").read_bytes()).capabilities == ("classify",)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"classes": (), "class_probabilities": ()}, "classes must be named for image_to_evidence"),
        ({"classes": ("a", "b", "a")}, "two classes have the same name"),
        ({"classes": ("a", "b", "")}, "at least 1 character"),
        ({"class_probabilities": (0.5, 0.5)}, "2 class probabilities for 3 classes"),
        ({"class_probabilities": (0.5, 0.3, 0.3)}, "must sum to 1, not to 1.1"),
        ({"class_probabilities": (1.0, 0.0, 0.0)}, "greater than 0"),
    ],
)
def test_classes_that_make_no_sense_are_refused(
    labelled: dict[str, Any], changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Manifest.model_validate(labelled | changes)


def test_manifest_without_classes_still_loads(document: dict[str, Any]) -> None:
    older = {name: value for name, value in document.items() if not name.startswith("class")}
    assert Manifest.model_validate(older) == Manifest.model_validate(document)


def test_way_back_to_noise_needs_the_way_from_it(document: dict[str, Any]) -> None:
    found = _with_prior(document, selectors=1)
    for part in ("graphs", "golden"):
        found[part][-1]["role"] = "latent_to_noise"
    with pytest.raises(ValidationError, match="latent_to_noise is the inverse of noise_to_latent, which is missing"):
        Manifest.model_validate(found | {"latent": document["latent"]})


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


@pytest.mark.parametrize("role", ["image_to_evidence", "latent_to_evidence"])
def test_density_needs_its_likelihood_stated(document: dict[str, Any], role: str) -> None:
    graph = document["graphs"][0] | {"role": role}
    golden = document["golden"][0] | {"role": role}
    with pytest.raises(ValidationError, match=f"a model with {role} must state its likelihood"):
        Manifest.model_validate(document | {"likelihood": None, "graphs": [graph], "golden": [golden]})
