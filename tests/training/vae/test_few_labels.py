"""M1, M2 and M1+M2 against a model small enough to enumerate, and against the sum over y written out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.testing import assert_close

from training.config import DataConfig, VaeConfig
from training.probability.labelled_prior import LabelledMixturePrior
from training.sections import FewLabelsConfig
from training.vae.few_labels import (
    FewLabelsModel,
    few_labels_terms,
    heeded,
    labelled_bound,
    unlabelled_bound,
)

CLASSES = 3
DATA = DataConfig(set="digits", size=8)
SETTINGS: dict[str, Any] = {"family": "vae", "nets": "dense", "hidden": [12], "latent_size": 2}
SETTINGS["objective"] = {"kl": "sampled"}


def _model(kind: str, **changes: Any) -> FewLabelsModel:
    torch.manual_seed(2)
    few = {"kind": kind, "classifier_channels": [4]}
    settings = SETTINGS | {"few_labels": few, "conditional": kind == "m2"} | changes
    if kind == "m1_m2":
        settings["prior"] = {"kind": "mixture", "components": 2}
    model = FewLabelsModel.from_config(VaeConfig(**settings), DATA, classes=CLASSES)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)  # nothing starts at a special value
    return model


def _images(count: int) -> Tensor:
    return torch.bernoulli(torch.full((count, 1, 8, 8), 0.4), generator=torch.Generator().manual_seed(1))


def test_unlabelled_bound_is_the_sum_over_labels_written_out() -> None:
    log_weights, logits = torch.randn(5, CLASSES).double(), torch.randn(5, CLASSES).double()
    expected = []
    for row, scores in zip(log_weights.tolist(), logits.tolist(), strict=True):
        total = sum(math.exp(score) for score in scores)
        q = [math.exp(score) / total for score in scores]
        expected.append(sum(p * (w + math.log(1 / CLASSES) - math.log(p)) for p, w in zip(q, row, strict=True)))
    assert_close(unlabelled_bound(log_weights, logits), torch.tensor(expected, dtype=torch.double))


def test_unlabelled_bound_never_exceeds_the_sum_of_probabilities_and_reaches_it_at_the_exact_q() -> None:
    log_joint = torch.randn(200, CLASSES).double() * 3
    log_evidence = torch.log(sum(torch.exp(log_joint[:, y]) / CLASSES for y in range(CLASSES)))
    assert (unlabelled_bound(log_joint, torch.randn(200, CLASSES).double() * 3) < log_evidence).all()
    assert_close(unlabelled_bound(log_joint, log_joint), log_evidence)  # q(y|x) ∝ p(x|y)
    label = torch.arange(200) % CLASSES
    assert_close(labelled_bound(log_joint, label), log_joint[torch.arange(200), label] - math.log(CLASSES))


@pytest.mark.parametrize("kind", ["m2", "m1_m2"])
def test_bounds_of_every_label_are_those_of_each_label_alone(kind: str) -> None:
    model, image, noise = _model(kind), _images(4), torch.randn(4, 2)
    together = model.evidence_by_label(image, noise)
    for label in range(CLASSES):
        alone = model.vae.evidence(image, noise[:, None], torch.full((4,), label))
        for term, expected in zip(together, alone, strict=True):
            assert_close(term[:, label], expected[:, 0], atol=2e-5, rtol=1e-5)


def _log_prior(model: FewLabelsModel, grid: Tensor, label: int) -> Tensor:
    """log p(z|y) on a line, by torch.distributions."""
    prior = model.vae.prior
    if not isinstance(prior, LabelledMixturePrior):
        return Normal(0, 1).log_prob(grid)
    parts = Normal(prior.means[label, :, 0], prior.log_scales[label, :, 0].exp())
    return MixtureSameFamily(Categorical(logits=prior.logits[label]), parts).log_prob(grid)


@pytest.mark.parametrize("kind", ["m2", "m1_m2"])
def test_expected_bound_is_below_the_evidence_by_enumeration(kind: str) -> None:
    """log p(x) by summing p(y) p(z|y) p(x|z,y) over all labels and a grid of one-dimensional latents."""
    model, image = _model(kind, latent_size=1), _images(3)
    grid = torch.linspace(-6, 6, 1201)
    log_joint = []
    for label in range(CLASSES):
        told = torch.full((3,), label)
        log_likelihood = model.vae.log_likelihood(image, grid[None, :, None].expand(3, -1, 1), told)
        log_joint.append(log_likelihood + _log_prior(model, grid, label) + math.log(12 / 1200) - math.log(CLASSES))
    log_evidence = torch.logsumexp(torch.cat(log_joint, dim=1), dim=1)
    many = 4000
    rows = image.repeat_interleave(many, dim=0)
    with torch.no_grad():
        noise = torch.randn(len(rows), 1, generator=torch.Generator().manual_seed(0))
        log_weights = model.evidence_by_label(rows, noise).log_weights()
        bounds = unlabelled_bound(log_weights, model(rows)).unflatten(0, (3, many))
    error = bounds.std(dim=1) / many**0.5
    assert (bounds.mean(dim=1) < log_evidence + 4 * error).all()
    importance_weighted = torch.logsumexp(log_weights.unflatten(0, (3, many)).flatten(1), dim=1)
    assert_close(importance_weighted - math.log(many * CLASSES), log_evidence, atol=0.05, rtol=0)


@pytest.mark.parametrize(("heed_share", "agrees"), [(0.0, False), (1.0, False), (0.0, True)])
def test_unlabelled_pictures_move_the_classifier_only_as_they_are_told_to(heed_share: float, agrees: bool) -> None:
    log_weights, label = torch.randn(6, CLASSES), torch.tensor([1, 2])
    logits = torch.randn(6, CLASSES, requires_grad=True)
    averaged = 9 * torch.randn(4, CLASSES) if agrees else None
    few = FewLabelsConfig(agreement_weight=1, agreement_confidence=0.1)
    terms = few_labels_terms(log_weights, logits, label, few=few, heed_share=heed_share, averaged=averaged)
    terms.loss(few).backward()
    assert logits.grad is not None
    assert bool(logits.grad[4:].abs().min() > 0)
    assert bool(logits.grad[:4].abs().max() > 0) == (heed_share > 0 or agrees)


def test_bound_moves_the_classifier_by_the_share_that_is_heeded() -> None:
    gradients = []
    for share in (0.25, 1.0):
        logits = torch.tensor([[0.2, -0.4, 0.9]], requires_grad=True)
        bound = unlabelled_bound(torch.tensor([[1.0, 2.0, -1.0]]), heeded(logits, share))
        bound.sum().backward()
        gradients.append(logits.grad)
    assert_close(gradients[0], 0.25 * gradients[1])
    assert_close(heeded(logits, 0.25), logits)


@pytest.mark.parametrize("kind", ["m1", "m2", "m1_m2"])
def test_terms_of_a_batch_are_its_bounds_and_the_label_s_log_probability(kind: str) -> None:
    model, image, label = _model(kind), _images(7), torch.tensor([2, 0])
    log_weights, logits = model.evidence_by_label(image, torch.randn(7, 2)).log_weights(), model(image)
    few = FewLabelsConfig(label_weight=0.5, labelled_bound_weight=0.25, agreement_weight=2.0)
    terms = few_labels_terms(log_weights, logits, label, few=few, averaged=3 * logits[:5])
    assert_close(terms.log_right, torch.stack([logits[5].log_softmax(0)[2], logits[6].log_softmax(0)[0]]))
    if kind == "m1":
        assert_close(torch.cat([terms.unlabelled, terms.labelled]), log_weights[:, 0])
    else:
        assert_close(terms.labelled[0], log_weights[5, 2] - math.log(CLASSES))
        assert len(terms.unlabelled) == 5
    bounds = terms.unlabelled.mean() + 0.25 * terms.labelled.mean()
    assert_close(terms.loss(few), -bounds - 0.5 * terms.log_right.mean() - 2 * terms.log_agreed.mean())


def test_classifier_of_m1_leaves_the_encoder_alone() -> None:
    model = _model("m1")
    model(_images(4)).square().sum().backward()
    assert all(parameter.grad is None for parameter in model.vae.parameters())
    assert all(parameter.grad is not None for parameter in model.classifier.parameters())
