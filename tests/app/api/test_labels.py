"""Labels over HTTP: where they are needed, what they do, and what is refused, against the model's closed form."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from app.api.application import create_application
from app.api.openapi import TINY_PNG
from app.latent.noise import draw_labels, standard_normal
from app.settings import Settings
from tests.app.api.hostility import NPY, check_refusal, npy
from tests.app.tiny_labelled import CLASSES, PROBABILITIES, LabelledGaussian, tiny_labelled
from tests.app.tiny_models import LinearGaussian, linear_decoder, linear_encoder, with_graph, write_version

MODEL = "/v1/models/tiny_labelled"
EXACT = LabelledGaussian()


def ask(client: TestClient, operation: str, **body: Any) -> dict[str, Any]:
    response = client.post(f"{MODEL}/{operation}", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def grey(text: str) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image).reshape(64)


def drawn(latents: Any, labels: Any) -> np.ndarray[Any, Any]:
    """The pictures (N, 64) that the model means: W z + ½ + U_y in 8 bits."""
    means = np.asarray(latents, np.float64) @ EXACT.weights.T + 0.5 + EXACT.offsets[labels]
    return np.floor(np.clip(means, 0, 1) * 255 + 0.5).astype(np.uint8)


def texts(images: np.ndarray[Any, Any]) -> list[str]:
    """Flat greys as PNG files in base64."""
    found = []
    for image in images.astype(np.uint8).reshape(-1, 8, 8):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        found.append(base64.b64encode(file.getvalue()).decode())
    return found


def test_model_states_its_classes(client: TestClient) -> None:
    listed = {model["name"]: model for model in client.get("/v1/models").json()["models"]}
    assert listed["tiny_labelled"]["classes"] == list(CLASSES)
    assert "classify" in listed["tiny_labelled"]["capabilities"]
    assert listed["tiny_vae"]["classes"] is None


@pytest.mark.parametrize(
    ("label", "indices"),
    [(1, [1] * 3), ("left", [1] * 3), ("1", [2] * 3), ("0", [0] * 3), ([2, "plain", "1"], [2, 0, 2]), ([1], [1] * 3)],
)
def test_sample_is_the_latent_of_the_seed_as_the_class(client: TestClient, label: Any, indices: list[int]) -> None:
    images = ask(client, "sample", seed=5, count=3, label=label)["images"]
    assert [image["label"] for image in images] == indices
    latents = standard_normal(5, range(3), 2)
    found = np.array([grey(image["png"]) for image in images], int)
    assert np.abs(found - drawn(latents, indices)).max() <= 1


def test_labels_are_drawn_from_the_seed_by_p_of_y(client: TestClient) -> None:
    images = ask(client, "sample", seed=5, count=200)["images"]
    counts = np.bincount([image["label"] for image in images], minlength=3)
    # χ² with two degrees of freedom: above 13.8 once in a thousand seeds
    expected = 200 * np.array(PROBABILITIES)
    assert ((counts - expected) ** 2 / expected).sum() < 13.8
    for count in (1, 7):
        assert ask(client, "sample", seed=5, count=count)["images"] == images[:count]


def test_drawn_label_and_the_same_label_asked_for_give_the_same_bytes(client: TestClient) -> None:
    (image,) = ask(client, "sample", seed=5)["images"]
    assert ask(client, "sample", seed=5, label=image["label"])["images"] == [image]
    address = client.get(f"{MODEL}/sample.png?seed=5")
    assert address.content == base64.b64decode(image["png"])
    named = client.get(f"{MODEL}/sample.png", params={"seed": 5, "label": CLASSES[image["label"]]})
    assert named.content == address.content


def test_address_takes_a_label_for_each_image(client: TestClient) -> None:
    sheet = client.get(f"{MODEL}/sample.png?seed=5&count=2&label=left,plain&columns=2")
    images = ask(client, "sample", seed=5, count=2, label=["left", "plain"])["images"]
    with Image.open(io.BytesIO(sheet.content)) as picture:
        both = np.asarray(picture)
    np.testing.assert_array_equal(both, np.hstack([grey(image["png"]).reshape(8, 8) for image in images]))


@pytest.mark.parametrize("form", ["json", "npy", "raw"])
def test_decode_takes_labels_with_any_latents(client: TestClient, form: str) -> None:
    latents, labels = np.array([[0.5, -1], [1, 0]], np.float32), [0, 2]
    match form:
        case "json":
            response = client.post(f"{MODEL}/decode?format=npy", json={"latents": latents.tolist(), "label": labels})
        case "npy":
            address = f"{MODEL}/decode?format=npy&label=plain,1"
            response = client.post(address, content=npy(latents), headers=NPY)
        case _:
            raw = {"Content-Type": "application/octet-stream"}
            response = client.post(f"{MODEL}/decode?format=npy&label=0,2", content=latents.tobytes(), headers=raw)
    found = np.load(io.BytesIO(response.content)).reshape(2, 64).astype(int)
    assert np.abs(found - drawn(latents, labels)).max() <= 1


@pytest.mark.parametrize("form", ["json", "png", "form", "npy"])
def test_encode_is_the_exact_posterior_under_the_label(client: TestClient, form: str) -> None:
    png = base64.b64decode(TINY_PNG)
    match form:
        case "json":
            answer = client.post(f"{MODEL}/encode", json={"images": [TINY_PNG], "label": "left"})
        case "png":
            answer = client.post(f"{MODEL}/encode?label=left", content=png, headers={"Content-Type": "image/png"})
        case "form":
            answer = client.post(f"{MODEL}/encode", files={"image": ("a.png", png)}, data={"label": "left"})
        case _:
            array = npy(grey(TINY_PNG).reshape(1, 8, 8))
            answer = client.post(f"{MODEL}/encode?label=left", content=array, headers=NPY)
    (found,) = answer.json()["latents"]
    wanted = EXACT.posterior_mean(grey(TINY_PNG) / 255 - EXACT.offsets[1])
    np.testing.assert_allclose(found["mean"], wanted, atol=1e-5)
    assert found["label"] == 1


def test_draws_of_each_picture_are_under_its_own_label(client: TestClient) -> None:
    both = ask(client, "encode", images=[TINY_PNG, TINY_PNG], label=[0, 1], draws=2, seed=3)["latents"]
    shift = np.array(both[1]["mean"]) - np.array(both[0]["mean"])
    alone = ask(client, "encode", images=[TINY_PNG], label=0, draws=2, seed=3)["latents"]
    assert alone == both[:1]
    noise = [(np.array(row["draws"]) - row["mean"]) / row["scale"] for row in both]
    assert np.abs(shift).max() > 0.1
    assert not np.allclose(noise[0], noise[1], atol=0.1)


def test_reconstruction_is_encoded_and_decoded_as_its_label(client: TestClient) -> None:
    (image,) = ask(client, "reconstruct", images=[TINY_PNG], label=2)["images"]
    latent = EXACT.posterior_mean(grey(TINY_PNG) / 255 - EXACT.offsets[2])
    np.testing.assert_allclose(image["latent"], latent, atol=1e-5)
    assert np.abs(grey(image["png"]).astype(int) - drawn(latent[None], [2])[0]).max() <= 1
    assert image["label"] == 2


def test_every_frame_of_a_walk_is_of_the_one_label(client: TestClient) -> None:
    frames = ask(client, "interpolate", points=[{"seed": 1}, {"seed": 2}], steps=4, label="left")["images"]
    assert [frame["label"] for frame in frames] == [1] * 4
    found = np.array([grey(frame["png"]) for frame in frames], int)
    assert np.abs(found - drawn([frame["latent"] for frame in frames], [1] * 4)).max() <= 1


def test_picture_of_one_class_is_made_again_as_another(client: TestClient) -> None:
    point = {"image": TINY_PNG, "label": "left"}
    (image,) = ask(client, "arithmetic", terms=[{"point": point}], label=0)["images"]
    latent = EXACT.posterior_mean(grey(TINY_PNG) / 255 - EXACT.offsets[1])
    np.testing.assert_allclose(image["latent"], latent, atol=1e-5)
    assert np.abs(grey(image["png"]).astype(int) - drawn(latent[None], [0])[0]).max() <= 1


def test_score_under_a_label_is_log_p_of_x_given_y(client: TestClient) -> None:
    scores = ask(client, "score", images=[TINY_PNG] * 3, label=[0, 1, 2], samples=8, seed=1)["scores"]
    exact = EXACT.log_conditional(grey(TINY_PNG)[None] / 255)[0]
    np.testing.assert_allclose([score["importance_weighted_nats"] for score in scores], exact, atol=2e-3)
    assert [score["label"] for score in scores] == [0, 1, 2]


def test_score_under_every_label_gives_joint_marginal_and_posterior(client: TestClient) -> None:
    images = np.clip(255 * (0.5 + EXACT.offsets), 0, 255).astype(np.uint8)
    scores = ask(client, "score", images=texts(images), every_label=True, samples=4, seed=1)["scores"]
    joint = EXACT.log_conditional(images / 255) + np.log(PROBABILITIES)
    marginal = np.logaddexp.reduce(joint, axis=1)
    for row, score in enumerate(scores):
        found = score["joint"]
        np.testing.assert_allclose(found["log_joint_nats"], joint[row], atol=2e-3)
        assert found["log_marginal_nats"] == pytest.approx(marginal[row], abs=2e-3)
        np.testing.assert_allclose(found["probabilities"], np.exp(joint[row] - marginal[row]), atol=2e-3)
        assert found["standard_error_nats"] == pytest.approx(0, abs=1e-3)
        assert score["label"] == int(joint[row].argmax())
        assert score["importance_weighted_nats"] == found["log_conditional_nats"][score["label"]]


def test_every_label_takes_the_draws_of_each_label_alone(client: TestClient) -> None:
    (every,) = ask(client, "score", images=[TINY_PNG], every_label=True, samples=4, seed=9)["scores"]
    alone = ask(client, "score", images=[TINY_PNG], label=every["label"], samples=4, seed=9)["scores"][0]
    assert {name: value for name, value in every.items() if name != "joint"} == alone


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("decode", {"latents": [[0, 0]]}),
        ("encode", {"images": [TINY_PNG]}),
        ("reconstruct", {"images": [TINY_PNG]}),
        ("score", {"images": [TINY_PNG]}),
        ("interpolate", {"points": [{"seed": 1}, {"seed": 2}]}),
        ("traverse", {"point": {"seed": 1}, "dimensions": [0]}),
        ("arithmetic", {"terms": [{"point": {"seed": 1}}]}),
    ],
)
def test_label_is_required_where_it_matters_and_refused_where_it_does_not(
    client: TestClient, operation: str, body: dict[str, Any]
) -> None:
    missing = check_refusal(client.post(f"{MODEL}/{operation}", json=body), 422)
    assert missing["errors"][0]["pointer"] == "/label"
    assert all(name in missing["detail"] for name in CLASSES)
    needless = check_refusal(client.post(f"/v1/models/tiny_vae/{operation}", json=body | {"label": 0}), 422)
    assert "takes no label" in needless["detail"]
    assert client.post(f"{MODEL}/{operation}", json=body | {"label": 0}).status_code == 200


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("decode", {"latents": [[1, 0], [0, 1]]}),
        ("encode", {"images": [TINY_PNG] * 2}),
        ("reconstruct", {"images": [TINY_PNG] * 2}),
    ],
)
def test_label_changes_nothing_where_only_other_graphs_of_a_model_take_one(
    tmp_path: Path, operation: str, body: dict[str, Any]
) -> None:
    exact = LinearGaussian()
    model = with_graph(tiny_labelled("tiny_told"), "latent_to_image", linear_decoder(exact))
    write_version(tmp_path, with_graph(model, "image_to_latent", linear_encoder(exact)))
    with TestClient(create_application(Settings(models_dir=tmp_path))) as client:
        without, told, wrong = (
            client.post(f"/v1/models/tiny_told/{operation}", json=body | label)
            for label in ({}, {"label": ["left", 2]}, {"label": "up"})
        )
    assert told.status_code == 200, told.text
    assert told.json() == without.json()
    assert check_refusal(wrong, 422)["errors"][0]["pointer"] == "/label"


@pytest.mark.parametrize(
    "label",
    [3, -1, 2**70, "up", "", "-1", "3", "x" * 1000, " left", [0, 1], [0, 1, 2, 0], [0, 7, 0], [], [[0]], {}, True, 1.0],
)
def test_what_is_no_label_is_refused(client: TestClient, label: Any) -> None:
    body = check_refusal(client.post(f"{MODEL}/sample", json={"count": 3, "label": label}), 422)
    assert body["errors"][0]["pointer"].startswith("/label")


def test_label_in_two_places_is_refused(client: TestClient) -> None:
    response = client.post(f"{MODEL}/encode?label=0", json={"images": [TINY_PNG], "label": 0})
    assert "both" in check_refusal(response, 422)["detail"]


@pytest.mark.parametrize(
    ("model", "body", "pointer"),
    [
        ("tiny_vae", {"every_label": True}, "/every_label"),
        ("tiny_labelled", {"every_label": True, "label": 0}, "/every_label"),
        ("tiny_labelled", {"every_label": True, "samples": 1366}, "/samples"),
    ],
)
def test_every_label_is_refused_where_it_means_nothing(
    client: TestClient, model: str, body: dict[str, Any], pointer: str
) -> None:
    response = client.post(f"/v1/models/{model}/score", json={"images": [TINY_PNG]} | body)
    assert check_refusal(response, 422)["errors"][0]["pointer"] == pointer


def test_receipt_without_its_label_is_refused(client: TestClient) -> None:
    graph = client.get(MODEL).json()["manifest"]["graphs"][0]["sha256"]
    sampled = client.get(f"{MODEL}/sample.png?seed=5").content
    assert client.post("/v1/replay", content=sampled, headers={"Content-Type": "image/png"}).content == sampled
    with Image.open(io.BytesIO(sampled)) as image:
        said = image.text["latentserve"]  # type: ignore[attr-defined]
    label = int(draw_labels(5, [0], PROBABILITIES)[0])
    assert f'"label":{label}' in said
    assert graph in said
    forged = said.replace(f',"label":{label}', "")
    response = client.post("/v1/replay", content=forged, headers={"Content-Type": "application/json"})
    assert check_refusal(response, 422)["errors"][0]["pointer"] == "/label"


def test_graphs_take_labels_as_integers(client: TestClient) -> None:
    address = "/v2/models/tiny_labelled.latent_to_image"
    assert {"name": "label", "datatype": "INT64", "shape": [-1]} in client.get(address).json()["inputs"]
    latent = {"name": "latent", "datatype": "FP32", "shape": [2, 2], "data": [0.5, -1, 1, 0]}
    label = {"name": "label", "datatype": "INT64", "shape": [2], "data": [0, 2]}
    answer = client.post(f"{address}/infer", json={"inputs": [latent, label]}).json()
    means = np.array([[0.5, -1], [1, 0]]) @ EXACT.weights.T + 0.5 + EXACT.offsets[[0, 2]]
    np.testing.assert_allclose(np.reshape(answer["outputs"][0]["data"], (2, 64)), means, atol=1e-5)
    for wrong in ([0, 3], [-1, 0]):
        response = client.post(f"{address}/infer", json={"inputs": [latent, label | {"data": wrong}]})
        assert response.status_code == 400
        assert "from 0 to 2" in response.json()["error"]


@pytest.mark.parametrize(("prompt", "indices"), [("left", [1, 1]), ("0", [0, 0]), ("", None)])
def test_prompt_of_the_openai_dialect_is_a_class(client: TestClient, prompt: str, indices: Any) -> None:
    wish = {"model": "tiny_labelled", "prompt": prompt, "n": 2, "seed": 4}
    answer = client.post("/v1/images/generations", json=wish).json()
    wanted = ask(client, "sample", seed=4, count=2, label=indices)["images"]
    assert [image["b64_json"] for image in answer["data"]] == [image["png"] for image in wanted]
    assert "prompt" in answer["warning"]
    addresses = client.post("/v1/images/generations", json=wish | {"response_format": "url"}).json()["data"]
    found = [base64.b64encode(client.get(image["url"]).content).decode() for image in addresses]
    assert found == [image["png"] for image in wanted]


def test_prompt_that_is_no_class_is_refused(client: TestClient) -> None:
    response = client.post("/v1/images/generations", json={"model": "tiny_labelled", "prompt": "a cat"})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "prompt"
    assert "plain, left, 1" in response.json()["error"]["message"]
