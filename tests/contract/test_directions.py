"""Directions from publication to answers: what is added over HTTP is what linear algebra on the checkpoint gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.contract.conftest import Served
from training.data.datasets import DataSplits
from training.export.graphs import ready
from training.gan.model import GenerativeAdversarialNetwork
from training.vae.model import VariationalAutoencoder

CLASSES = [f"class={digit}" for digit in range(10)]


def listed(served: Served, name: str) -> dict[str, dict[str, Any]]:
    described = served.client.get(f"/v1/models/{name}").json()
    return {direction["name"]: direction for direction in described["directions"]}


def step(served: Served, name: str, direction: str) -> NDArray[np.float64]:
    answer = served.post(f"{name}/arithmetic", {"terms": [{"point": {"direction": direction}}]})
    return np.array(answer["images"][0]["latent"])


def right_singular_vectors(weight: torch.Tensor) -> NDArray[np.float64]:
    return np.linalg.svd(weight.detach().double().numpy())[2]


def test_supervised_directions_are_differences_of_mean_codes(served: Served, digits: DataSplits) -> None:
    vae = served.run("tiny_vae").model
    assert isinstance(vae, VariationalAutoencoder)
    binary = torch.from_numpy((digits.train.pictures > 127).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        codes = vae.posterior(binary).draw(torch.zeros(len(binary), 1, 3))[0][:, 0].double().numpy()
    known = listed(served, "tiny_vae")
    assert [name for name in known if known[name]["kind"] == "supervised"] == CLASSES
    for digit in (0, 7):
        has = digits.train.labels == digit
        wanted = codes[has].mean(axis=0) - codes[~has].mean(axis=0)
        np.testing.assert_allclose(step(served, "tiny_vae", f"class={digit}"), wanted, atol=2e-3)


def test_every_direction_states_its_effect_and_leakage(served: Served) -> None:
    for direction in listed(served, "tiny_vae").values():
        assert direction["attribute"] in CLASSES
        assert direction["leaks_into"] != direction["attribute"]
        assert direction["effect_standard_error"] >= 0
        assert "standard deviations" in direction["unit"]


@pytest.mark.parametrize("name", ["tiny_vae", "tiny_gan"])
def test_factors_are_those_of_the_first_layer(served: Served, name: str) -> None:
    model = served.run(name).model
    assert isinstance(model, VariationalAutoencoder | GenerativeAdversarialNetwork)
    exported = ready(model)  # with batch norm folded into the layer before it
    net = exported.generator if isinstance(exported, GenerativeAdversarialNetwork) else exported.decoder
    weight = next(net.parameters())
    for number, axis in enumerate(right_singular_vectors(weight)[:3], start=1):
        found = step(served, name, f"sefa-{number}")
        assert abs(found @ axis) / np.linalg.norm(found) == pytest.approx(1, abs=1e-5)


def test_generator_without_an_encoder_has_directions_of_what_its_samples_show(served: Served) -> None:
    known = listed(served, "tiny_gan")
    assert {direction["kind"] for direction in known.values()} >= {"principal_component", "factorised"}
    assert all(np.linalg.norm(step(served, "tiny_gan", name)) > 0 for name in known)


def test_direction_moves_a_place_by_its_weight(served: Served) -> None:
    terms = [{"point": {"seed": 4}}, {"weight": 1.5, "point": {"direction": "class=3"}}]
    (moved,) = served.post("tiny_vae/arithmetic", {"terms": terms})["images"]
    (start,) = served.post("tiny_vae/sample", {"seed": 4})["images"]
    change = np.array(moved["latent"]) - np.array(start["latent"])
    np.testing.assert_allclose(change, 1.5 * step(served, "tiny_vae", "class=3"), atol=1e-5)
