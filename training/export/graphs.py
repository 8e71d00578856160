"""A trained model as graphs: one module a role, its tensors named, with inputs to try it on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from app.manifest import LABEL, NOISE_PRIORS, GraphRole
from training.autoencoder.model import Autoencoder
from training.export.folding import fold_batch_norms
from training.export.gradients import GeneratorLatentGradient, JointWithGradients, LatentToEvidence, VaeLatentGradient
from training.export.storage import round_weights
from training.gan.discriminator import Discriminator
from training.gan.joint_encoder import JointEncoder
from training.gan.model import GenerativeAdversarialNetwork
from training.nets.labels import Labels
from training.probability.labelled_prior import LabelledMixturePrior
from training.probability.posterior import GaussianPosterior
from training.probability.prior import FlowPrior, MixturePrior
from training.vae.few_labels import FewLabelsModel
from training.vae.model import Evidence, VariationalAutoencoder
from training.vae.stacked import StackedVariationalAutoencoder

TrainedModel = Autoencoder | VariationalAutoencoder | FewLabelsModel | GenerativeAdversarialNetwork
Net = TypeVar("Net", bound=nn.Module)
Sizes = Mapping[str, int]
"""A number for each varying dimension: `batch`, `samples`."""
Shapes = Mapping[str, tuple[int | str, ...]]
"""Tensors by name; a dimension is a number, or the name of one that varies."""


@dataclass(frozen=True)
class Graph:
    """One role of a model: the module to export, and the names and shapes of its tensors.

    Every input is float32, but for `label`: int64, below `classes`.
    """

    role: GraphRole
    module: nn.Module
    inputs: Shapes
    outputs: tuple[str, ...]
    classes: int = 0

    def random_inputs(self, sizes: Sizes, generator: torch.Generator) -> dict[str, Tensor]:
        """Inputs of these sizes: images uniform on [0, 1], labels below `classes`, all else standard normal."""
        found = {}
        for name, shape in self.inputs.items():
            numbers = [sizes[size] if isinstance(size, str) else size for size in shape]
            if name == LABEL:
                found[name] = torch.randint(self.classes, numbers, generator=generator)
            else:
                draw = torch.rand if name == "image" else torch.randn
                found[name] = draw(numbers, generator=generator)
        return found


class _LatentToImage(nn.Module):
    def __init__(self, vae: VariationalAutoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Float[Tensor, "batch size"], label: Labels | None = None) -> Float[Tensor, "batch c h w"]:
        return self.vae.decode(latent, label)


class _LabelledNoiseToLatent(nn.Module):
    def __init__(self, prior: LabelledMixturePrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, noise: Float[Tensor, "batch noise"], label: Labels) -> Float[Tensor, "batch size"]:
        return self.prior.from_noise(noise, label)


class _NoiseToLatent(nn.Module):
    def __init__(self, vae: VariationalAutoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, noise: Float[Tensor, "batch noise"]) -> Float[Tensor, "batch size"]:
        return self.vae.prior.from_noise(noise)


class _LatentToNoise(nn.Module):
    def __init__(self, prior: FlowPrior) -> None:
        super().__init__()
        self.prior = prior

    def forward(self, latent: Float[Tensor, "batch size"]) -> Float[Tensor, "batch size"]:
        return self.prior.to_noise(latent)


class _LatentToPrior(nn.Module):
    """log p(z) and, of a mixture, log p(k|z) of every component."""

    def __init__(self, vae: VariationalAutoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latent: Float[Tensor, "batch size"]) -> tuple[Tensor, ...]:
        prior = self.vae.prior
        if not isinstance(prior, MixturePrior):
            return (prior.log_density(latent),)
        joint = prior.log_joint(latent)
        log_prior = torch.logsumexp(joint, dim=-1)
        return log_prior, joint - log_prior[:, None]


class _ImageToLatent(nn.Module):
    """The draw and, where the posterior has moments, its mean and scale."""

    def __init__(self, vae: VariationalAutoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, image: Float[Tensor, "batch c h w"], noise: Tensor, label: Labels | None = None
    ) -> tuple[Tensor, ...]:
        posterior = self.vae.posterior(image, label)
        latent = posterior.draw(noise[:, None]).latent[:, 0]
        return (latent, posterior.mean, posterior.scale) if isinstance(posterior, GaussianPosterior) else (latent,)


class _LatentToPixelEvidence(nn.Module):
    def __init__(self, vae: VariationalAutoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self, image: Float[Tensor, "batch c h w"], latent: Float[Tensor, "batch size"], label: Labels | None = None
    ) -> Float[Tensor, "batch h w"]:
        return self.vae.log_likelihood_map(image, latent, label)


class _ImageToEvidence(nn.Module):
    def __init__(self, vae: VariationalAutoencoder) -> None:
        super().__init__()
        self.vae = vae

    def forward(
        self,
        image: Float[Tensor, "batch c h w"],
        noise: Float[Tensor, "batch samples size"],
        label: Labels | None = None,
    ) -> Evidence:
        return self.vae.evidence(image, noise, label)


class _CodeToImage(nn.Module):
    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latent: Float[Tensor, "batch size"]) -> Float[Tensor, "batch c h w"]:
        return self.autoencoder.decode(latent)


class _ImageToCode(nn.Module):
    """The code. Nothing of it is drawn: the noise that the role has is left unread."""

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, image: Float[Tensor, "batch c h w"], noise: Float[Tensor, "batch size"]) -> Tensor:
        return self.autoencoder.encode(image)


class _NoiseToCode(nn.Module):
    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, noise: Float[Tensor, "batch noise"]) -> Float[Tensor, "batch size"]:
        return self.autoencoder.from_noise(noise)


class _ImageToJointLatent(nn.Module):
    """What an encoder says that learned beside a generator: a draw and its moments, or one latent."""

    def __init__(self, encoder: JointEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Float[Tensor, "batch c h w"], noise: Float[Tensor, "batch size"]) -> tuple[Tensor, ...]:
        if not self.encoder.has_moments:
            return (self.encoder(image, noise),)
        posterior = self.encoder.posterior(image)
        return posterior.draw(noise[:, None]).latent[:, 0], posterior.mean, posterior.scale


class _ImageToClass(nn.Module):
    """The auxiliary classifier's logits."""

    def __init__(self, discriminator: Discriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, image: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch classes"] | None:
        return self.discriminator.verdict(image).class_logits


def graphs_of(
    model: TrainedModel, image_shape: tuple[int, int, int], latent_size: int, *, gradients: bool = True
) -> list[Graph]:
    """Every graph that this kind of model has, on a copy of it that is made ready to export.

    `gradients` adds `latent_gradient` and `latent_to_evidence`, which need adjoints of nets and priors.
    """
    model = ready(model)
    latent: Shapes = {"latent": ("batch", latent_size)}
    image: Shapes = {"image": ("batch", *image_shape)}
    if isinstance(model, GenerativeAdversarialNetwork):
        return _gan_graphs(model, latent, image, gradients=gradients)
    if isinstance(model, Autoencoder):
        return _autoencoder_graphs(model, latent, image)
    vae = model.vae if isinstance(model, FewLabelsModel) else model
    graphs = [*_prior_graphs(vae, latent), *_vae_graphs(vae, latent, image)]
    if isinstance(model, FewLabelsModel):
        graphs.append(Graph("image_to_class", model, image, ("logits",), model.classes))
    return [*graphs, *(_gradient_graphs(vae, latent, image) if gradients else [])]


def _gan_graphs(model: GenerativeAdversarialNetwork, latent: Shapes, image: Shapes, *, gradients: bool) -> list[Graph]:
    """Generator and discriminator, with labels where they are told them, and the classifier that shares features.

    A discriminator of latents has no opinion of an image alone: beside an encoder it stays at home.
    """
    generator, discriminator, classes = model.generator, model.discriminator, model.classes
    label: Shapes = {LABEL: ("batch",)} if classes else {}
    judged: Shapes = {**image, **(label if discriminator.is_told else {})}
    graphs = [Graph("latent_to_image", generator, {**latent, **label}, ("image",), classes)]
    if (encoder := model.encoder) is None:
        graphs.append(Graph("image_to_realism", discriminator, judged, ("logit",), classes))
    else:
        read: Shapes = {**image, "noise": latent["latent"]}
        moments = ("mean", "scale") if encoder.has_moments else ()
        graphs.append(Graph("image_to_latent", _ImageToJointLatent(encoder), read, ("latent", *moments)))
    if (to_class := discriminator.to_class) is not None:
        found = Graph("image_to_class", _ImageToClass(discriminator), image, ("logits",), to_class.out_features)
        graphs.append(found)
    if gradients:
        graphs.append(_latent_gradient(GeneratorLatentGradient(generator), latent, image, label, classes))
    return graphs


def _autoencoder_graphs(model: Autoencoder, latent: Shapes, image: Shapes) -> list[Graph]:
    """Both ways and, where a density was fitted to the codes, `noise_to_latent`."""
    noise: Shapes = {"noise": latent["latent"]}
    graphs = [
        Graph("latent_to_image", _CodeToImage(model), latent, ("image",)),
        Graph("image_to_latent", _ImageToCode(model), {**image, **noise}, ("latent",)),
    ]
    if model.density is None:
        return graphs
    noise = {"noise": ("batch", model.density.noise_size)}
    return [Graph("noise_to_latent", _NoiseToCode(model), noise, ("latent",)), *graphs]


def _prior_graphs(vae: VariationalAutoencoder, latent: Shapes) -> list[Graph]:
    """Where the latent is not the noise itself: the way from noise, the way back if there is one, and p(z)."""
    prior = vae.prior
    if prior.kind in NOISE_PRIORS:
        return []
    noise: Shapes = {"noise": ("batch", prior.noise_size)}
    log_prior = Graph("latent_to_prior", _LatentToPrior(vae), latent, ("log_prior",))
    if isinstance(prior, LabelledMixturePrior):
        told: Shapes = {**noise, LABEL: ("batch",)}
        drawn = Graph("noise_to_latent", _LabelledNoiseToLatent(prior), told, ("latent",), prior.classes)
        return [drawn, log_prior]
    component = ("component",) if isinstance(prior, MixturePrior) else ()
    back = [Graph("latent_to_noise", _LatentToNoise(prior), latent, ("noise",))] if isinstance(prior, FlowPrior) else []
    return [
        Graph("noise_to_latent", _NoiseToLatent(vae), noise, ("latent",)),
        *back,
        replace(log_prior, outputs=("log_prior", *component)),
    ]


def _vae_graphs(vae: VariationalAutoencoder, latent: Shapes, image: Shapes) -> list[Graph]:
    """The graphs of decoder, encoder and density; with labels where these are told them."""
    size, classes = vae.latent_size, vae.classes
    told: Shapes = {LABEL: ("batch",)} if classes else {}
    label: Shapes = {} if isinstance(vae, StackedVariationalAutoencoder) else told
    read: Shapes = {**image, "noise": ("batch", size), **label}
    weighed: Shapes = {**image, "noise": ("batch", "samples", size), **told}
    seen: Shapes = {**image, **latent, **label}
    moments = ("mean", "scale") if vae.has_moments else ()
    terms = ("log_likelihood", "log_prior", "log_posterior")
    return [
        Graph("latent_to_image", _LatentToImage(vae), {**latent, **label}, ("image",), classes),
        Graph("image_to_latent", _ImageToLatent(vae), read, ("latent", *moments), classes),
        Graph("image_to_evidence", _ImageToEvidence(vae), weighed, terms, classes),
        Graph("latent_to_pixel_evidence", _LatentToPixelEvidence(vae), seen, terms[:1], classes),
    ]


def _gradient_graphs(vae: VariationalAutoencoder, latent: Shapes, image: Shapes) -> list[Graph]:
    """Of the plain model. Hierarchical and stacked ones have densities of their own, whose adjoints are not known."""
    if type(vae) is not VariationalAutoencoder:
        return []
    label: Shapes = {LABEL: ("batch",)} if vae.classes else {}
    joint: Shapes = {**image, **latent, **label}
    return [
        _latent_gradient(VaeLatentGradient(vae), latent, image, label, vae.classes),
        Graph("latent_to_evidence", LatentToEvidence(vae), joint, JointWithGradients._fields, vae.classes),
    ]


def _latent_gradient(
    module: nn.Module, latent: Shapes, image: Shapes, label: Shapes | None = None, classes: int = 0
) -> Graph:
    inputs: Shapes = {**latent, "cotangent": image["image"], **(label or {})}
    return Graph("latent_gradient", module, inputs, ("gradient",), classes)


def ready(model: Net) -> Net:
    """A copy on the CPU that only answers: what follows from weights alone (spectral norms, inverses) is constant."""
    ready = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    for module in list(ready.modules()):
        if parametrize.is_parametrized(module):
            _settle(module)
    fold_batch_norms(ready)
    round_weights(ready)  # before what follows from them is computed
    vae = ready.vae if isinstance(ready, FewLabelsModel) else ready
    if isinstance(vae, VariationalAutoencoder):
        vae.prior = vae.prior.settled()
    if isinstance(ready, Autoencoder) and ready.density is not None:
        ready.density = ready.density.settled()
    for parameter in ready.parameters():
        parameter.data = parameter.data.contiguous()  # channels-last strides are for training
    return ready


def _settle(module: nn.Module) -> None:
    """Keep the values that reparametrised weights have now.

    `parametrize.remove_parametrizations` would take the property off a class that copies share with their original.
    """
    names = [name for name, _ in module.get_submodule("parametrizations").named_children()]
    weights = {name: getattr(module, name) for name in names}
    module.__class__ = type(module).__bases__[0]
    del module.parametrizations
    for name, weight in weights.items():
        module.register_parameter(name, nn.Parameter(weight, requires_grad=False))
