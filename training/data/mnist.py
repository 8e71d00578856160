"""MNIST and Fashion-MNIST as published: 60,000 training and 10,000 test pictures, 28 × 28, grey, ten classes.

The published test set is the test set. Validation is the end of the published training set, as is customary, so that
nothing is chosen by looking at the test set.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from training.config import DataConfig
from training.data.binarised_mnist import load_binarised_test
from training.data.download import download
from training.data.draws import Purpose, bit_generator, permutation
from training.data.fitting import fit
from training.data.idx import parse_idx
from training.data.splits import DataError, DataSplits, ImageSet, fingerprint

_VALIDATION_IMAGES = 10_000


@dataclass(frozen=True)
class PublishedFile:
    """One IDX file: its name without `.gz`, the sha256 published for the `.gz`, and that of what is packed in it."""

    name: str
    packed_sha256: str
    unpacked_sha256: str


@dataclass(frozen=True)
class PublishedSet:
    """A data set in the four files of MNIST, and where they are published (each mirror ends in a slash)."""

    name: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    train_pictures: PublishedFile
    train_labels: PublishedFile
    test_pictures: PublishedFile
    test_labels: PublishedFile


MNIST = PublishedSet(
    name="mnist",
    classes=tuple("0123456789"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    train_pictures=PublishedFile(
        "train-images-idx3-ubyte",
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    train_labels=PublishedFile(
        "train-labels-idx1-ubyte",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    test_pictures=PublishedFile(
        "t10k-images-idx3-ubyte",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    test_labels=PublishedFile(
        "t10k-labels-idx1-ubyte",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)

FASHION_MNIST = PublishedSet(
    name="fashion_mnist",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",  # has no https; the checksum guards the content
    ),
    train_pictures=PublishedFile(
        "train-images-idx3-ubyte",
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    train_labels=PublishedFile(
        "train-labels-idx1-ubyte",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    test_pictures=PublishedFile(
        "t10k-images-idx3-ubyte",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    test_labels=PublishedFile(
        "t10k-labels-idx1-ubyte",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)


def load_published(source: PublishedSet, config: DataConfig, data_dir: Path) -> DataSplits:
    """A published set from the folder `<data_dir>/<name>`, into which missing files are downloaded.

    DataError when files are missing and no mirror answers, when one is damaged, or when the splits ask for too much.
    """
    folder = data_dir / source.name
    published_train = _images(source, source.train_pictures, source.train_labels, folder)
    published_test = _images(source, source.test_pictures, source.test_labels, folder)
    train_images = len(published_train) - (config.validation_images or _VALIDATION_IMAGES)
    if train_images < 1:
        raise DataError(
            f"data.validation_images = {config.validation_images} leaves nothing to train on: "
            f"{source.name} has {len(published_train):,} training pictures"
        )
    if config.fixed_binary_test:
        published_test = load_binarised_test(data_dir, published_test.labels)
    everything = np.arange(len(published_train))
    train, validation, test = (
        ImageSet(fit(images.pictures, config), images.labels)
        for images in (
            published_train.take(everything[:train_images]),
            published_train.take(everything[train_images:]),
            published_test.take(_test_subset(len(published_test), config.test_images)),
        )
    )
    return DataSplits(source.name, train, validation, test, source.classes, fingerprint(train, validation, test))


def _test_subset(count: int, wanted: int | None) -> Int64[np.ndarray, " m"]:
    """All, or a fixed random choice: the files are not shuffled, and the first half of MNIST's is the easier one."""
    if wanted is not None and wanted > count:
        raise DataError(f"data.test_images = {wanted}, but the published test set has {count:,} pictures")
    return np.sort(permutation(count, bit_generator(0, Purpose.SPLIT))[:wanted])


def _images(source: PublishedSet, pictures: PublishedFile, labels: PublishedFile, folder: Path) -> ImageSet:
    return ImageSet(
        parse_idx(_content(source, pictures, folder))[..., None],  # (N, 28, 28, 1)
        parse_idx(_content(source, labels, folder)).astype(np.int64),
    )


def _content(source: PublishedSet, file: PublishedFile, folder: Path) -> bytes:
    """The checked content of a file that lies in `folder` as published or unpacked; downloaded when absent."""
    packed, unpacked = folder / f"{file.name}.gz", folder / file.name
    if unpacked.exists() and not packed.exists():
        return _checked(unpacked, file.unpacked_sha256)
    if not packed.exists():
        _download(source, packed, file.packed_sha256)
    return gzip.decompress(_checked(packed, file.packed_sha256))


def _checked(path: Path, sha256: str) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError(
            f"{path} is damaged or not the published file (sha256 {found}, published {sha256}): "
            "delete it, and the next run downloads it again"
        )
    return content


def _download(source: PublishedSet, packed: Path, sha256: str) -> None:
    try:
        download([mirror + packed.name for mirror in source.mirrors], packed, sha256=sha256)
    except DataError as error:
        names = ", ".join(
            f"{file.name}.gz"
            for file in (source.train_pictures, source.train_labels, source.test_pictures, source.test_labels)
        )
        raise DataError(
            f"{source.name} is not in {packed.parent}, and {error}\n"
            f"Without a network, put these files there yourself, packed or unpacked: {names}. "
            "Files that lie elsewhere are found with --data-dir or LATENTSERVE_DATA_DIR, which name the folder above."
        ) from error
