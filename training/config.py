"""What a run is: one frozen, typed `RunConfig`, read from TOML.

Unknown keys are refused, every knob has its default and its reason on one line, and the whole configuration is printed
and saved with the run, so that a run folder says by itself how to repeat it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from app.manifest import NAME_PATTERN, LikelihoodKind
from training.gan_sections import GanConfig
from training.sections import FewLabelsConfig, Section, Share, Widths


class ConfigError(ValueError):
    """The experiment file or an override is wrong; the message says where and what is accepted."""


class DataConfig(Section):
    """Which images, at what size, and how they are split."""

    set: Literal["mnist", "fashion_mnist", "digits", "stacked_mnist", "emoji", "folder"]
    folder: Path | None = None  # for set = "folder": the pictures, or class subfolders of pictures
    size: Annotated[int, Field(ge=8, le=256)] = 28  # pixels a side; pictures of other sizes are fitted
    channels: Literal[1, 3] = 1
    validation_images: PositiveInt | None = None  # None: 10,000 of the named sets, a tenth of a folder
    test_images: PositiveInt | None = None  # None: the published test set, or a tenth of a folder
    background: tuple[int, int, int] = (0, 0, 0)  # what transparent and oddly shaped pictures are laid on
    leave_out_classes: tuple[NonNegativeInt, ...] = ()  # trained without them, to see whether they are noticed later
    second_domain: Literal["none", "edges", "inverted"] = "none"  # what half of the pictures is turned into
    binarise: bool = False  # draw each pixel as a coin with its grey as odds, anew at every visit
    fixed_binary_test: bool = False  # of mnist: test on the binary images that published tables are about
    labelled_images: PositiveInt | None = None  # how many training labels are told, as many a class; None: all
    label_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0  # which ones; another seed is another draw

    @model_validator(mode="after")
    def _fixed_test_of_binary_digits(self) -> Self:
        if self.fixed_binary_test and not (
            self.set == "mnist" and self.binarise and (self.size, self.channels) == (28, 1)
        ):
            raise ValueError(
                'data.fixed_binary_test needs data.set = "mnist", binarise = true and 28 grey pixels a side'
            )
        return self

    @model_validator(mode="after")
    def _folder_where_needed(self) -> Self:
        if (self.set == "folder") != (self.folder is not None):
            raise ValueError('data.folder belongs with data.set = "folder", and is needed there')
        return self


class VaeObjectiveConfig(Section):
    """Which bound on log p(x) is maximised, and how its gradient is estimated."""

    kl: Literal["closed_form", "sampled"] = "closed_form"  # closed_form: standard normal prior, Gaussian posterior
    estimator: Literal["reparameterised", "doubly_reparameterised", "score_function"] = "reparameterised"
    beta: PositiveFloat = 1.0  # the KL's weight; 1 is the ELBO, above 1 the β-VAE (Higgins et al. 2017)
    free_bits: Annotated[float, Field(ge=0)] = (
        0.0  # nats a dimension (ladder: layer) has for nothing, on a batch's mean
    )
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0  # the KL's weight rises linearly from 0 to beta over these
    importance_samples: PositiveInt = 5  # K of the importance-weighted bound, where it is maximised
    importance_weighted_share: Annotated[float, Field(ge=0, le=1)] = 0.0  # of the run, at its end, with that bound

    @model_validator(mode="after")
    def _closed_form_where_possible(self) -> Self:
        if self.kl == "closed_form" and self.estimator != "reparameterised":
            raise ValueError(f'estimator = "{self.estimator}" needs kl = "sampled"')
        if self.estimator == "score_function" and self.importance_weighted_share:
            raise ValueError("the score-function estimator is of the ELBO: importance_weighted_share must be 0")
        return self


class PriorConfig(Section):
    """p(z)."""

    kind: Literal["standard_normal", "mixture", "vamp", "flow"] = "standard_normal"
    components: PositiveInt = 100  # mixture: Gaussians, with few labels those of each class; vamp: learned pictures
    couplings: PositiveInt = 10  # flow: times [act norm, affine coupling, linear map]
    hidden: PositiveInt = 250  # flow: width of each coupling's network


class LadderConfig(Section):
    """The layers of latents of nets = "ladder", for each halving of the side, outermost first."""

    layers: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (1, 1)  # how many; 0: none at this side
    latent_channels: Widths = (4, 8)  # of each of these layers' latent maps

    @model_validator(mode="after")
    def _a_top(self) -> Self:
        if self.layers[-1] == 0:
            raise ValueError("the innermost side has the top layer: the last of ladder.layers must be 1 or more")
        return self

    def sizes(self, side: int) -> tuple[int, ...]:
        """Numbers in each layer for pictures of this side, the top layer first."""
        found: list[int] = []
        for count, channels in zip(self.layers, self.latent_channels, strict=True):
            side = -(-side // 2)
            found += count * [channels * side**2]
        return tuple(reversed(found))


class PosteriorConfig(Section):
    """q(z|x)."""

    kind: Literal["diagonal", "full_covariance", "flow"] = "diagonal"
    couplings: PositiveInt = 4  # flow: affine couplings that look at the image
    hidden: PositiveInt = 128  # flow: width of each coupling's network


class VaeConfig(Section):
    """A variational autoencoder (Kingma & Welling 2014)."""

    family: Literal["vae"]
    nets: Literal["dense", "convolutional", "ladder"] = "convolutional"  # ladder: layers of latents (Sønderby 2016)
    latent_size: PositiveInt = 16
    hidden: Widths = (256,)  # dense: widths from the image inwards; mirrored in the decoder
    channels: Widths = (32, 64)  # convolutional: channels at each halving of the side
    residual_blocks: Annotated[int, Field(ge=0)] = 1  # convolutional: blocks at each resolution
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # convolutional: in residual blocks, while training
    likelihood: LikelihoodKind = "bernoulli"
    conditional: bool = False  # encoder and decoder are told the class; the data set must have classes
    ladder: LadderConfig = LadderConfig()
    prior: PriorConfig = PriorConfig()  # ladder: of the top layer
    posterior: PosteriorConfig = PosteriorConfig()
    objective: VaeObjectiveConfig = VaeObjectiveConfig()
    few_labels: FewLabelsConfig | None = None  # None: labels are not learned

    @model_validator(mode="after")
    def _few_labels_fit(self) -> Self:
        if self.few_labels is None:
            return self
        if self.conditional != (self.few_labels.kind == "m2"):
            raise ValueError("few_labels of kind m2 need conditional = true, the other kinds conditional = false")
        prior = "mixture" if self.few_labels.kind == "m1_m2" else "standard_normal"
        if self.prior.kind != prior or self.posterior.kind == "flow" or self.nets == "ladder":
            raise ValueError(
                f'few_labels of this kind need prior.kind = "{prior}", no flow as posterior, and no ladder'
            )
        if self.objective != VaeObjectiveConfig(kl="sampled", warmup_epochs=self.objective.warmup_epochs):
            raise ValueError('few_labels maximise the plain ELBO: objective.kl = "sampled", and warmup_epochs at most')
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        closed_form = self.prior.kind == "standard_normal" and self.posterior.kind != "flow"
        if self.objective.kl == "closed_form" and not closed_form:
            raise ValueError('with this prior and posterior the KL has no closed form: objective.kl = "sampled"')
        if self.objective.free_bits and self.posterior.kind != "diagonal":
            raise ValueError('free_bits need the KL of each dimension: posterior.kind = "diagonal"')
        if self.prior.kind == "vamp" and self.posterior.kind != "diagonal":
            raise ValueError('prior.kind = "vamp" is a mixture of posteriors: posterior.kind = "diagonal"')
        if self.prior.kind == "vamp" and self.conditional:
            raise ValueError('prior.kind = "vamp" is a mixture of posteriors, which need labels: conditional = false')
        if self.objective.free_bits and self.objective.kl == "sampled" and self.nets != "ladder":
            raise ValueError('free_bits need the KL of each dimension: objective.kl = "closed_form"')
        if self.dropout and self.nets != "convolutional":
            raise ValueError('dropout is that of residual blocks: nets = "convolutional"')
        if self.latent_size < 2 and "flow" in (self.prior.kind, self.posterior.kind):
            raise ValueError("a flow couples dimensions: latent_size must be 2 or more")
        return self

    @model_validator(mode="after")
    def _ladder_fits(self) -> Self:
        if self.nets != "ladder":
            return self
        if not len(self.channels) == len(self.ladder.layers) == len(self.ladder.latent_channels):
            raise ValueError("channels, ladder.layers and ladder.latent_channels need a number for each side")
        if self.conditional:
            raise ValueError("a ladder is told no class: conditional = false")
        if self.posterior.kind != "diagonal" or self.prior.kind == "vamp":
            raise ValueError(
                "a ladder has posteriors of its own: posterior.kind must be diagonal, and prior.kind not vamp"
            )
        if self.objective.kl != "sampled":
            raise ValueError('a ladder has no KL in closed form: objective.kl = "sampled"')
        if self.objective.free_bits and self.objective.estimator != "reparameterised":
            raise ValueError('free_bits of layers need objective.estimator = "reparameterised"')
        return self


class SparsityConfig(Section):
    """What keeps most numbers of a code at zero."""

    kind: Literal["none", "l1", "top_k"] = "none"
    weight: PositiveFloat = 0.1  # l1: of the sum of the code's magnitudes, beside the summed error of the pixels
    active: PositiveInt = 16  # top_k: numbers of a code that are kept, the largest
    warmup_epochs: Annotated[float, Field(ge=0)] = 3.0  # top_k: all numbers at first, fewer until these have passed


class CorruptionConfig(Section):
    """What is done to an image before it is encoded in training; the clean one is what is to come out."""

    kind: Literal["none", "gaussian", "masking", "salt_and_pepper"] = "none"
    scale: PositiveFloat = 0.3  # gaussian: the noise's standard deviation, where white is 1 and black 0
    share: Share = 0.3  # masking, salt_and_pepper: of the pixels, those that are lost


class AutoencoderConfig(Section):
    """A network that must pass images through a code: linear (PCA), deep (nonlinear PCA), sparse or denoising."""

    family: Literal["autoencoder"]
    nets: Literal["linear", "dense", "convolutional"] = "convolutional"
    latent_size: PositiveInt = 16
    hidden: Widths = (256,)  # dense: widths from the image inwards; mirrored in the decoder
    channels: Widths = (32, 64)  # convolutional: channels at each halving of the side
    residual_blocks: Annotated[int, Field(ge=0)] = 1  # convolutional: blocks at each resolution
    reconstruction: Literal["squared_error", "bernoulli_cross_entropy"] = "squared_error"  # summed over the pixels
    sparsity: SparsityConfig = SparsityConfig()
    corruption: CorruptionConfig = CorruptionConfig()

    @model_validator(mode="after")
    def _code_can_be_sparse(self) -> Self:
        if self.sparsity.kind == "l1" and self.nets != "linear":
            raise ValueError('a deep decoder undoes an l1 penalty by its scale: nets = "linear", or kind = "top_k"')
        if self.sparsity.kind == "top_k" and self.sparsity.active > self.latent_size:
            raise ValueError("sparsity.active is how many of latent_size numbers are kept: it cannot be larger")
        return self


class DensityConfig(Section):
    """A density fitted to the codes of a finished autoencoder, from which it can then sample."""

    kind: Literal["mixture", "flow"] = "mixture"
    components: PositiveInt = 20  # mixture: Gaussians of full covariance
    couplings: PositiveInt = 8  # flow: times [act norm, affine coupling, linear map]
    hidden: PositiveInt = 128  # flow: width of each coupling's network
    epochs: PositiveInt = 20  # flow: passes over the codes
    batch_size: PositiveInt = 256  # flow
    learning_rate: PositiveFloat = 1e-3  # flow: at the start; half a cosine to zero
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class OptimiserConfig(Section):
    """Adam, its schedule, and how long it runs."""

    epochs: PositiveInt = 20
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-3  # of the autoencoder, the VAE or the generator
    discriminator_learning_rate: PositiveFloat | None = None  # None: the generator's
    betas: tuple[Share, Share] = (0.9, 0.999)  # GANs: (0, 0.9) or the paper's (0.5, 0.999)
    schedule: Literal["constant", "cosine"] = "cosine"  # cosine falls to zero at the last step
    clip_norm: Annotated[float, Field(ge=0)] = 5.0  # of the whole gradient; 0 leaves it alone
    average_decay: Share = 0.999  # of the weights' average; 0 keeps the raw ones
    precision: Literal["float32", "bfloat16"] = "float32"  # of the nets; sums of log terms stay in float32


class EvaluationConfig(Section):
    """What is measured at publication, on test images, from the exported graphs."""

    images: PositiveInt = 2000  # a random subset of the test set; all of it where it is smaller
    importance_samples: PositiveInt = 1000  # K of the importance-weighted bound
    calibration_images: PositiveInt = 1000  # validation images behind percentiles and p-values
    outlier_images: PositiveInt = 5000  # validation images behind outlier detection: their number limits its p-values
    map_points: PositiveInt = 400  # encoded test images for the latent map


class ExportConfig(Section):
    """Which graphs are published beside those that every model of the kind has."""

    gradients: bool = True  # latent_gradient and latent_to_evidence: each holds the decoder's weights once more


class RunConfig(Section):
    """One experiment: a published model or one row of a table."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    title: str
    summary: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig
    model: Annotated[AutoencoderConfig | VaeConfig | GanConfig, Field(discriminator="family")]
    optimiser: OptimiserConfig = OptimiserConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    export: ExportConfig = ExportConfig()
    checkpoint_every_s: PositiveFloat = 60.0  # a killed run loses at most this much, and the step it was in
    samples_every_epochs: PositiveInt = 5  # how often a grid of samples is drawn into the run folder

    @model_validator(mode="after")
    def _latents_of_all_layers(self) -> Self:
        if isinstance(self.model, VaeConfig) and self.model.nets == "ladder":
            sizes = self.model.ladder.sizes(self.data.size)
            if self.model.latent_size != sum(sizes):
                raise ValueError(
                    f"model.latent_size must be {sum(sizes)}: the layers have {' + '.join(map(str, sizes))}"
                )
        return self

    @model_validator(mode="after")
    def _few_labels_where_hidden(self) -> Self:
        match self.model:
            case VaeConfig():
                learns = self.model.few_labels is not None
            case GanConfig():
                learns = self.model.learns_from_few_labels
            case _:
                learns = False
        if learns != (self.data.labelled_images is not None):
            raise ValueError(
                "data.labelled_images and model.few_labels belong together: set both or neither "
                '(of a GAN: model.condition = "semi_supervised")'
            )
        return self

    def as_toml_document(self) -> dict[str, Any]:
        """The configuration as plain values, for printing and saving: None is left out, as TOML has no word for it."""
        return self.model_dump(mode="json", exclude_none=True)


def read_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read an experiment file and apply `section.key=value` overrides, whose values are TOML or bare words.

    Raises ConfigError, naming the key, when the file or an override is not accepted.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        _apply(document, override)
    try:
        return RunConfig.model_validate(document)
    except ValidationError as error:
        raise ConfigError(f"{path} is not a run:\n{_explain(error)}") from error


def density_config(values: Mapping[str, Any]) -> DensityConfig:
    """The configuration of a fit from values by name. Raises ConfigError, naming those that are not accepted."""
    try:
        return DensityConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"no density can be fitted so:\n{_explain(error)}") from error


def _apply(document: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"--set wants section.key=value, got {override!r}")
    *sections, last = key.strip().split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, dict):
            raise ConfigError(f"--set {override}: {section} is a value, not a section")
    document[last] = _value(text.strip())


def _value(text: str) -> Any:  # noqa: ANN401 (a TOML value is of any type)
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        said = _plain(problem["type"], problem["msg"])
        lines.append(f"  {_place(problem['loc'])}: {said}{_given(problem['input'])}")
    return "\n".join(lines)


def _given(value: object) -> str:
    """What was given, shortened; of a whole section nothing, for what is wrong with it has just been said by name."""
    return "" if isinstance(value, Mapping) else f", got {str(value)[:64]!r}"


def _place(loc: tuple[int | str, ...]) -> str:
    """The key as it stands in the file: pydantic puts the family, which chose the section's form, in between."""
    parts = [str(part) for part in loc]
    if parts[:1] == ["model"] and parts[1:2] in (["autoencoder"], ["vae"], ["gan"]):
        del parts[1]
    return ".".join(parts) or "run"


def _plain(kind: str, message: str) -> str:
    match kind:
        case "extra_forbidden":
            return "no such key"
        case "union_tag_not_found":
            return 'family = "autoencoder", "vae" or "gan" is needed'
        case _:
            return message.removeprefix("Value error, ")
