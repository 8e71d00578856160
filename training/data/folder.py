"""Any folder of pictures as a data set, read by the code that the service reads uploads with.

Pictures are PNG, JPEG or WebP files anywhere below the folder; hidden files, hidden folders and other files are left
alone. Where every picture lies in one of several subfolders, the subfolders directly below are the classes.

The split follows the sha256 of a file's content: copies of one picture always share a split, renaming changes nothing,
and adding pictures moves none of the old ones, unless the config fixes the numbers of validation or test pictures.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from app.errors import RequestError
from app.images.raster import read_picture
from app.manifest import ImageSpace
from training.config import DataConfig
from training.data.fitting import MAX_PIXELS, reader_threads, reading_space
from training.data.progress import progress
from training.data.splits import DataError, DataSplits, ImageSet, fingerprint

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})
_MAX_FILE_BYTES = 256 << 20
_MIN_PICTURES = 10
_HELD_OUT_SHARE = 0.1


@dataclass(frozen=True, eq=False)
class _Picture:
    path: Path  # relative to the folder
    digest: bytes  # sha256 of the file
    pixels: UInt8[np.ndarray, "h w c"]


@dataclass(frozen=True)
class _Unreadable:
    path: Path
    reason: str


def load_folder(config: DataConfig) -> DataSplits:
    """The readable pictures of `config.folder`, split by their content; the others are listed in `skipped`.

    DataError when the folder is missing or holds fewer than 10 different readable pictures, or when the config's
    numbers leave nothing to train on.
    """
    if config.folder is None:
        raise DataError("data.folder must name the folder of pictures")
    folder = config.folder.expanduser()
    pictures, skipped = _read_all(folder, _picture_files(folder), reading_space(config))
    _refuse_few(folder, pictures, skipped)
    pictures.sort(key=lambda picture: (picture.digest, picture.path))  # mixes the classes, and ignores most renaming
    classes = _classes([picture.path for picture in pictures])
    images = ImageSet(np.stack([picture.pixels for picture in pictures]), _labels(pictures, classes))
    parts = _split([picture.digest for picture in pictures], config.validation_images, config.test_images)
    train, validation, test = (images.take(part) for part in parts)
    name, sha256 = folder.resolve().name or "folder", fingerprint(train, validation, test)
    return DataSplits(name, train, validation, test, classes, sha256, skipped)


def _picture_files(folder: Path) -> list[Path]:
    """Paths of the pictures (by suffix) below `folder`, sorted. DataError, with what is there, if there is none."""
    if not folder.is_dir():
        raise DataError(f"data.folder = {folder} is not a folder")
    files = list(_visible_files(folder))
    pictures = sorted(path.relative_to(folder) for path in files if path.suffix.lower() in _SUFFIXES)
    if not pictures:
        others = Counter(path.suffix.lower() or "no suffix" for path in files).most_common(5)
        found = ", ".join(f"{count} {suffix}" for suffix, count in others) or "nothing"
        raise DataError(
            f"{folder} holds no PNG, JPEG or WebP pictures, but {found}: convert them, or name another folder"
        )
    return pictures


def _visible_files(folder: Path) -> Iterator[Path]:
    """Files below `folder`, also behind symbolic links to folders, each folder once: links may form circles."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real not in seen:
            yield from (Path(parent, name) for name in files if not name.startswith("."))
        seen.add(real)


def _read_all(folder: Path, paths: Sequence[Path], space: ImageSpace) -> tuple[list[_Picture], tuple[str, ...]]:
    def read(path: Path) -> _Picture | _Unreadable:
        return _read(folder, path, space)

    with ThreadPoolExecutor(reader_threads()) as pool:
        results = list(progress(pool.map(read, paths), total=len(paths), doing=f"reading {folder.name}"))
    pictures = [result for result in results if isinstance(result, _Picture)]
    skipped = tuple(
        f"{_printable(result.path)}: {result.reason}" for result in results if isinstance(result, _Unreadable)
    )
    return pictures, skipped


def _read(folder: Path, path: Path, space: ImageSpace) -> _Picture | _Unreadable:
    try:
        if (size := (folder / path).stat().st_size) > _MAX_FILE_BYTES:
            return _Unreadable(path, f"the file is too large: {size:,} bytes, at most {_MAX_FILE_BYTES:,} are read")
        data = (folder / path).read_bytes()
        return _Picture(path, hashlib.sha256(data).digest(), read_picture(data, space, max_pixels=MAX_PIXELS))
    except OSError as error:
        return _Unreadable(path, error.strerror or str(error))
    except RequestError as error:
        return _Unreadable(path, error.detail)


def _printable(path: Path) -> str:
    """The path as text that any console takes: a name need not be valid UTF-8."""
    return os.fsencode(path).decode(errors="replace")


def _refuse_few(folder: Path, pictures: Sequence[_Picture], skipped: Sequence[str]) -> None:
    different = len({picture.digest for picture in pictures})
    if different < _MIN_PICTURES:
        reasons = "".join(f"\n  {reason}" for reason in skipped[:10])
        raise DataError(
            f"{folder} holds {different} different readable pictures, at least {_MIN_PICTURES} are needed; "
            f"{len(skipped)} files are unreadable{':' if skipped else ''}{reasons}"
        )


def _classes(paths: Sequence[Path]) -> tuple[str, ...] | None:
    """The subfolders that hold the pictures, sorted; None when there is one only, or a picture lies in none."""
    names = sorted({path.parts[0] for path in paths})
    return tuple(names) if len(names) > 1 and all(len(path.parts) > 1 for path in paths) else None


def _labels(pictures: Sequence[_Picture], classes: tuple[str, ...] | None) -> Int64[np.ndarray, " n"] | None:
    if classes is None:
        return None
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[picture.path.parts[0]] for picture in pictures], np.int64)


def _split(
    digests: Sequence[bytes], validation_images: int | None, test_images: int | None
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " validation"], Int64[np.ndarray, " test"]]:
    """The indices of the train, validation and test pictures."""
    copies = Counter(digests)
    test = _held_out(copies, word=0, share=_HELD_OUT_SHARE, wanted=test_images)
    rest = {digest: count for digest, count in copies.items() if digest not in test}
    of_rest = _HELD_OUT_SHARE / (1 - _HELD_OUT_SHARE)  # a tenth of the whole
    validation = _held_out(rest, word=1, share=of_rest, wanted=validation_images)
    if len(validation) == len(rest):
        raise DataError(
            f"data.validation_images and data.test_images leave nothing to train on: "
            f"the folder holds {len(copies)} different readable pictures"
        )
    place = np.array([2 if digest in test else 1 if digest in validation else 0 for digest in digests])
    return np.flatnonzero(place == 0), np.flatnonzero(place == 1), np.flatnonzero(place == 2)


def _held_out(copies: Mapping[bytes, int], *, word: int, share: float, wanted: int | None) -> frozenset[bytes]:
    """The digests whose 64-bit `word`, as a fraction, is below `share`, and at least one; or the smallest that hold
    `wanted` files between them. A digest's words are independent and uniform, so that this is a fair draw.
    """
    fraction = {digest: int.from_bytes(digest[8 * word : 8 * word + 8]) / 2**64 for digest in copies}
    ranked = sorted(copies, key=lambda digest: (fraction[digest], digest))
    if wanted is None:
        return frozenset([digest for digest in ranked if fraction[digest] < share] or ranked[:1])
    files_up_to = np.cumsum([copies[digest] for digest in ranked])
    return frozenset(ranked[: int(np.searchsorted(files_up_to, wanted)) + 1])
