"""Exported graphs against PyTorch, at sizes that the exporter never saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.testing import assert_close

from app.runtime.session import GraphSession
from training.config import RunConfig, VaeConfig
from training.export.graphs import Graph, TrainedModel, graphs_of
from training.export.parity import check_parity
from training.export.storage import round_weights
from training.export.to_onnx import write_graph
from training.gan.joint_encoder import JointEncoder
from training.gan.model import GenerativeAdversarialNetwork
from training.probability.posterior import GaussianPosterior
from training.probability.prior import MixturePrior, Prior
from training.vae.hierarchical import make_vae
from training.vae.model import VariationalAutoencoder

CLASSES = 3
VAE_ROLES = ["latent_to_image", "image_to_latent", "image_to_evidence"]
GAN_ROLES = ["latent_to_image", "image_to_realism"]
CONVOLUTIONAL: dict[str, Any] = {"family": "vae", "latent_size": 4, "channels": [4, 6], "likelihood": "bernoulli"}
BATCH_NORM: dict[str, Any] = {"family": "gan", "latent_size": 5, "generator_channels": 4, "discriminator_channels": 4}
SPECTRAL_NORM = BATCH_NORM | {"spectral_norm": True, "discriminator_batch_norm": False, "generator_batch_norm": False}


SAMPLED = CONVOLUTIONAL | {"objective": {"kl": "sampled"}}
FLOW = SAMPLED | {
    "prior": {"kind": "flow", "couplings": 2, "hidden": 8},
    "posterior": {"kind": "full_covariance"},
}
VAMP = SAMPLED | {"prior": {"kind": "vamp", "components": 5}}
MIXTURE = SAMPLED | {
    "prior": {"kind": "mixture", "components": 5},
    "posterior": {"kind": "flow", "couplings": 2, "hidden": 8},
}
CONDITIONAL = SAMPLED | {"conditional": True, "prior": {"kind": "flow", "couplings": 2, "hidden": 8}}
LADDER = SAMPLED | {
    "nets": "ladder",
    "latent_size": 24,
    "ladder": {"layers": [1, 1], "latent_channels": [1, 2]},
    "prior": {"kind": "flow", "couplings": 2, "hidden": 8},
}
DENSE_GAN = SPECTRAL_NORM | {"nets": "dense", "hidden": [10, 8]}
BIGAN = SPECTRAL_NORM | {"inference": {"kind": "bidirectional"}}
AAE = DENSE_GAN | {
    "inference": {"kind": "adversarial_autoencoder", "posterior": "diagonal", "reconstruction_weight": 1.0}
}
PRIOR_ROLES = ["noise_to_latent", "latent_to_prior", "image_to_latent", "image_to_evidence"]
PIXELS = "latent_to_pixel_evidence"


@pytest.mark.parametrize(
    ("model", "size", "channels", "roles"),
    [
        (CONVOLUTIONAL, 8, 1, [*VAE_ROLES, PIXELS]),
        (CONVOLUTIONAL, 28, 1, VAE_ROLES[:1]),
        (CONVOLUTIONAL | {"likelihood": "gaussian"}, 32, 3, [*VAE_ROLES[2:], PIXELS]),
        (CONVOLUTIONAL | {"likelihood": "continuous_bernoulli"}, 8, 3, VAE_ROLES[::2]),
        (CONVOLUTIONAL | {"likelihood": "logistic_mixture"}, 8, 3, [*VAE_ROLES[::2], PIXELS]),
        (CONVOLUTIONAL | {"likelihood": "categorical"}, 8, 1, VAE_ROLES[::2]),
        (FLOW, 8, 1, [*PRIOR_ROLES, "latent_to_noise"]),
        (VAMP, 8, 1, PRIOR_ROLES[:2] + PRIOR_ROLES[3:]),
        (MIXTURE, 8, 1, PRIOR_ROLES),
        (CONDITIONAL, 8, 1, ["noise_to_latent", *VAE_ROLES, PIXELS]),
        (CONDITIONAL | {"nets": "dense"}, 8, 3, VAE_ROLES),
        (LADDER, 8, 1, [*PRIOR_ROLES, "latent_to_image", PIXELS]),
        (BATCH_NORM, 28, 1, GAN_ROLES),
        (SPECTRAL_NORM, 32, 3, GAN_ROLES),
        (SPECTRAL_NORM | {"condition": "projection"}, 8, 1, GAN_ROLES),
        (BATCH_NORM | {"condition": "auxiliary"}, 8, 1, [*GAN_ROLES, "image_to_class"]),
        (DENSE_GAN | {"condition": "concatenation"}, 8, 3, GAN_ROLES),
        (DENSE_GAN | {"condition": "coupled"}, 8, 3, GAN_ROLES),
        (BIGAN, 28, 1, VAE_ROLES[:2]),
        (AAE, 8, 3, VAE_ROLES[:2]),
    ],
    ids=[
        "conv 8",
        "conv 28",
        "conv 32 rgb",
        "continuous Bernoulli",
        "mixture of logistics",
        "categorical",
        "flow prior, full covariance",
        "VampPrior",
        "mixture prior, flow posterior",
        "conditional, flow prior",
        "conditional, dense rgb",
        "ladder",
        "batch norm 28",
        "spectral norm 32 rgb",
        "projection",
        "auxiliary classifier",
        "dense, concatenation",
        "coupled, dense rgb",
        "BiGAN 28",
        "AAE, Gaussian, dense rgb",
    ],
)
def test_graph_computes_what_pytorch_computes_at_any_batch(
    tmp_path: Path, model: dict[str, Any], size: int, channels: int, roles: list[str]
) -> None:
    trained = trained_model(model, size, channels)
    for graph in graphs_of(trained, (channels, size, size), model["latent_size"]):
        if graph.role in roles:
            session = _session(graph, tmp_path)
            for batch, samples in [(1, 1), (3, 7), (11, 2)]:
                inputs = graph.random_inputs({"batch": batch, "samples": samples}, torch.Generator().manual_seed(batch))
                _hold_to(session, inputs, _answer(trained, graph.role, **inputs))
            assert check_parity(graph, session) < 1e-3


def test_graph_is_one_file_with_named_varying_axes(tmp_path: Path) -> None:
    graph = _graph(trained_model(CONVOLUTIONAL, 8, 1), "image_to_evidence")
    signature = write_graph(graph, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["image_to_evidence.onnx"]
    assert [(spec.name, spec.shape) for spec in signature.inputs] == [
        ("image", ("batch", 1, 8, 8)),
        ("noise", ("batch", "samples", 4)),
    ]
    assert {spec.shape for spec in signature.outputs} == {("batch", "samples")}
    model = onnx.load(tmp_path / signature.file)
    weights = sum(parameter.numel() for parameter in graph.module.parameters())
    assert sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer) >= weights


def test_label_of_a_conditional_graph_is_one_integer_a_row(tmp_path: Path) -> None:
    for graph in graphs_of(trained_model(CONDITIONAL, 8, 1), (1, 8, 8), 4):
        last = write_graph(graph, tmp_path).inputs[-1]
        told = (last.name, last.dtype, last.shape) == ("label", "int64", ("batch",))
        assert told == (graph.role not in ("noise_to_latent", "latent_to_noise", "latent_to_prior"))


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("none", set()),
        ("auxiliary", {"latent_to_image", "latent_gradient"}),
        ("discovered", {"latent_to_image", "latent_gradient"}),
        ("projection", {"latent_to_image", "latent_gradient", "image_to_realism"}),
        ("coupled", {"latent_to_image", "latent_gradient", "image_to_realism"}),
    ],
)
def test_graphs_of_a_conditional_gan_are_told_what_they_need(condition: str, told: set[str]) -> None:
    graphs = graphs_of(trained_model(SPECTRAL_NORM | {"condition": condition}, 8, 1), (1, 8, 8), 5)
    assert {graph.role for graph in graphs if "label" in graph.inputs} == told


def test_discriminator_of_latents_stays_at_home() -> None:
    for model in (BIGAN, AAE):
        roles = {graph.role for graph in graphs_of(trained_model(model, 8, 1), (1, 8, 8), 5)}
        assert roles == {"latent_to_image", "image_to_latent", "latent_gradient"}


def test_trained_model_is_left_as_it_was() -> None:
    gan = trained_model(SPECTRAL_NORM, 8, 1).train()
    before = {name: value.clone() for name, value in gan.state_dict().items()}
    graphs_of(gan, (1, 8, 8), 5)
    assert gan.training
    assert all(parameter.requires_grad for parameter in gan.parameters())
    for name, value in gan.state_dict().items():
        assert torch.equal(value, before[name])
    assert gan.discriminator(torch.rand(2, 1, 8, 8)).shape == (2,)


@pytest.mark.parametrize("draw", [torch.randn_like, torch.rand_like, torch.bernoulli])
def test_graph_that_draws_its_own_noise_is_refused(tmp_path: Path, draw: Any) -> None:
    class Noisy(nn.Module):
        def forward(self, latent: Tensor) -> Tensor:
            return latent + draw(latent.sigmoid())

    graph = Graph("latent_to_image", Noisy(), {"latent": ("batch", 3)}, ("image",))
    with pytest.raises(ValueError, match=r"latent_to_image\.onnx draws its own noise"):
        write_graph(graph, tmp_path)


def trained_model(document: dict[str, Any], size: int, channels: int) -> TrainedModel:
    """A model whose every weight and running statistic differs from what it starts as, rounded as publication does."""
    torch.manual_seed(0)
    data = {"set": "digits", "size": size, "channels": channels}
    config = RunConfig.model_validate({"name": "x", "title": "x", "data": data, "model": document})
    if isinstance(config.model, VaeConfig):
        model: TrainedModel = make_vae(config.model, config.data, classes=CLASSES)
    else:
        model = GenerativeAdversarialNetwork.from_config(config.model, config.data, classes=CLASSES)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
        for statistic in [buffer for name, buffer in model.named_buffers() if "running" in name]:
            statistic.add_(0.2 * torch.rand_like(statistic))
    round_weights(model)
    return model.eval().to(memory_format=torch.channels_last)


def _graph(model: TrainedModel, role: str) -> Graph:
    return next(graph for graph in graphs_of(model, (1, 8, 8), 4) if graph.role == role)


def _session(graph: Graph, folder: Path) -> GraphSession:
    signature = write_graph(graph, folder)
    return GraphSession.open(folder / signature.file, signature)


def _answer(model: TrainedModel, role: str, **inputs: Tensor) -> dict[str, Tensor]:
    """What the model that was trained, not the copy made for export, answers."""
    with torch.no_grad():
        if not isinstance(model, VariationalAutoencoder):
            if "latent" in inputs:
                return {"image": model.generator(**inputs)}
            if model.encoder is not None:
                return _joint_draws(model.encoder, **inputs)
            verdict = model.discriminator.verdict(**inputs)
            return {"logits": verdict.class_logits} if role == "image_to_class" else {"logit": verdict.logit}
        answers: dict[str, Callable[..., dict[str, Tensor]]] = {
            "noise_to_latent": lambda noise: {"latent": model.prior.from_noise(noise)},
            "latent_to_noise": lambda latent: {"noise": model.prior.flow(latent).value},
            "latent_to_prior": lambda latent: _prior_terms(model.prior, latent),
            "latent_to_image": lambda latent, label=None: {"image": model.decode(latent, label)},
            "image_to_latent": lambda image, noise, label=None: _draws(model, image, noise, label),
            "image_to_evidence": lambda **given: model.evidence(**given)._asdict(),
            PIXELS: lambda image, latent, label=None: {
                "log_likelihood": model.likelihood._per_pixel(image, model._decoded(latent, label)).sum(dim=1)
            },
        }
        return answers[role](**inputs)


def _draws(model: VariationalAutoencoder, image: Tensor, noise: Tensor, label: Tensor | None) -> dict[str, Tensor]:
    posterior = model.posterior(image, label)
    latent = {"latent": posterior.draw(noise[:, None]).latent[:, 0]}
    if not isinstance(posterior, GaussianPosterior):
        return latent
    return {"mean": posterior.mean, "scale": posterior.scale, **latent}


def _joint_draws(encoder: JointEncoder, image: Tensor, noise: Tensor) -> dict[str, Tensor]:
    latent = {"latent": encoder(image, noise)}
    if encoder.family is None:
        return latent
    posterior = encoder.posterior(image)
    return {**latent, "mean": posterior.mean, "scale": posterior.scale}


def _prior_terms(prior: Prior, latent: Tensor) -> dict[str, Tensor]:
    """By torch.distributions, where the prior is a mixture."""
    if not isinstance(prior, MixturePrior):
        return {"log_prior": prior.log_density(latent)}
    means, scales, log_weights = prior.components()
    each = Independent(Normal(means, scales), 1)
    found = MixtureSameFamily(Categorical(logits=log_weights), each)
    joint = each.log_prob(latent[:, None]) + log_weights
    return {"log_prior": found.log_prob(latent), "component": torch.log_softmax(joint, dim=1)}


def _hold_to(session: GraphSession, inputs: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert_close(torch.from_numpy(found[name]), tensor, atol=1e-4, rtol=1e-5)
