"""An autoencoder over HTTP: what it can do without a prior, and what a density that was fitted afterwards adds."""

from __future__ import annotations

import base64
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from app.api.application import create_application
from app.images.pixels import to_bytes, to_floats
from app.images.png import encode_png
from app.latent.noise import standard_normal
from app.manifest import PixelRange
from app.settings import Settings
from tests.contract.calls import post
from tests.training.tiny_runs import TINY_AUTOENCODER, publish, train
from training.__main__ import main
from training.autoencoder.model import Autoencoder
from training.export.trained import TrainedRun

BARE, FITTED = "tiny_autoencoder@1", "tiny_autoencoder@2"
SIZE, ACTIVE, COMPONENTS = 7, 3, 4
UNIT = PixelRange(low=0.0, high=1.0)


@dataclass(frozen=True)
class Served:
    """Both versions, and the trained model with its density."""

    client: TestClient
    models_dir: Path
    run: Path
    model: Autoencoder

    def post(self, address: str, body: dict[str, Any], *, status: int = 200) -> dict[str, Any]:
        """The JSON answer of a call under /v1/models."""
        return post(self.client, address, body, status=status)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`tiny_autoencoder`, sparse and denoising: version 1 without a density, version 2 with one."""
    folder = tmp_path_factory.mktemp("autoencoder")
    run, models_dir = train(folder, TINY_AUTOENCODER), folder / "models"
    publish(run, models_dir)
    assert main(["fit-density", str(run), "--components", str(COMPONENTS), "--threads", "1"]) == 0
    assert main(["publish", str(run), "--models-dir", str(models_dir), "--threads", "1"]) == 0
    model = TrainedRun.load(run).model
    assert isinstance(model, Autoencoder)
    with TestClient(create_application(Settings(models_dir=models_dir))) as client:
        yield Served(client, models_dir, run, model.requires_grad_(False))


def test_capabilities_follow_from_graphs_and_prior(served: Served) -> None:
    both = ["decode", "encode", "reconstruct", "interpolate", "arithmetic", "traverse"]
    bare, fitted = (served.client.get(f"/v1/models/{ref}").json() for ref in (BARE, FITTED))
    assert (bare["family"], bare["latent"]["prior"], bare["capabilities"]) == ("autoencoder", "none", both)
    assert (fitted["latent"]["prior"], fitted["capabilities"]) == ("mixture", ["sample", *both])


def test_encode_answers_the_code_and_no_scale(served: Served) -> None:
    picture, image = _picture()
    latent = served.post(f"{BARE}/encode", {"images": [picture], "draws": 2, "seed": 1})["latents"][0]
    np.testing.assert_allclose(latent["mean"], served.model.encode(image)[0], rtol=1e-4, atol=1e-5)
    assert np.count_nonzero(latent["mean"]) == ACTIVE
    assert latent["scale"] is None
    assert latent["draws"] == [latent["mean"]] * 2  # nothing is left to chance


def test_decode_and_reconstruct_are_those_of_the_checkpoint(served: Served) -> None:
    picture, image = _picture()
    code = served.model.encode(image)
    wanted = to_bytes(served.model.decode(code).numpy(), UNIT)
    decoded = served.client.post(f"/v1/models/{BARE}/decode?format=npy", json={"latents": code.tolist()})
    assert decoded.content[-wanted.nbytes :] == wanted.tobytes()
    again = served.post(f"{BARE}/reconstruct", {"images": [picture]})["images"][0]
    assert again["mse"] == pytest.approx(float(((wanted / 255 - image.numpy().transpose(0, 2, 3, 1)) ** 2).mean()))


def test_walks_between_pictures_are_straight_where_there_is_no_prior(served: Served) -> None:
    first, second = _picture(0), _picture(1)
    body = {"points": [{"image": first[0]}, {"image": second[0]}], "steps": 5}
    answer = served.post(f"{BARE}/interpolate", body)
    ends = [served.model.encode(image)[0].numpy() for _, image in (first, second)]
    middle = [frame["latent"] for frame in answer["images"]][2]
    assert answer["path"] == "linear"
    np.testing.assert_allclose(middle, (ends[0] + ends[1]) / 2, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("sample", {}),
        ("interpolate", {"points": [{"seed": 1}, {"seed": 2}], "steps": 3}),
        ("arithmetic", {"terms": [{"weight": 1.0, "point": {"mean": [{"seed": 1}, {"latent": [0.0] * SIZE}]}}]}),
    ],
)
def test_what_needs_a_prior_is_refused_with_the_reason(served: Served, operation: str, body: dict[str, Any]) -> None:
    problem = served.post(f"{BARE}/{operation}", body, status=409)
    assert problem["code"] == "capability-not-offered"
    assert (
        "an autoencoder is not yet a generative model, nothing says how its codes are distributed" in problem["detail"]
    )
    assert "python -m training fit-density" in problem["detail"]
    assert "sample" not in problem["capabilities"]


def test_scoring_is_refused_without_a_word_about_priors(served: Served) -> None:
    problem = served.post(f"{FITTED}/score", {"images": [_picture()[0]]}, status=409)
    assert "does not offer score; it offers sample, decode" in problem["detail"]


def test_samples_are_what_the_density_makes_of_the_noise_and_as_sparse_as_codes(served: Served) -> None:
    found = served.post(f"{FITTED}/sample", {"seed": 4, "count": 30})["images"]
    noise = torch.from_numpy(standard_normal(4, range(30), 1 + SIZE))
    latents = np.array([image["latent"] for image in found])
    np.testing.assert_allclose(latents, served.model.from_noise(noise), rtol=1e-4, atol=1e-4)
    assert np.count_nonzero(latents, axis=1).tolist() == [ACTIVE] * 30


def test_sample_is_the_same_alone_and_in_company(served: Served) -> None:
    together = served.post(f"{FITTED}/sample", {"seed": 9, "count": 40})["images"][31]
    alone = served.client.get(f"/v1/models/{FITTED}/sample.png", params={"seed": 9, "index": 31}).content
    assert alone == base64.b64decode(together["png"])


def test_versions_hold_pictures_of_the_latent_space_and_the_fit(served: Served) -> None:
    for ref in (BARE, FITTED):
        folder = served.models_dir / "tiny_autoencoder" / ref[-1]
        card = (folder / "card.md").read_text(encoding="utf-8")
        for name in ("latent_map.png", "aggregate_posterior.png"):
            assert f"({name})" in card
            assert 0 < (folder / name).stat().st_size < 60_000
    fit = tomllib.loads((folder / "density.toml").read_text(encoding="utf-8"))
    assert (fit["density"]["kind"], fit["density"]["components"]) == ("mixture", COMPONENTS)
    assert "fitted to its codes afterwards" in card
    assert not (served.models_dir / "tiny_autoencoder" / "1" / "density.toml").exists()


def test_what_is_measured_is_reconstruction_sparsity_and_denoising(served: Served) -> None:
    metrics = served.client.get(f"/v1/models/{BARE}").json()["metrics"]
    assert metrics.keys() == {"reconstruction_mse", "active_code_numbers", "denoising_mse"}
    assert (metrics["active_code_numbers"]["value"], metrics["active_code_numbers"]["unit"]) == (
        ACTIVE,
        "not zero of 7",
    )
    assert metrics["denoising_mse"]["value"] > metrics["reconstruction_mse"]["value"] > 0


def test_another_training_in_the_same_folder_forgets_the_density(served: Served, tmp_path: Path) -> None:
    run = train(tmp_path, TINY_AUTOENCODER)
    (run / "density.pt").write_bytes((served.run / "density.pt").read_bytes())
    (run / "checkpoint.pt").unlink()
    assert not (train(tmp_path, TINY_AUTOENCODER) / "density.pt").exists()


def _picture(seed: int = 0) -> tuple[str, torch.Tensor]:
    """Grey noise as base64 PNG, and as the model reads it."""
    grey = np.random.default_rng(seed).integers(0, 256, (8, 8, 1), np.uint8)
    return base64.b64encode(encode_png(grey)).decode(), torch.from_numpy(to_floats(grey[None], UNIT))
