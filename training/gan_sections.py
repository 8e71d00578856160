"""The section of a run's configuration that describes a GAN: its nets, and the game that they play."""

from __future__ import annotations

from typing import Annotated, Literal, Self, get_args

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from training.sections import Section, Share, ViewsConfig, Widths

NotNegative = Annotated[float, Field(ge=0)]
GanObjectiveKind = Literal[
    "minimax",
    "non_saturating",
    "least_squares",
    "wasserstein",
    "hinge",
    "boundary_seeking",
    "relativistic",
    "kl",
    "reverse_kl",
    "pearson",
    "squared_hellinger",
    "jensen_shannon",
    "total_variation",
]
Condition = Literal["none", "concatenation", "projection", "auxiliary", "discovered", "semi_supervised", "coupled"]
Augmentation = Literal["colour", "translation", "cutout"]
SYMMETRIC_KINDS = frozenset(get_args(GanObjectiveKind)) - {"kl", "reverse_kl", "pearson"}
"""Games that stay the same when real and generated change places and the logit its sign."""


class GanObjectiveConfig(Section):
    """The two-player game."""

    kind: GanObjectiveKind = "non_saturating"  # kl … total_variation: the saddle points of Nowozin et al. 2016
    discriminator_steps: PositiveInt = 1  # discriminator updates for each generator update
    feature_matching: bool = False  # the generator matches the discriminator's mean features instead (Salimans 2016)

    @property
    def divides_at_zero(self) -> bool:
        """Whether an optimal discriminator's output is positive where real images are the denser ones."""
        return self.kind not in ("wasserstein", "relativistic", "kl")


class GanPenaltyConfig(Section):
    """What keeps the discriminator smooth, beside its loss; weights of 0 leave a penalty out."""

    r1: NotNegative = 0.0  # γ of (γ/2) ‖∇D‖² at real images; grows with the image's side, squared
    r2: NotNegative = 0.0  # the same at generated images
    wgan_gp: NotNegative = 0.0  # λ of (‖∇D‖ − 1)² between real and generated images; usually 10
    dragan: NotNegative = 0.0  # λ of (‖∇D‖ − 1)² around real images; usually 10
    every: PositiveInt = 1  # discriminator steps from one penalty to the next, then with as many times the weight
    clip_weights: PositiveFloat | None = None  # every weight within ± this (Arjovsky et al. 2017), norms left alone

    @property
    def has_gradients(self) -> bool:
        """Whether any of the gradient penalties is there."""
        return any((self.r1, self.r2, self.wgan_gp, self.dragan))


class GanSelectionConfig(Section):
    """Which weights are published: the last ones, or those whose samples came nearest to validation images."""

    every_steps: NonNegativeInt = 0  # generator steps from one look at samples to the next; 0: never, the last weights
    images: PositiveInt = 2000  # samples, and validation images, that are compared at each look


class GanInferenceConfig(Section):
    """An encoder that learns beside the generator, from the first step on."""

    kind: Literal["none", "bidirectional", "adversarial_autoencoder"] = "none"  # BiGAN; AAE
    posterior: Literal["deterministic", "diagonal"] = "deterministic"  # q(z|x): one latent, or a Gaussian
    reconstruction_weight: NotNegative = 0.0  # of an image's summed squared error, pixels in [0, 1]; AAE: above 0
    code_hidden: Widths = (512,)  # widths of the discriminator's layers that read the latent, towards the logit


class GanTeachingConfig(ViewsConfig):
    """What teaches a classifier beside the game: it looks at views of pictures of known class, and views must agree."""

    agreement_weight: NotNegative = 1.0  # of holding a view to what the (averaged) classifier says of the picture,
    agreement_confidence: Share = 0.95  # where its largest probability is at least this,
    agreement_start: Share = 0.05  # from this share of the run on: it has to know something first
    even_classes: bool = False  # what it says is evened out first, so that on average it says each class as often


class GanConfig(Section):
    """A generative adversarial network (Goodfellow et al. 2014)."""

    family: Literal["gan"]
    nets: Literal["convolutional", "dense"] = "convolutional"  # convolutional: DCGAN (Radford et al. 2016)
    latent_size: PositiveInt = 100
    hidden: Widths = (512, 256)  # dense: widths from the image inwards; mirrored in the generator
    condition: Condition = "none"  # how the discriminator takes classes, where the generator is told them
    class_weight: PositiveFloat = 1.0  # of the class's cross-entropy, beside the game in the losses
    discovered_classes: Annotated[int, Field(ge=2)] = 10  # discovered: drawn at random, to be found again (InfoGAN)
    codes: Annotated[int, Field(ge=0)] = 0  # discovered: leading numbers of the latent that are to be found again too
    code_weight: PositiveFloat = 0.1  # discovered: of half their squared error
    labelled_batch: PositiveInt = 100  # semi_supervised: labelled pictures in a step, beside optimiser.batch_size
    teaching: GanTeachingConfig | None = None  # semi_supervised, discovered: what else teaches; None: pictures as such
    discriminator_noise: NotNegative = 0.0  # dense: standard deviation of noise on what each layer reads, in training
    generator_channels: PositiveInt = 64  # convolutional: channels at the last hidden side; doubled at each halving
    discriminator_channels: PositiveInt = 64
    discriminator_hidden: PositiveInt | None = None  # convolutional: width of a layer before the logits; None: without
    spectral_norm: bool = False  # on every discriminator layer (Miyato et al. 2018)
    generator_batch_norm: bool = True  # the paper's; its running statistics are averaged with the weights
    discriminator_batch_norm: bool = True  # the paper's; not together with spectral norm or gradient penalties
    objective: GanObjectiveConfig = GanObjectiveConfig()
    penalty: GanPenaltyConfig = GanPenaltyConfig()
    selection: GanSelectionConfig = GanSelectionConfig()
    inference: GanInferenceConfig = GanInferenceConfig()
    augment: tuple[Augmentation, ...] = ()  # what the discriminator sees of every image (DiffAugment): few images
    instance_noise: NotNegative = 0.0  # standard deviation of noise on all that it sees; pixels are in [−1, 1]
    instance_noise_share: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the run, over which that falls to 0

    @property
    def learns_from_few_labels(self) -> bool:
        """Whether a few labelled pictures and all others teach a classifier."""
        return self.condition == "semi_supervised"

    @model_validator(mode="after")
    def _one_normalisation(self) -> Self:
        if self.spectral_norm and self.discriminator_batch_norm:
            raise ValueError("spectral_norm replaces discriminator_batch_norm: set one of them to false")
        return self

    @model_validator(mode="after")
    def _no_batch_norm_between_dense_layers(self) -> Self:
        if self.nets == "dense" and (self.generator_batch_norm or self.discriminator_batch_norm):
            raise ValueError(
                "dense nets have no batch norm: generator_batch_norm = false and discriminator_batch_norm = false"
            )
        return self

    @model_validator(mode="after")
    def _averages_of_plain_weights(self) -> Self:
        if self.learns_from_few_labels and self.spectral_norm:
            raise ValueError(
                "learning from few labels averages the discriminator, and spectral norms cannot be averaged"
            )
        return self

    @model_validator(mode="after")
    def _taught_where_labels_are_few_or_none(self) -> Self:
        if self.teaching is not None and self.condition not in ("semi_supervised", "discovered"):
            raise ValueError(
                'teaching is of a classifier with few labels or none: condition = "semi_supervised" or "discovered"'
            )
        return self

    @model_validator(mode="after")
    def _codes_fit(self) -> Self:
        if self.codes > (self.latent_size if self.condition == "discovered" else 0):
            raise ValueError('codes are some of the latent_size numbers, with condition = "discovered"')
        return self

    @model_validator(mode="after")
    def _noise_between_dense_layers(self) -> Self:
        if self.discriminator_noise and self.nets != "dense":
            raise ValueError('discriminator_noise is between the layers of nets = "dense"')
        if self.discriminator_hidden and (self.nets == "dense" or self.inference.kind != "none"):
            raise ValueError('discriminator_hidden goes with nets = "convolutional" and inference.kind = "none"')
        return self

    @model_validator(mode="after")
    def _inference_fits(self) -> Self:
        inference = self.inference
        if inference.kind == "none":
            if inference != GanInferenceConfig():
                raise ValueError("inference is described without being there: set inference.kind")
            return self
        if self.condition != "none" or self.objective.feature_matching or self.discriminator_noise:
            raise ValueError('inference goes with condition = "none", without feature_matching and discriminator_noise')
        if self.discriminator_batch_norm:
            raise ValueError("a discriminator of latents has no batch norm: discriminator_batch_norm = false")
        if inference.kind == "bidirectional" and self.objective.kind not in SYMMETRIC_KINDS:
            raise ValueError(
                'with inference.kind = "bidirectional" both pairs are made by a net, and the game must be symmetric: '
                f"objective.kind is one of {', '.join(sorted(SYMMETRIC_KINDS))}"
            )
        if inference.kind == "adversarial_autoencoder":
            if not inference.reconstruction_weight:
                raise ValueError("an autoencoder reconstructs: inference.reconstruction_weight must be above 0")
            if self.augment or self.instance_noise:
                raise ValueError("augment and instance_noise are of images, and this discriminator sees latents")
        return self

    @model_validator(mode="after")
    def _gradients_of_single_images(self) -> Self:
        if self.penalty.has_gradients and self.discriminator_batch_norm:
            raise ValueError(
                "a gradient penalty is of each image alone, and batch norm mixes them: discriminator_batch_norm = false"
            )
        return self

    @model_validator(mode="after")
    def _bounded_critic(self) -> Self:
        bounded = self.spectral_norm or self.penalty.has_gradients or self.penalty.clip_weights is not None
        if self.objective.kind == "wasserstein" and not bounded:
            raise ValueError(
                'a critic without bound on its slope has no optimum: with objective.kind = "wasserstein" set '
                "penalty.clip_weights, a gradient penalty or spectral_norm"
            )
        return self
