"""`classify`: Bayes' rule against the closed form, a classifier against its logits, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from scipy.special import softmax

from app.api.application import create_application
from app.api.openapi import TINY_PNG
from app.settings import Settings
from tests.app.api.hostility import check_refusal
from tests.app.api.test_labels import EXACT, grey
from tests.app.tiny_labelled import CLASSES, PROBABILITIES, linear_classifier, tiny_labelled
from tests.app.tiny_models import with_graph, write_version

BOTH = "/v1/models/both/classify"


@pytest.fixture(scope="module")
def classifying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """`both` has a classifier beside its conditional density."""
    root = tmp_path_factory.mktemp("models")
    write_version(root, with_graph(tiny_labelled("both"), "image_to_class", linear_classifier()))
    with TestClient(create_application(Settings(models_dir=root))) as found:
        yield found


def classify(client: TestClient, address: str, **body: Any) -> dict[str, Any]:
    response = client.post(address, json={"images": [TINY_PNG]} | body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    assert found["classes"] == list(CLASSES)
    return found


def by_hand() -> np.ndarray[Any, Any]:
    """p(y|x) of the example picture."""
    joint = EXACT.log_conditional(grey(TINY_PNG)[None] / 255)[0] + np.log(PROBABILITIES)
    found: np.ndarray[Any, Any] = softmax(joint)
    return found


def test_density_classifies_by_bayes_rule(client: TestClient) -> None:
    answer = classify(client, "/v1/models/tiny_labelled/classify", samples=4, seed=3)
    assert (answer["method"], answer["samples"], answer["seed"]) == ("bayes", 4, 3)
    (found,) = answer["classifications"]
    np.testing.assert_allclose(found["probabilities"], by_hand(), atol=2e-3)
    assert found["label"] == int(by_hand().argmax())


def test_classifier_comes_before_bayes_rule(classifying: TestClient) -> None:
    answer = classify(classifying, BOTH)
    assert (answer["method"], answer["samples"], answer["seed"]) == ("classifier", None, None)
    weights = np.random.default_rng(0).standard_normal((64, 3)) / 4
    wanted = softmax(grey(TINY_PNG) / 255 @ weights)
    (found,) = answer["classifications"]
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-5)
    assert found["label"] == int(wanted.argmax())
    (other,) = classify(classifying, BOTH, method="bayes", seed=1)["classifications"]
    np.testing.assert_allclose(other["probabilities"], by_hand(), atol=2e-3)


def test_seed_of_a_classification_is_drawn_and_gives_the_same_again(client: TestClient) -> None:
    address = "/v1/models/tiny_labelled/classify"
    first = classify(client, address, samples=2)
    assert classify(client, address, samples=2, seed=first["seed"]) == first


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"method": "classifier"}, "/method"),
        ({"method": "guess"}, "/method"),
        ({"samples": 0}, "/samples"),
        ({"samples": 1366}, "/samples"),
        ({"label": 0}, "/label"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_what_cannot_be_classified_by_is_refused(client: TestClient, body: dict[str, Any], pointer: str) -> None:
    response = client.post("/v1/models/tiny_labelled/classify", json={"images": [TINY_PNG]} | body)
    assert check_refusal(response, 422)["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("model", ["tiny_vae", "tiny_gan"])
def test_model_without_classes_does_not_classify(client: TestClient, model: str) -> None:
    response = client.post(f"/v1/models/{model}/classify", json={"images": [TINY_PNG]})
    assert "classify" not in check_refusal(response, 409)["capabilities"]
