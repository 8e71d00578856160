"""Making examples: a labelled folder of pictures that a conditional model drew, readable as data.set = "folder"."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from app.images.png import encode_png
from app.manifest import GraphRole, Manifest
from training.config import ConfigError, DataConfig
from training.data.folder import load_folder
from training.data.splits import ImageSet
from training.evaluation.published import PublishedGraphs

AT_ONCE = 500
SAMPLING: tuple[GraphRole, ...] = ("noise_to_latent", "latent_to_image")
SEPARATORS = re.compile(r"[\\/:\0]")


def synthesise(graphs: PublishedGraphs, manifest: Manifest, folder: Path, *, count: int, seed: int) -> dict[str, int]:
    """Write `count` pictures as `<class>/<number>.png`, the classes taking turns; returns how many each class got.

    Picture `number` is the one that the service samples with this seed, index and label. Raises ConfigError where the
    model takes no label or cannot sample, and where the folder holds something already.
    """
    if manifest.conditional_roles.isdisjoint(SAMPLING) or "sample" not in manifest.capabilities:
        raise ConfigError(f"{manifest.name} draws no pictures of a given class: it takes no label")
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: examples would mix with what is there")
    names = class_folders(manifest.classes)
    for name in names:
        (folder / name).mkdir(parents=True)
    for start in range(0, count, AT_ONCE):
        numbers = np.arange(start, min(count, start + AT_ONCE))
        labels = numbers % len(names)
        pictures = graphs.sample(
            len(numbers), latent_size=manifest.latent.size, seed=seed, labels=labels, first_index=start
        )
        for number, label, picture in zip(numbers, labels, pictures, strict=True):
            (folder / names[label] / f"{number:06d}.png").write_bytes(encode_png(picture))
    return {name: len(range(label, count, len(names))) for label, name in enumerate(names)}


def class_folders(classes: tuple[str, ...]) -> list[str]:
    """A folder's name for each class: its own, without what a file system cannot hold; by index where two collide."""
    names = [SEPARATORS.sub("-", name).strip(". ") or "-" for name in classes]
    return names if len(set(names)) == len(names) else [f"{index} {name}" for index, name in enumerate(names)]


def read_examples(folder: Path, manifest: Manifest) -> ImageSet:
    """Every picture of a folder that `synthesise` wrote, read as a data set, labelled as the manifest's classes are."""
    if manifest.image.channels not in (1, 3):
        raise ConfigError(f"pictures of {manifest.image.channels} channels are not read from folders")
    channels = 1 if manifest.image.channels == 1 else 3
    data = load_folder(DataConfig(set="folder", folder=folder, size=manifest.image.height, channels=channels))
    parts = (data.train, data.validation, data.test)
    found = np.concatenate([part.labels for part in parts if part.labels is not None])
    index = np.array([class_folders(manifest.classes).index(name) for name in data.classes or ()])
    return ImageSet(np.concatenate([part.pictures for part in parts]), index[found])
