"""The fixed binary test images of MNIST that published log-likelihood tables are about.

Larochelle & Murray 2011, "The neural autoregressive distribution estimator": each pixel of each test image drawn once,
as in Salakhutdinov & Murray 2008, and the images sorted by digit. A model may have been trained on MNIST's greys, drawn
anew at every visit, as long as it is tested on these.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from training.data.download import download
from training.data.splits import DataError, ImageSet

FOLDER = "binarized_mnist"
_PACKED = "binarized_mnist_packed.npz"
_TEXT = "binarized_mnist_test.amat"
_TEXT_SHA256 = "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"
_MIRRORS = ("http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",)  # no https; checksum guards it
_SIDE = 28


def load_binarised_test(data_dir: Path, labels: Int64[np.ndarray, " n"] | None) -> ImageSet:
    """The binary test images as 0 and 255, (10000, 28, 28, 1), with the labels that their order implies.

    `labels` are those of MNIST's test images, in any order: the binary ones stand sorted by them. The images are read
    from `<data_dir>/binarized_mnist`, as published (a text file) or packed eight pixels to a byte in an `.npz`, and
    downloaded when neither is there. DataError when they cannot be had, or are not the published ones.
    """
    bits = _bits(data_dir / FOLDER)
    if (found := hashlib.sha256(as_published_text(bits)).hexdigest()) != _TEXT_SHA256:
        raise DataError(f"the binary images in {data_dir / FOLDER} are not the published ones (sha256 {found})")
    return ImageSet(bits.reshape(-1, _SIDE, _SIDE, 1) * np.uint8(255), None if labels is None else np.sort(labels))


def as_published_text(bits: UInt8[np.ndarray, "n pixels"]) -> bytes:
    """The text that the set was published as: a line an image, its digits separated by single spaces."""
    text = np.full((len(bits), 2 * bits.shape[1]), ord(" "), np.uint8)
    text[:, ::2] = bits + ord("0")
    text[:, -1] = ord("\n")
    return text.tobytes()


def from_published_text(text: bytes) -> UInt8[np.ndarray, "n pixels"]:
    """The inverse of `as_published_text`. DataError when the text is not whole lines of 784 digits."""
    characters = np.frombuffer(text, np.uint8)
    if len(characters) % (2 * _SIDE**2):
        raise DataError(f"{_TEXT} is damaged: {len(characters):,} bytes are no whole number of images")
    return characters[::2].reshape(-1, _SIDE**2) - np.uint8(ord("0"))


def _bits(folder: Path) -> UInt8[np.ndarray, "n pixels"]:
    packed, text = folder / _PACKED, folder / _TEXT
    try:
        if packed.exists():
            with np.load(packed) as arrays:
                return np.unpackbits(arrays["test"], axis=1)
        if not text.exists():
            download([mirror + _TEXT for mirror in _MIRRORS], text, sha256=_TEXT_SHA256)
        return from_published_text(text.read_bytes())
    except (OSError, KeyError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the binary test images in {folder} cannot be read: {error}") from error
