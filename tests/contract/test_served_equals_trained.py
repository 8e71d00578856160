"""What is served over HTTP is what PyTorch computes from the checkpoint."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from app.images.pixels import to_floats
from app.images.png import encode_png
from app.latent.noise import Stream, standard_normal
from tests.contract.conftest import Served
from tests.training.tiny_runs import publish
from training.data.datasets import DataSplits
from training.gan.model import GenerativeAdversarialNetwork
from training.vae.model import VariationalAutoencoder

Pictures = NDArray[np.uint8]


@pytest.mark.parametrize("name", ["tiny_vae", "tiny_gan"])
def test_decoded_pixels_are_pytorch_s(served: Served, name: str) -> None:
    run = served.run(name)
    latents = standard_normal(5, range(50), run.config.model.latent_size)
    answer = served.client.post(
        f"/v1/models/{name}/decode", json={"latents": latents.tolist()}, headers={"Accept": "application/x-npy"}
    )
    _same_pixels(np.load(io.BytesIO(answer.content)), _decoded(run.model, latents))


def test_graphs_whose_decoder_stands_once_are_served(served: Served) -> None:
    """What the other tests hold to PyTorch is read from a file that several graphs share, also by one opened late."""
    version = served.models_dir / "tiny_vae" / "1"
    manifest = served.client.get("/v1/models/tiny_vae").json()["manifest"]
    weights = (version / "weights.bin").read_bytes()
    assert manifest["weights"] == {"file": "weights.bin", "sha256": hashlib.sha256(weights).hexdigest()}
    vae = _vae(served)
    latents = torch.from_numpy(standard_normal(3, range(2), 3)).requires_grad_()
    cotangent = np.ones((2, *vae.decode(latents).shape[1:]), np.float32)
    vae.decode(latents).sum().backward()
    feeds = {"latent": latents.detach().numpy(), "cotangent": cotangent}
    inputs = [
        {"name": name, "shape": array.shape, "datatype": "FP32", "data": array.ravel().tolist()}
        for name, array in feeds.items()
    ]
    answer = served.client.post("/v2/models/tiny_vae.latent_gradient/infer", json={"inputs": inputs})
    assert latents.grad is not None
    np.testing.assert_allclose(answer.json()["outputs"][0]["data"], latents.grad.numpy().ravel(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["tiny_vae", "tiny_gan"])
def test_sample_is_the_noise_of_its_seed_decoded(served: Served, name: str) -> None:
    run = served.run(name)
    answer = served.post(f"{name}/sample", {"seed": 9, "count": 8})
    latents = standard_normal(9, range(8), run.config.model.latent_size)
    np.testing.assert_array_equal(np.array([image["latent"] for image in answer["images"]], np.float32), latents)
    alone = served.client.get(f"/v1/models/{name}/sample.png?seed=9&count=1")
    assert base64.b64decode(answer["images"][0]["png"]) == alone.content


@pytest.mark.parametrize("samples", [1, 5, 37, 64])
def test_score_is_that_of_the_checkpoint_given_the_same_noise(served: Served, digits: DataSplits, samples: int) -> None:
    vae, pictures = _vae(served), digits.test.pictures[:6]
    noise = standard_normal(11, range(6), samples * 3, stream=Stream.IMPORTANCE).reshape(6, samples, 3)
    with torch.no_grad():
        evidence = vae.evidence(_binary(pictures), torch.from_numpy(noise))
    log_weights = (evidence.log_likelihood + evidence.log_prior - evidence.log_posterior).double()
    tight = log_weights.logsumexp(dim=1) - math.log(samples)
    answer = served.post("tiny_vae/score", _pictures(pictures) | {"samples": samples, "seed": 11})
    for row, score in enumerate(answer["scores"]):
        assert _nats(score["elbo_nats"]) == float(log_weights[row].mean())
        assert _nats(score["importance_weighted_nats"]) == float(tight[row])
        assert _nats(score["reconstruction_nats"]) == float(evidence.log_likelihood[row].mean())
        assert _nats(score["log_prior_nats"]) == float(evidence.log_prior[row].mean())
        assert _nats(score["entropy_nats"]) == float(-evidence.log_posterior[row].mean())


def test_posterior_is_the_encoder_s_and_draws_use_the_seed(served: Served, digits: DataSplits) -> None:
    pictures = digits.test.pictures[:5]
    with torch.no_grad():
        posterior = _vae(served).posterior(_binary(pictures))
    mean, scale = posterior.mean, posterior.scale
    answer = served.post("tiny_vae/encode", _pictures(pictures) | {"draws": 4, "seed": 2})["latents"]
    noise = standard_normal(2, range(5), 4 * 3, stream=Stream.POSTERIOR).reshape(5, 4, 3)
    np.testing.assert_allclose([found["mean"] for found in answer], mean, atol=1e-5)
    np.testing.assert_allclose([found["scale"] for found in answer], scale, rtol=1e-5)
    draws = mean[:, None].numpy() + scale[:, None].numpy() * noise
    np.testing.assert_allclose([found["draws"] for found in answer], draws, atol=2e-5)


def test_reconstruction_is_the_posterior_mean_decoded(served: Served, digits: DataSplits) -> None:
    vae, pictures = _vae(served), digits.test.pictures[:5]
    with torch.no_grad():
        wanted = _decoded(vae, vae.posterior(_binary(pictures)).mean.numpy())
    errors = ((pictures.astype(float) - wanted) / 255) ** 2
    answer = served.post("tiny_vae/reconstruct", _pictures(pictures))["images"]
    np.testing.assert_allclose([image["mse"] for image in answer], errors.mean(axis=(1, 2, 3)), atol=1e-4)


def test_realism_is_the_discriminator_s_logit(served: Served, digits: DataSplits) -> None:
    run, pictures = served.run("tiny_gan"), digits.test.pictures[:7]
    assert isinstance(run.model, GenerativeAdversarialNetwork)
    with torch.no_grad():
        logits = run.model.discriminator(torch.from_numpy(to_floats(pictures, run.pixel_range)))
    answer = served.post("tiny_gan/realism", _pictures(pictures))["realism"]
    np.testing.assert_allclose([judgement["logit"] for judgement in answer], logits, atol=1e-4)


def test_sample_has_the_same_bytes_at_count_1_and_at_count_64(served: Served) -> None:
    for name in ("tiny_vae", "tiny_gan"):
        many = served.post(f"{name}/sample", {"seed": 3, "count": 64})["images"]
        few = served.post(f"{name}/sample", {"seed": 3, "count": 3})["images"]
        assert many[:3] == few
        assert served.post(f"{name}/sample", {"seed": 3})["images"] == many[:1]


def test_version_published_while_the_service_runs_is_served(served: Served) -> None:
    before = served.post("tiny_gan@1/sample", {"seed": 1})
    publish(served.runs / "tiny_gan", served.models_dir)
    until = time.monotonic() + 60
    while _versions(served, "tiny_gan") != [1, 2]:
        assert time.monotonic() < until, "the new version never appeared"
    newest, older = served.post("tiny_gan/sample", {"seed": 1}), served.post("tiny_gan@1/sample", {"seed": 1})
    assert (newest["version"], older) == (2, before)
    assert newest["images"][0]["latent"] == before["images"][0]["latent"]


def _versions(served: Served, name: str) -> list[int]:
    versions: list[int] = served.client.get(f"/v1/models/{name}").json()["versions"]
    return versions


def _vae(served: Served) -> VariationalAutoencoder:
    model = served.run("tiny_vae").model
    assert isinstance(model, VariationalAutoencoder)
    return model


def _decoded(model: torch.nn.Module, latents: NDArray[np.float32]) -> Pictures:
    """PyTorch's pictures, by the definition of the pixel range: [0, 1] for the VAE, [−1, 1] for the GAN."""
    latent = torch.from_numpy(latents)
    with torch.no_grad():
        unit = model.decode(latent) if isinstance(model, VariationalAutoencoder) else (model.generator(latent) + 1) / 2
    levels = (unit.permute(0, 2, 3, 1).double() * 255).round().clamp(0, 255)
    return levels.numpy().astype(np.uint8)


def _same_pixels(found: Pictures, wanted: Pictures) -> None:
    """Equal, but for a pixel in a thousand that rounds the other way."""
    difference = np.abs(found.astype(int) - wanted)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 1e-3


def _binary(pictures: Pictures) -> torch.Tensor:
    """How a model of binarised pictures reads an upload: white from the middle grey up."""
    return torch.from_numpy((pictures > 127).astype(np.float32)).permute(0, 3, 1, 2)


def _pictures(pictures: Pictures) -> dict[str, Any]:
    return {"images": [base64.b64encode(encode_png(picture)).decode() for picture in pictures]}


def _nats(value: float) -> object:
    return pytest.approx(value, abs=1e-3, rel=1e-6)
