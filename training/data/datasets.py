"""The data of a run, by name: MNIST, stacked MNIST, Fashion-MNIST, digits, emoji, or a folder of pictures."""

from __future__ import annotations

import os
from pathlib import Path

from training.config import ConfigError, DataConfig
from training.data.digits import load_scikit_digits
from training.data.domains import two_domains
from training.data.emoji import load_emoji
from training.data.few_labels import hide_labels
from training.data.folder import load_folder
from training.data.mnist import FASHION_MNIST, MNIST, load_published
from training.data.splits import DataError, DataSplits, ImageSet, without_classes
from training.data.stacked import load_stacked_mnist

__all__ = ["DataError", "DataSplits", "ImageSet", "data_folder", "load_splits", "refuse_changed"]


def data_folder(data_dir: Path | None = None) -> Path:
    """Where the named sets are kept: as asked, or by LATENTSERVE_DATA_DIR, or `data` under the working directory."""
    return data_dir or Path(os.environ.get("LATENTSERVE_DATA_DIR") or "data")


def load_splits(config: DataConfig, data_dir: Path | None = None) -> DataSplits:
    """The train, validation and test pictures that `config` asks for, at its size and channels.

    `data_dir` holds the named sets, one folder each, and receives downloads; None takes it from the environment
    variable LATENTSERVE_DATA_DIR, or else `data` under the working directory. Raises DataError with what to do. Where
    `config.labelled_images` says how many training labels are told, the others are not in the answer; with
    `config.second_domain` the labels are those of the two domains.
    """
    data = without_classes(_load(config, data_folder(data_dir)), config.leave_out_classes)
    if config.second_domain != "none":
        data = two_domains(data, config.second_domain)
    if config.labelled_images is None:
        return data
    return hide_labels(data, config.labelled_images, seed=config.label_seed)


def refuse_changed(data: DataSplits, trained_on: str) -> None:
    """ConfigError unless this is the data with that sha256: a test image then may be a training image now."""
    if data.sha256 != trained_on:
        raise ConfigError(
            f"{data.name} has changed since this run was trained on it: its splits are no longer honest "
            f"(sha256 {data.sha256[:12]}…, then {trained_on[:12]}…)"
        )


def _load(config: DataConfig, where: Path) -> DataSplits:
    match config.set:
        case "mnist":
            return load_published(MNIST, config, where)
        case "fashion_mnist":
            return load_published(FASHION_MNIST, config, where)
        case "digits":
            return load_scikit_digits(config)
        case "stacked_mnist":
            return load_stacked_mnist(config, where)
        case "emoji":
            return load_emoji(config, where)
        case "folder":
            return load_folder(config)
