"""The commands that give a finished run what its training did not: `fit-density` and `fit-encoder`."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.autoencoder.model import Autoencoder
from training.config import ConfigError, DensityConfig, density_config
from training.data.datasets import DataSplits, load_splits, refuse_changed
from training.encoder_section import EncoderConfig, encoder_config
from training.export.trained import TrainedRun
from training.gan.model import GenerativeAdversarialNetwork
from training.loops.density_fit import coins, features_of, fit_density
from training.loops.density_pictures import draw_density
from training.loops.encoder_fit import fit_encoder
from training.loops.encoder_pictures import draw_reconstructions
from training.loops.run_folder import RunFolder


def add_density_options(fit: argparse.ArgumentParser) -> None:
    """The options of `fit-density`."""
    fit.add_argument("run_folder", type=Path, metavar="RUN", help="the folder of an autoencoder's finished run")
    for name, field in DensityConfig.model_fields.items():
        fit.add_argument(f"--{name.replace('_', '-')}", default=field.default, help=f"default: {field.default}")


def add_encoder_options(fit: argparse.ArgumentParser) -> None:
    """The options of `fit-encoder`."""
    fit.add_argument("run_folder", type=Path, metavar="RUN", help="the folder of a GAN's finished run")
    for name, field in EncoderConfig.model_fields.items():
        default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        fit.add_argument(f"--{name.replace('_', '-')}", default=default, help=f"default: {default}")


def density_of_run(options: argparse.Namespace) -> int:
    """Fit a density to the codes of a finished autoencoder's training images; publish then exports it, to sample from.

    It replaces one that was fitted before. Options without a meaning for the kind that is fitted are ignored.
    """
    config = density_config({name: getattr(options, name) for name in DensityConfig.model_fields})
    folder = RunFolder(options.run_folder)
    run, data = finished(options)
    if not isinstance(run.model, Autoencoder):
        raise ConfigError(f"{folder.path} is of a {run.config.model.family}, which has a prior already")
    coin = coins(config) if run.config.data.binarise else None
    train, validation = (features_of(run.model, images.pictures, coin) for images in (data.train, data.validation))
    density = fit_density(train, validation, config)
    density.save(folder.density_file)
    draw_density(run.model, density.prior, validation, folder)
    print(f"log density of codes, nats an image: {density.train_log_density_nats:.2f} of training images, ", end="")
    print(f"{density.validation_log_density_nats:.2f} of validation images\nfitted: {folder.density_file}")
    return 0


def encoder_of_run(options: argparse.Namespace) -> int:
    """Fit an encoder to a finished GAN's generator; publish then exports it, to encode and to score with.

    It replaces one that was fitted before. The scale of the pixels that scores assume is chosen on validation images.
    Where the generator is told a class, so is the encoder. Raises ConfigError where no picture has one to tell.
    """
    config = encoder_config({name: getattr(options, name) for name in EncoderConfig.model_fields})
    folder = RunFolder(options.run_folder)
    run, data = finished(options)
    if not isinstance(run.model, GenerativeAdversarialNetwork):
        raise ConfigError(f"{folder.path} is of a {run.config.model.family}, which has an encoder already")
    if run.model.encoder is not None:
        raise ConfigError(f"{folder.path} has an encoder already, which learned beside the generator")
    if run.classes != run.provenance.classes:
        raise ConfigError(
            f"{folder.path} has classes that it discovered: no picture of the data has a label among them, which an "
            "encoder of its generator would have to be told"
        )
    generator = run.model.generator
    fitted = fit_encoder(generator, data.train, data.validation, config)
    fitted.save(folder.encoder_file)
    draw_reconstructions(generator, fitted.encoder, data.validation, folder)
    fit = fitted.fit
    print(f"validation images: mse {fit.mse:.4f}, ELBO {fit.elbo_nats:.1f} nats, σ = {fit.pixel_scale:.4f}; ", end="")
    print(f"own images: mse {fit.own_mse:.4f}, −log q(z|G(z)) {fit.own_latent_nats:.1f}\nfitted: {folder.encoder_file}")
    return 0


def finished(options: argparse.Namespace) -> tuple[TrainedRun, DataSplits]:
    """The run of a folder and its data, as they were when it was trained. Raises ConfigError where it is unfinished."""
    run = TrainedRun.load(options.run_folder)
    if run.steps < run.planned_steps:
        raise ConfigError(
            f"{options.run_folder} has {run.steps} of {run.planned_steps} steps: --resume its training first"
        )
    data = load_splits(run.config.data, options.data_dir)
    refuse_changed(data, run.provenance.data_sha256)
    return run, data
