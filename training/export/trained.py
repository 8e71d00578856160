"""What a finished run left: its configuration, its averaged weights and its provenance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from app.manifest import ImageSpace, LatentSpace, Likelihood, PixelRange
from training.autoencoder.model import Autoencoder
from training.config import AutoencoderConfig, ConfigError, RunConfig, VaeConfig, read_config
from training.evaluation.published import DISCOVERED
from training.export.gan_graphs import assumed_likelihood, density_graphs
from training.export.graphs import Graph, TrainedModel, graphs_of
from training.gan.inference import GeneratorDensity
from training.gan.model import GenerativeAdversarialNetwork
from training.gan_sections import GanConfig
from training.loops.checkpoint import Checkpoint, load_checkpoint
from training.loops.density_fit import FittedDensity
from training.loops.encoder_fit import FittedEncoder
from training.loops.gan_training import PIXELS as GAN_PIXELS
from training.loops.provenance import RunProvenance
from training.loops.run_folder import RunFolder
from training.loops.schedule import Plan
from training.loops.selection import Selected
from training.loops.watched import PIXELS as UNIT_PIXELS
from training.nets.dense import ImageShape
from training.vae.few_labels import FewLabelsModel
from training.vae.hierarchical import HierarchicalPrior, make_vae
from training.vae.model import VariationalAutoencoder


@dataclass(frozen=True)
class TrainedRun:
    """A run that can be exported."""

    config: RunConfig
    model: TrainedModel
    provenance: RunProvenance
    steps: int
    train_seconds: float
    density: FittedDensity | None = None
    """Fitted to an autoencoder's codes afterwards."""
    selected: Selected | None = None
    """Where a GAN's weights are not the last ones."""
    encoder: FittedEncoder | None = None
    """Fitted to a generator afterwards."""

    @classmethod
    def load(cls, folder: Path) -> TrainedRun:
        """Read a run folder. Raises ConfigError when nothing was trained there."""
        run = RunFolder(folder)
        if not run.checkpoint.exists():
            raise ConfigError(f"{folder} is not the folder of a run: it has no {run.checkpoint.name}")
        config, state = read_config(run.config_file), load_checkpoint(run.checkpoint)
        provenance = RunProvenance.load(run.provenance_file)
        model, density = _averaged_model(config, state, len(provenance.classes)), None
        if isinstance(model, Autoencoder) and run.density_file.exists():
            density = FittedDensity.load(run.density_file, config.model.latent_size)
            model.density = density.prior
        selected = _selected(config, run)
        if selected:
            model.load_state_dict(selected.weights)
        encoder = None
        if isinstance(model, GenerativeAdversarialNetwork) and run.encoder_file.exists():
            size = config.model.latent_size
            encoder = FittedEncoder.load(run.encoder_file, _image_shape(config), size, model.classes)
        return cls(
            config=config,
            model=model,
            density=density,
            selected=selected,
            encoder=encoder,
            provenance=provenance,
            steps=state["step"],
            train_seconds=state["train_seconds"],
        )

    @property
    def planned_steps(self) -> int:
        """The steps of the whole run."""
        return Plan.of(self.config, self.provenance.train_images).total_steps

    @property
    def pixel_range(self) -> PixelRange:
        """The interval that this family's image tensors live in."""
        return GAN_PIXELS if self.config.model.family == "gan" else UNIT_PIXELS

    @property
    def image_space(self) -> ImageSpace:
        """The pictures that the model reads and writes, as a manifest states them."""
        data = self.config.data
        return ImageSpace(
            height=data.size,
            width=data.size,
            channels=data.channels,
            pixel_range=self.pixel_range,
            observation="threshold" if data.binarise else "unit_interval",
            background=data.background,
        )

    @property
    def latent_space(self) -> LatentSpace:
        """The latents, as a manifest states them."""
        size = self.config.model.latent_size
        if isinstance(self.model, GenerativeAdversarialNetwork):
            return LatentSpace(size=size, prior="standard_normal")
        prior = self.model.density if isinstance(self.model, Autoencoder) else None
        if (vae := self.vae) is not None:
            prior = vae.prior
        if prior is None:
            return LatentSpace(size=size, prior="none")
        layers = prior.layers if isinstance(prior, HierarchicalPrior) else ()
        return LatentSpace(size=size, prior=prior.kind, selectors=prior.selectors, layers=layers)

    @property
    def vae(self) -> VariationalAutoencoder | None:
        """The model's VAE, if it has one."""
        model = self.model.vae if isinstance(self.model, FewLabelsModel) else self.model
        return model if isinstance(model, VariationalAutoencoder) else None

    @property
    def likelihood(self) -> Likelihood | None:
        """p(x|z), as a manifest states it; None where there is no density."""
        if self.encoder is not None:
            return assumed_likelihood(self.encoder.fit.pixel_scale, conditional=bool(self.encoder.encoder.classes))
        return self.vae.likelihood.spec if self.vae else None

    @property
    def classes(self) -> tuple[str, ...]:
        """What labels choose from: the data's classes, or those that the model discovered, which have no names."""
        model = self.config.model
        if isinstance(model, GanConfig) and model.condition == "discovered":
            return tuple(f"{DISCOVERED} {number}" for number in range(model.discovered_classes))
        return self.provenance.classes

    @property
    def class_probabilities(self) -> tuple[float, ...]:
        """How often each class is drawn: as in the data, or discovered ones evenly."""
        count = len(self.classes)
        return self.provenance.class_probabilities if self.classes == self.provenance.classes else (1 / count,) * count

    def graphs(self) -> list[Graph]:
        """The model's graphs, ready to export."""
        shape, size, gradients = _image_shape(self.config), self.config.model.latent_size, self.config.export.gradients
        graphs = graphs_of(self.model, shape, size, gradients=gradients)
        if self.encoder is None or not isinstance(self.model, GenerativeAdversarialNetwork):
            return graphs
        density = GeneratorDensity(self.model.generator, self.encoder.encoder, self.encoder.fit.pixel_scale)
        return [*graphs, *density_graphs(density, shape, size, gradients=gradients)]


def _selected(config: RunConfig, run: RunFolder) -> Selected | None:
    chosen = isinstance(config.model, GanConfig) and config.model.selection.every_steps and run.best_file.exists()
    return Selected.load(run.best_file) if chosen else None


def model_summary(config: RunConfig, classes: int = 0) -> str:
    """The model in words for the console, on data of so many classes: its nets and their numbers of parameters."""
    parts = _fresh_model(config, classes).named_children()
    sizes = [f"{name} {count:,}" for name, net in parts if (count := _parameters(net))]
    return f"{config.model.family} of {', '.join(sizes)} parameters"


def _parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def _image_shape(config: RunConfig) -> ImageShape:
    return config.data.channels, config.data.size, config.data.size


def _fresh_model(config: RunConfig, classes: int) -> TrainedModel:
    if isinstance(config.model, VaeConfig) and config.model.few_labels:
        return FewLabelsModel.from_config(config.model, config.data, classes=classes)
    if isinstance(config.model, VaeConfig):
        return make_vae(config.model, config.data, classes=classes)
    if isinstance(config.model, AutoencoderConfig):
        return Autoencoder.from_config(config.model, config.data)
    return GenerativeAdversarialNetwork.from_config(config.model, config.data, classes=classes)


def _averaged_model(config: RunConfig, state: Checkpoint, classes: int) -> TrainedModel:
    model = _fresh_model(config, classes)
    if isinstance(model, GenerativeAdversarialNetwork):
        model.load_state_dict(state["net"])
        model.generator.load_state_dict(state["average"])
        if (discriminator := state.get("discriminator_average")) is not None:
            model.discriminator.load_state_dict(discriminator)
        if model.encoder is not None:
            model.encoder.load_state_dict(state["encoder_average"])
    else:
        model.load_state_dict(state["average"])
    return model.eval()
