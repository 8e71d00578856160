"""What M1, M2 and M1+M2 export: the classifier, and which graphs are told the label."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from app.runtime.session import GraphSession
from training.config import DataConfig, VaeConfig
from training.export.graphs import graphs_of
from training.export.invariance import SAMPLING_ROLES, check_invariance
from training.export.parity import check_parity
from training.export.to_onnx import write_graph
from training.probability.labelled_prior import LabelledMixturePrior
from training.probability.posterior import GaussianPosterior
from training.vae.few_labels import FewLabelsModel

CLASSES, SIZE = 3, 4
TOLD = {
    "m1": set(),
    "m2": {
        "latent_to_image",
        "image_to_latent",
        "image_to_evidence",
        "latent_to_evidence",
        "latent_to_pixel_evidence",
        "latent_gradient",
    },
    "m1_m2": {"noise_to_latent", "image_to_evidence"},
}


def _model(kind: str) -> FewLabelsModel:
    torch.manual_seed(0)
    settings = {
        "family": "vae",
        "latent_size": SIZE,
        "channels": [4, 6],
        "conditional": kind == "m2",
        "prior": {"kind": "mixture" if kind == "m1_m2" else "standard_normal", "components": 3},
        "objective": {"kl": "sampled"},
        "few_labels": {"kind": kind, "classifier_channels": [4, 5]},
    }
    model = FewLabelsModel.from_config(VaeConfig(**settings), DataConfig(set="digits", size=8), classes=CLASSES)
    for weight in model.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return model.eval().requires_grad_(False)


def _answer(model: FewLabelsModel, role: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the model that was trained answers, label or none."""
    vae, label = model.vae, inputs.get("label")
    match role:
        case "image_to_class":
            found = {"logits": model(inputs["image"])}
        case "image_to_evidence":
            found = vae.evidence(inputs["image"], inputs["noise"], label)._asdict()
        case "image_to_latent":
            posterior = vae.posterior(inputs["image"], label)
            assert isinstance(posterior, GaussianPosterior)
            latent = posterior.mean + posterior.scale * inputs["noise"]
            found = {"latent": latent, "mean": posterior.mean, "scale": posterior.scale}
        case "latent_to_image":
            found = {"image": vae.decode(inputs["latent"], label)}
        case "latent_to_pixel_evidence":
            found = {"log_likelihood": vae.log_likelihood_map(inputs["image"], inputs["latent"], label)}
        case "latent_to_prior":
            found = {"log_prior": vae.prior.log_density(inputs["latent"])}
        case "latent_to_evidence":
            with torch.enable_grad():
                image, latent = inputs["image"], inputs["latent"].clone().requires_grad_()
                likelihood = vae.log_likelihood(image, latent[:, None], label)[:, 0]
                prior = vae.prior.log_density(latent)
                slopes = [torch.autograd.grad(part.sum(), latent)[0] for part in (likelihood, prior)]
            names = ("log_likelihood", "log_prior", "likelihood_gradient", "prior_gradient")
            found = dict(zip(names, [likelihood, prior, *slopes], strict=True))
        case "latent_gradient":
            with torch.enable_grad():
                latent = inputs["latent"].clone().requires_grad_()
                falling = (inputs["cotangent"] * vae.decode(latent, label)).sum()
                found = {"gradient": torch.autograd.grad(falling, latent)[0]}
        case _:
            assert isinstance(vae.prior, LabelledMixturePrior)
            found = {"latent": vae.prior.from_noise(inputs["noise"], label)}
    return found


@pytest.mark.parametrize("kind", ["m1", "m2", "m1_m2"])
def test_exported_graphs_answer_as_the_model_and_are_told_what_they_need(tmp_path: Path, kind: str) -> None:
    model = _model(kind)
    graphs = graphs_of(model, (1, 8, 8), SIZE)
    assert {graph.role for graph in graphs if "label" in graph.inputs} == TOLD[kind]
    for graph in graphs:
        signature = write_graph(graph, tmp_path)
        session = GraphSession.open(tmp_path / signature.file, signature)
        assert check_parity(graph, session) < 1e-3
        if graph.role in SAMPLING_ROLES:
            check_invariance(graph, tmp_path / signature.file, signature)
        inputs = graph.random_inputs({"batch": 5, "samples": 2}, torch.Generator().manual_seed(1))
        found = session.run({name: tensor.numpy() for name, tensor in inputs.items()})
        for name, expected in _answer(model, graph.role, inputs).items():
            assert_close(torch.from_numpy(found[name]), expected, atol=1e-4, rtol=1e-5)


def test_sample_of_a_class_is_its_code_decoded() -> None:
    model = _model("m1_m2")
    graphs = {graph.role: graph for graph in graphs_of(model, (1, 8, 8), SIZE)}
    noise, label = torch.randn(6, SIZE + 1), torch.arange(6) % CLASSES
    latent = graphs["noise_to_latent"].module(noise, label)
    assert_close(graphs["latent_to_image"].module(latent), model.vae.sample(noise, label))
