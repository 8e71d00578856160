"""Models without an encoder read pictures by search: encode, reconstruct and Points made from pictures."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.api.application import create_application
from app.errors import DeadlineExceeded
from app.images.png import encode_png
from app.manifest import GraphRole
from app.runtime.answers import Inferred
from app.runtime.batch import Tensors
from app.runtime.inverting import encoding_methods
from app.runtime.model import GenerativeModel
from app.settings import Settings
from tests.app.runtime.test_model import play
from tests.app.tiny_inverse import tiny_inverse
from tests.app.tiny_labelled import LabelledGaussian, tiny_labelled
from tests.app.tiny_models import (
    LinearGaussian,
    TinyModel,
    linear_gradient,
    tiny_vae,
    with_graph,
    without_graphs,
    write_tiny_models,
    write_version,
)

GAN = "/v1/models/tiny_inverse"
VAE = "/v1/models/tiny_vae"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("models")
    write_tiny_models(root)
    write_version(root, tiny_inverse())
    read = without_graphs(tiny_vae("tiny_read"), "latent_gradient", "image_to_evidence", "latent_to_pixel_evidence")
    write_version(root, replace(read, fields={**read.fields, "family": "gan", "likelihood": None}))
    labelled = without_graphs(tiny_labelled("tiny_searched"), "image_to_latent", "image_to_evidence")
    write_version(root, with_graph(labelled, "latent_gradient", linear_gradient(LabelledGaussian())))
    with TestClient(create_application(Settings(models_dir=root))) as found:
        yield found


def post(client: TestClient, address: str, body: dict[str, Any]) -> dict[str, Any]:
    response = client.post(address, json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def own_pictures(client: TestClient, count: int, seed: int = 11) -> list[str]:
    return [image["png"] for image in post(client, f"{GAN}/sample", {"count": count, "seed": seed})["images"]]


def test_generator_with_a_gradient_offers_to_encode(client: TestClient) -> None:
    offered = {name: client.get(f"/v1/models/{name}").json()["capabilities"] for name in ("tiny_inverse", "tiny_gan")}
    assert {"encode", "reconstruct"} <= set(offered["tiny_inverse"])
    assert not {"encode", "reconstruct"} & set(offered["tiny_gan"])


def test_own_samples_are_recovered(client: TestClient) -> None:
    found = post(client, f"{GAN}/reconstruct", {"images": own_pictures(client, 20)})
    assert found["method"] == "optimize"
    assert sorted(image["mse"] for image in found["images"])[18] <= 0.005  # 95 %


def test_encoder_of_a_gan_states_the_error_that_it_reached(client: TestClient) -> None:
    address, odd = "/v1/models/tiny_read", np.zeros((8, 8, 1), np.uint8)
    pictures = [base64.b64encode(encode_png(odd)).decode(), *own_grey(client, address)]
    again = [image["mse"] for image in post(client, f"{address}/reconstruct", {"images": pictures})["images"]]
    found = post(client, f"{address}/encode", {"images": pictures})
    assert found["method"] == "encoder"
    assert [latent["mse"] for latent in found["latents"]] == again
    points = [{"image": picture} for picture in pictures]
    walked = post(client, f"{address}/interpolate", {"points": points, "steps": 2})
    assert [said["mse"] for said in walked["encoded"]] == again
    assert again[0] > 0.1 > again[1]
    beside = post(client, f"{VAE}/encode", {"images": pictures[:1]})
    assert "mse" not in beside["latents"][0]


def own_grey(client: TestClient, address: str) -> list[str]:
    return [image["png"] for image in post(client, f"{address}/sample", {"count": 1, "seed": 3})["images"]]


def test_encode_states_method_and_error(client: TestClient) -> None:
    pictures = own_pictures(client, 3)
    found = post(client, f"{GAN}/encode", {"images": pictures})
    again = post(client, f"{GAN}/reconstruct", {"images": pictures})
    assert (found["method"], found["seed"]) == ("optimize", None)
    for latent, image in zip(found["latents"], again["images"], strict=True):
        assert (latent["scale"], latent["draws"]) == (None, [])
        assert latent["mean"] == image["latent"]
        assert latent["mse"] == pytest.approx(image["mse"], abs=2e-4)  # whose pixels are rounded to 8 bits


def test_latent_of_a_picture_is_the_same_in_any_company(client: TestClient) -> None:
    pictures = own_pictures(client, 5)
    together = post(client, f"{GAN}/encode", {"images": pictures})["latents"]
    assert post(client, f"{GAN}/encode", {"images": pictures[3:4]})["latents"] == together[3:4]


def test_search_on_an_encoder_s_model_is_least_squares(client: TestClient) -> None:
    picture = np.random.default_rng(5).integers(0, 256, (8, 8, 1), np.uint8)
    body = {"images": [base64.b64encode(encode_png(picture)).decode()]}
    searched = post(client, f"{VAE}/encode", body | {"method": "optimize"})
    expected = np.linalg.lstsq(LinearGaussian().weights, picture.reshape(64) / 255 - 0.5)[0]
    np.testing.assert_allclose(searched["latents"][0]["mean"], expected, atol=0.02)  # the prior pulls a little
    unasked, encoder = (post(client, f"{VAE}/encode{query}", body) for query in ("", "?method=encoder"))
    assert unasked == encoder
    assert unasked["method"] == "encoder"
    assert "mse" not in unasked["latents"][0]


def test_search_is_under_each_picture_s_own_label(client: TestClient) -> None:
    picture = np.random.default_rng(6).integers(0, 256, (8, 8, 1), np.uint8)
    body = {"images": [base64.b64encode(encode_png(picture)).decode()] * 2, "label": ["left", 0]}
    found = post(client, "/v1/models/tiny_searched/reconstruct", body)["images"]
    exact = LabelledGaussian()
    for image, offset in zip(found, exact.offsets[[1, 0]], strict=True):
        expected = np.linalg.lstsq(exact.weights, picture.reshape(64) / 255 - 0.5 - offset)[0]
        np.testing.assert_allclose(image["latent"], expected, atol=0.02)
    refused = client.post("/v1/models/tiny_searched/encode", json={"images": body["images"]})
    assert refused.json()["errors"][0]["pointer"] == "/label"
    point = {"image": body["images"][0], "label": 1}
    walk = {"points": [point, {"seed": 1}], "steps": 2, "label": 0}
    (first, _) = post(client, "/v1/models/tiny_searched/interpolate", walk)["images"]
    assert first["latent"] == found[0]["latent"]


def test_points_may_be_pictures(client: TestClient) -> None:
    first, second = ({"image": picture} for picture in own_pictures(client, 2))
    walk = post(client, f"{GAN}/interpolate", {"points": [first, {"seed": 3}, second], "steps": 2})
    latents = [
        latent["mean"] for latent in post(client, f"{GAN}/encode", {"images": own_pictures(client, 2)})["latents"]
    ]
    assert [walk["images"][0]["latent"], walk["images"][2]["latent"]] == latents
    assert [(said["pointer"], said["method"]) for said in walk["encoded"]] == [
        ("/points/0", "optimize"),
        ("/points/2", "optimize"),
    ]
    assert max(said["mse"] for said in walk["encoded"]) <= 0.005
    total = post(client, f"{GAN}/arithmetic", {"terms": [{"weight": 2, "point": first}]})
    np.testing.assert_allclose(total["images"][0]["latent"], 2 * np.array(latents[0]), rtol=1e-6)
    assert (
        post(client, f"{GAN}/traverse", {"point": second, "dimensions": [0], "steps": 2})["encoded"][0]["mse"] <= 0.005
    )
    assert "encoded" not in post(client, f"{GAN}/interpolate", {"points": [{"seed": 1}, {"seed": 2}], "steps": 2})


def test_each_picture_of_a_walk_may_have_a_method_of_its_own(client: TestClient) -> None:
    picture = post(client, f"{VAE}/sample", {"seed": 1})["images"][0]["png"]
    points = [{"image": picture, "method": method} for method in ("optimize", "encoder")]
    said = post(client, f"{VAE}/interpolate", {"points": points, "steps": 2})["encoded"]
    assert [(each["method"], each["mse"] is None) for each in said] == [("optimize", False), ("encoder", True)]


@pytest.mark.parametrize(
    ("operation", "body", "pointer"),
    [
        ("encode", {"images": [], "method": "encoder"}, "/method"),
        ("encode", {"images": [], "draws": 1}, "/draws"),
        ("reconstruct", {"images": [], "method": "encoder"}, "/method"),
        ("interpolate", {"points": [{"image": "", "method": "encoder"}, {"seed": 1}]}, "/points/0/method"),
    ],
)
def test_what_a_search_cannot_do_is_refused(
    client: TestClient, operation: str, body: dict[str, Any], pointer: str
) -> None:
    (picture,) = own_pictures(client, 1)
    body = {**body, "images": [picture]} if "images" in body else body
    for point in body.get("points", []):
        point.update({"image": picture} if "image" in point else {})
    response = client.post(f"{GAN}/{operation}", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer


def test_every_run_of_a_search_keeps_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(model: GenerativeModel) -> None:
        pictures, infer, asked = np.zeros((2, 8, 8, 3), np.uint8), model.infer, []

        async def last_moment(role: GraphRole, feeds: Tensors, *, deadline: float | None) -> Inferred:
            asked.append(deadline)
            return await infer(role, feeds, deadline=deadline if len(asked) < 7 else 0.0)

        monkeypatch.setattr(model, "infer", last_moment)
        with pytest.raises(DeadlineExceeded):
            await model.encode(pictures, deadline=(soon := time.monotonic() + 10))
        assert asked == [soon] * 7

    play(tmp_path, tiny_inverse(), scene)


@pytest.mark.parametrize(("tiny", "steps"), [(tiny_vae, 50), (tiny_inverse, 120)])
def test_search_without_an_encoder_s_help_goes_on_for_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[[], TinyModel], steps: int
) -> None:
    async def scene(model: GenerativeModel) -> None:
        space, infer, asked = model.manifest.image, model.infer, Counter[GraphRole]()

        async def counted(role: GraphRole, feeds: Tensors, *, deadline: float | None) -> Inferred:
            asked[role] += 1
            return await infer(role, feeds, deadline=deadline)

        monkeypatch.setattr(model, "infer", counted)
        await model.encode(np.zeros((1, space.height, space.width, space.channels), np.uint8), method="optimize")
        assert asked["latent_gradient"] == 1 + steps

    play(tmp_path, tiny(), scene)


def test_searches_at_once_find_what_each_finds_alone(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        pictures = (await model.sample(4, range(6))).images
        parts = await asyncio.gather(*(model.encode(pictures[i : i + 2]) for i in (0, 2, 4)))
        whole = await model.encode(pictures)
        np.testing.assert_array_equal(np.concatenate([part.mean for part in parts]), whole.mean)

    play(tmp_path, tiny_inverse(), scene)


def test_encoder_comes_first_where_there_are_both_ways(tmp_path: Path) -> None:
    async def scene(model: GenerativeModel) -> None:
        assert encoding_methods(model.manifest) == model.encoding_methods == ("encoder", "optimize")
        assert not model.takes_label("latent_gradient")

    play(tmp_path, tiny_vae(), scene)
