"""Folders of pictures. Each picture here is of one grey, which resizing keeps, so that a picture is told by it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.config import DataConfig
from training.data.datasets import DataError, DataSplits, ImageSet, load_splits


def _write(path: Path, grey: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).save(path)


def _write_many(folder: Path, greys: Iterable[int]) -> None:
    for grey in greys:
        _write(folder / f"{grey}.png", grey)


def _load(folder: Path, **options: object) -> DataSplits:
    return load_splits(DataConfig.model_validate({"set": "folder", "folder": folder, "size": 8, **options}))


def _greys(images: ImageSet) -> list[int]:
    return sorted(images.pictures[:, 4, 4, 0].tolist())


def _parts(splits: DataSplits) -> tuple[list[int], list[int], list[int]]:
    return _greys(splits.train), _greys(splits.validation), _greys(splits.test)


def _all_greys(splits: DataSplits) -> list[int]:
    train, validation, test = _parts(splits)
    return sorted(train + validation + test)


def test_every_picture_is_in_exactly_one_split(tmp_path: Path) -> None:
    _write_many(tmp_path, range(0, 200))
    splits = _load(tmp_path)

    assert _all_greys(splits) == list(range(200))
    assert 5 <= len(splits.validation) <= 35  # a tenth of 200, within 3.5 standard deviations
    assert 5 <= len(splits.test) <= 35


def test_adding_pictures_moves_none_of_the_old_ones(tmp_path: Path) -> None:
    _write_many(tmp_path, range(0, 100))
    before = _parts(_load(tmp_path))
    _write_many(tmp_path, range(100, 150))
    after = _parts(_load(tmp_path))
    assert all(set(old) <= set(new) for old, new in zip(before, after, strict=True))


def test_copies_of_a_picture_never_straddle_splits(tmp_path: Path) -> None:
    for copy in range(3):
        _write_many(tmp_path / f"copy{copy}", range(0, 60))
    train, validation, test = (set(part) for part in _parts(_load(tmp_path)))
    assert len(train | validation | test) == len(train) + len(validation) + len(test) == 60


def test_renaming_pictures_changes_nothing(tmp_path: Path) -> None:
    _write_many(tmp_path / "a", range(0, 30))
    _write_many(tmp_path / "b" / "deeper", range(0, 30))
    for number, path in enumerate(sorted((tmp_path / "b" / "deeper").iterdir())):
        path.rename(tmp_path / "b" / f"IMG_{number}.PNG")
    assert _load(tmp_path / "a").sha256 == _load(tmp_path / "b").sha256


def test_ten_pictures_have_validation_and_test_pictures(tmp_path: Path) -> None:
    for first in range(0, 100, 10):
        _write_many(tmp_path / str(first), range(first, first + 10))
        train, validation, test = _parts(_load(tmp_path / str(first)))
        assert len(train) + len(validation) + len(test) == 10
        assert min(len(train), len(validation), len(test)) >= 1


def test_numbers_of_held_out_pictures_are_as_configured(tmp_path: Path) -> None:
    _write_many(tmp_path, range(0, 40))
    splits = _load(tmp_path, validation_images=7, test_images=11)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [22, 7, 11]


@pytest.mark.parametrize("options", [{"test_images": 40}, {"validation_images": 25, "test_images": 15}])
def test_holding_out_every_picture_is_refused(tmp_path: Path, options: dict[str, int]) -> None:
    _write_many(tmp_path, range(0, 40))
    with pytest.raises(DataError, match="leave nothing to train on"):
        _load(tmp_path, **options)


def test_subfolders_with_pictures_are_the_classes(tmp_path: Path) -> None:
    _write_many(tmp_path / "dogs", range(0, 20))
    _write_many(tmp_path / "cats" / "indoors", range(100, 120))
    (tmp_path / "empty").mkdir()
    splits = _load(tmp_path)

    assert splits.classes == ("cats", "dogs")
    for images in (splits.train, splits.validation, splits.test):
        assert images.labels is not None
        assert images.labels.dtype == np.int64
        assert images.labels.tolist() == [int(grey < 100) for grey in images.pictures[:, 0, 0, 0].tolist()]


@pytest.mark.parametrize("other", ["dogs/200.png", "200.png"])
def test_one_subfolder_or_pictures_outside_mean_no_classes(tmp_path: Path, other: str) -> None:
    _write_many(tmp_path / "dogs", range(0, 20))
    _write(tmp_path / other, 200)
    splits = _load(tmp_path)
    assert splits.classes is None
    assert splits.train.labels is None


def test_all_three_formats_are_read_whatever_the_case_of_the_suffix(tmp_path: Path) -> None:
    names = [f"{stem}{suffix}" for stem in "abc" for suffix in (".png", ".JPG", ".jpeg", ".WebP", ".PNG")]
    for grey, name in enumerate(names):
        Image.new("RGB", (8, 8), (grey, 255 - grey, grey)).save(tmp_path / name)
    splits = _load(tmp_path, channels=3)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 15
    assert splits.skipped == ()


def test_hidden_and_other_files_are_left_alone(tmp_path: Path) -> None:
    _write_many(tmp_path, range(0, 12))
    _write(tmp_path / ".hidden.png", 200)
    _write(tmp_path / ".thumbnails" / "1.png", 201)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "old.bmp").write_bytes(b"BM")
    splits = _load(tmp_path)
    assert _all_greys(splits) == list(range(12))
    assert splits.skipped == ()


def test_unreadable_files_are_skipped_with_their_reasons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_many(tmp_path, range(0, 12))
    Image.effect_noise((64, 64), 50).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:1000])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "page.webp").write_text("<html>")
    _write(tmp_path / "wide.png", 1, (200, 100))
    monkeypatch.setattr("training.data.folder.MAX_PIXELS", 10_000)

    splits = _load(tmp_path)

    assert _all_greys(splits) == list(range(12))
    assert [reason.partition(": ")[0] for reason in splits.skipped] == [
        "cut.png", "empty.jpg", "gone.png", "page.webp", "wide.png",
    ]  # fmt: skip
    assert all(reason.partition(": ")[2] for reason in splits.skipped)
    assert "skipped 5 unreadable files" in splits.summary()


def test_files_too_large_to_be_pictures_are_skipped_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_many(tmp_path, range(0, 12))
    (tmp_path / "film.png").write_bytes(bytes(100_001))
    monkeypatch.setattr("training.data.folder._MAX_FILE_BYTES", 100_000)
    assert _load(tmp_path).skipped == ("film.png: the file is too large: 100,001 bytes, at most 100,000 are read",)


def test_names_that_are_not_utf8_are_reported_printably(tmp_path: Path) -> None:
    _write_many(tmp_path, range(0, 12))
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")).touch()
    (skipped,) = _load(tmp_path).skipped
    assert skipped.startswith("caf\ufffd.png: ")


def test_linked_folders_are_read_and_circles_end(tmp_path: Path) -> None:
    _write_many(tmp_path / "elsewhere", range(0, 12))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    splits = _load(tmp_path / "set")
    assert _all_greys(splits) == list(range(12))


def test_pictures_are_fitted_to_the_runs_size_channels_and_background(tmp_path: Path) -> None:
    for number in range(12):
        picture = Image.new("RGBA", (30 + number, 20), (255, 0, 0, 255))
        picture.putpixel((0, 0), (0, 0, 0, 0))
        picture.save(tmp_path / f"{number}.png")
    splits = _load(tmp_path, size=16, channels=3, background=(0, 0, 255))
    assert splits.train.pictures.shape[1:] == (16, 16, 3)
    assert splits.train.pictures[0, 0, 8].tolist() == [0, 0, 255]  # above a wide picture
    assert splits.train.pictures[0, 8, 8].tolist() == [255, 0, 0]


def test_too_few_different_pictures_are_refused_with_the_reasons(tmp_path: Path) -> None:
    _write_many(tmp_path / "a", range(0, 9))
    _write_many(tmp_path / "b", range(0, 9))
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(
        DataError, match=r"9 different readable pictures, at least 10 .* 1 files are unreadable:\n  broken"
    ):
        _load(tmp_path)


def test_folder_without_pictures_says_what_is_there(tmp_path: Path) -> None:
    for name in ("a.heic", "b.HEIC", "c.tif"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"no PNG, JPEG or WebP pictures, but 2 \.heic, 1 \.tif"):
        _load(tmp_path)


def test_missing_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        _load(tmp_path / "nowhere")
