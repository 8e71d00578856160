"""Learning a classifier from few labels and many pictures (Kingma et al. 2014): M1, M2, and M1+M2.

A VAE stands beside q(y|x). In M1 the classifier reads the codes of a VAE that knows no labels. In M2 and M1+M2 the
class is a latent of the VAE: an unlabelled picture counts under every class, each weighted by q(y|x), and so teaches
q(y|x).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from training.config import DataConfig, VaeConfig
from training.nets.convolutional import SLOPE, ConvolutionalEncoder
from training.nets.dense import dense_stack
from training.nets.labels import Labels
from training.probability.agreement import agreement
from training.sections import FewLabelsConfig
from training.vae.model import Evidence, VariationalAutoencoder
from training.vae.stacked import StackedVariationalAutoencoder

Images = Float[Tensor, "batch c h w"]
Logits = Float[Tensor, "batch classes"]


class CodeClassifier(nn.Module):
    """M1: q(y|x) reads the codes, and leaves the encoder alone."""

    def __init__(self, vae: VariationalAutoencoder, width: int, classes: int) -> None:
        super().__init__()
        self._encode = vae.posterior  # a method, so that the encoder stays the VAE's
        self.head = nn.Sequential(dense_stack([vae.latent_size, width]), nn.Linear(width, classes))

    def forward(self, image: Images) -> Logits:
        """The logits at the posterior's mean."""
        logits: Tensor = self.head(self._encode(image).central().detach())
        return logits


class FewLabelsModel(nn.Module):
    """A VAE and q(y|x); p(y) is uniform. `forward` gives the logits of q(y|x)."""

    def __init__(self, vae: VariationalAutoencoder, classifier: nn.Module, classes: int) -> None:
        super().__init__()
        self.vae = vae
        self.classifier = classifier
        self.classes = classes

    @classmethod
    def from_config(cls, config: VaeConfig, data: DataConfig, *, classes: int) -> FewLabelsModel:
        """The model that an experiment describes, freshly initialised from torch's global generator."""
        few = config.few_labels or FewLabelsConfig()
        shape = (data.channels, data.size, data.size)
        make = StackedVariationalAutoencoder if few.kind == "m1_m2" else VariationalAutoencoder
        vae = make.from_config(config, data, classes=classes)
        if few.kind == "m1":
            return cls(vae, CodeClassifier(vae, few.classifier_hidden, classes), classes)
        features = ConvolutionalEncoder(shape, few.classifier_channels, 0, few.classifier_hidden)
        last = nn.Linear(few.classifier_hidden, classes)
        return cls(vae, nn.Sequential(features, nn.LeakyReLU(SLOPE), last), classes)

    def forward(self, image: Images) -> Logits:
        """The logits of q(y|x)."""
        logits: Tensor = self.classifier(image)
        return logits.float()

    def evidence_by_label(self, image: Images, noise: Float[Tensor, "batch size"]) -> Evidence:
        """The log terms of log p(x|y), one draw for each image and label, each (B, classes).

        Where the VAE takes no label there is one column: log p(x).
        """
        if isinstance(self.vae, StackedVariationalAutoencoder):
            return self.vae.evidence_by_label(image, noise)
        if not self.vae.classes:
            return self.vae.evidence(image, noise[:, None])
        label = torch.arange(self.classes, device=image.device).repeat(len(image))
        rows, noise = (tensor.repeat_interleave(self.classes, dim=0) for tensor in (image, noise))
        evidence = self.vae.evidence(rows, noise[:, None], label)
        return Evidence(*(term.unflatten(0, (-1, self.classes))[..., 0] for term in evidence))


class FewLabelsTerms(NamedTuple):
    """What a batch maximises: bounds in nats of its unlabelled and labelled pictures, log q(y|x) of the labelled ones,
    and of the unlabelled ones log q(y|x) of the class that is taken for granted, or 0.
    """

    unlabelled: Float[Tensor, " unlabelled"]
    labelled: Float[Tensor, " labelled"]
    log_right: Float[Tensor, " labelled"]
    log_agreed: Float[Tensor, " unlabelled"]

    def loss(self, few: FewLabelsConfig) -> Float[Tensor, ""]:
        """Minus the means, weighted: equation 9 of Kingma et al. 2014, and the agreement."""
        bounds = self.unlabelled.mean() + few.labelled_bound_weight * self.labelled.mean()
        return -bounds - few.label_weight * self.log_right.mean() - few.agreement_weight * self.log_agreed.mean()


def unlabelled_bound(log_weights: Logits, logits: Logits) -> Float[Tensor, " batch"]:
    """Σ_y q(y|x) (log w_y + log p(y) − log q(y|x)) ≤ log p(x), with log w_y a bound on log p(x|y): equation 7.

    The sum over y is exact, and p(y) is uniform.
    """
    log_q = torch.log_softmax(logits, dim=1)
    return (log_q.exp() * (log_weights - math.log(logits.shape[1]) - log_q)).sum(dim=1)


def labelled_bound(log_weights: Logits, label: Labels) -> Float[Tensor, " batch"]:
    """log w_y + log p(y) ≤ log p(x, y) at the given labels: equation 6."""
    return log_weights.gather(1, label[:, None])[:, 0] - math.log(log_weights.shape[1])


def heeded(logits: Logits, share: float) -> Logits:
    """The same logits, of whose gradient this share comes back."""
    return logits.detach() + share * (logits - logits.detach())


def few_labels_terms(
    log_weights: Float[Tensor, "batch columns"],
    logits: Logits,
    label: Labels,
    *,
    few: FewLabelsConfig,
    heed_share: float = 1.0,
    averaged: Logits | None = None,
) -> FewLabelsTerms:
    """The terms of a batch whose last pictures are the labelled ones, in the order of `label`.

    The weights have a column a class, or one where the VAE takes no label. `averaged` are the averaged model's logits
    of the unlabelled pictures, where views must agree with them.
    """
    count = len(label)
    unlabelled, labelled = logits[:-count], logits[-count:]
    log_right = -functional.cross_entropy(labelled, label, reduction="none")
    if averaged is None:
        agreed = log_right.new_zeros(len(unlabelled))
    else:
        agreed = agreement(unlabelled, torch.softmax(averaged, dim=1), few.agreement_confidence)
    if log_weights.shape[1] == 1:
        return FewLabelsTerms(log_weights[:-count, 0], log_weights[-count:, 0], log_right, agreed)
    bound = unlabelled_bound(log_weights[:-count], heeded(unlabelled, heed_share))
    return FewLabelsTerms(bound, labelled_bound(log_weights[-count:], label), log_right, agreed)
