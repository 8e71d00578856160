"""Noto Emoji (Google): colour emoji of 72 pixels, whose file names say what they show, in which skin tone and gender.

`emoji_u1f3c3_1f3fd_200d_2640.png` is a runner (1f3c3) of medium skin tone (1f3fd) and a woman (2640). One emoji in all
its tones and genders is one *motif*: what remains of the name without them. Pictures with two tones are left out.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from app.images.raster import read_picture
from training.config import DataConfig
from training.data.draws import Purpose, bit_generator, permutation
from training.data.fitting import MAX_PIXELS, reader_threads, reading_space
from training.data.splits import Attribute, DataError, DataSplits, ImageSet, fingerprint

ARCHIVE = "noto_emoji_png72.zip"
FOLDER = "png/72"
"""Where the pictures are in the project's repository."""
TONES = {"1f3fb": "light", "1f3fc": "medium-light", "1f3fd": "medium", "1f3fe": "medium-dark", "1f3ff": "dark"}
DEFAULT_TONE = "default"
GENDERS = {"2640": "woman", "2642": "man", "1f469": "woman", "1f468": "man", "1f9d1": "person"}
SKIN_TONES, PEOPLE = (DEFAULT_TONE, *TONES.values()), ("unspecified", "man", "woman", "person")
OTHER = "other"
"""The class of everything that does not come in skin tones, or shows several people."""
CLASSES = (OTHER, *(f"{gender} {tone}" for gender in PEOPLE for tone in SKIN_TONES))
_NAME = re.compile(r"emoji_u([0-9a-f]{4,6}(?:_[0-9a-f]{4,6})*)\.png")
_JOINER, _ADULT = "200d", "1f9d1"
_HELD_OUT_SHARE = 0.1


@dataclass(frozen=True)
class EmojiName:
    """What a file name says."""

    motif: tuple[str, ...]
    """Code points without tones, joiners and signs of gender; every adult is the person's code point."""
    tones: tuple[str, ...]
    genders: tuple[str, ...]

    @classmethod
    def parse(cls, name: str) -> EmojiName | None:
        """From `emoji_u….png`; None where the name is not one of these."""
        if not (match := _NAME.fullmatch(name)):
            return None
        points = [point for point in match[1].split("_") if point != _JOINER]
        genders = tuple(GENDERS[point] for point in points if point in GENDERS)
        plain = [_ADULT if len(point) == 5 and point in GENDERS else point for point in points if point not in TONES]
        motif = tuple(point for point in plain if point == _ADULT or point not in GENDERS)
        return cls(motif, tuple(TONES[point] for point in points if point in TONES), genders)

    @property
    def single(self) -> bool:
        """Whether it shows something, in at most one tone and as at most one person: a tone alone is a swatch."""
        return bool(self.motif) and len(self.tones) < 2 and len(self.genders) < 2


def load_emoji(config: DataConfig, data_dir: Path) -> DataSplits:
    """The emoji of at most one tone, in a fixed random order: a tenth each for validation and test unless stated.

    Read from `<data_dir>/noto_emoji`: the archive `noto_emoji_png72.zip` of the pictures, or the project's repository.
    The attributes are `skin_tone`, `gender` and `motif`, −1 in the class `other`. DataError where nothing is there.
    """
    if config.channels != 3:
        raise DataError('data.set = "emoji" is of coloured pictures: data.channels = 3')
    files = _files(data_dir / "noto_emoji")
    named = {file: name for file in sorted(files) if (name := EmojiName.parse(file)) and len(name.tones) < 2}
    attributes, values = _attributes(list(named.values()))
    labels = np.where(values[:, 0] < 0, 0, 1 + len(SKIN_TONES) * values[:, 1] + values[:, 0])
    images = ImageSet(_pictures([files[file] for file in named], config), labels, values)
    train, validation, test = (images.take(part) for part in _split(len(images), config))
    sha256 = fingerprint(train, validation, test)
    return DataSplits("emoji", train, validation, test, CLASSES, sha256, attributes=attributes)


def _files(folder: Path) -> Mapping[str, bytes]:
    """The content of each picture by its file name."""
    if (archive := folder / ARCHIVE).exists():
        with zipfile.ZipFile(archive) as opened:
            return {Path(name).name: opened.read(name) for name in opened.namelist() if name.endswith(".png")}
    if found := {path.name: path.read_bytes() for path in (folder / FOLDER).glob("*.png")}:
        return found
    raise DataError(
        f"{folder} holds neither {ARCHIVE} nor {FOLDER}: "
        f"git clone --depth 1 https://github.com/googlefonts/noto-emoji {folder}"
    )


def _attributes(names: Sequence[EmojiName]) -> tuple[tuple[Attribute, ...], Int64[np.ndarray, "n 3"]]:
    """The attributes, and their values for each name: those of people and hands, and of nothing else."""
    toned = {name.motif for name in names if name.tones and name.single}
    counted = Counter(name.motif for name in names if name.motif in toned)
    motifs = {motif: index for index, motif in enumerate(sorted(counted))}
    values = np.full((len(names), 3), -1, np.int64)
    for row, name in zip(values, names, strict=True):
        if name.motif in motifs and name.single:
            tone = SKIN_TONES.index(next(iter(name.tones), DEFAULT_TONE))
            row[:] = tone, PEOPLE.index(next(iter(name.genders), PEOPLE[0])), motifs[name.motif]
    said = tuple("_".join(motif) for motif in motifs)
    return (Attribute("skin_tone", SKIN_TONES), Attribute("gender", PEOPLE), Attribute("motif", said)), values


def _pictures(files: Sequence[bytes], config: DataConfig) -> UInt8[np.ndarray, "n size size 3"]:
    space = reading_space(config)

    def read(content: bytes) -> UInt8[np.ndarray, "size size 3"]:
        return read_picture(content, space, max_pixels=MAX_PIXELS)

    with ThreadPoolExecutor(reader_threads()) as pool:
        return np.stack(list(pool.map(read, files)))


def _split(count: int, config: DataConfig) -> list[Int64[np.ndarray, " part"]]:
    share = round(_HELD_OUT_SHARE * count)
    validation, test = config.validation_images or share, config.test_images or share
    if validation + test >= count:
        raise DataError(f"data.validation_images and data.test_images leave nothing to train on of {count:,} emoji")
    order = permutation(count, bit_generator(0, Purpose.SPLIT))
    return np.split(order, [count - validation - test, count - test])
