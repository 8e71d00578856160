"""The emoji set, read from an archive of painted squares that is named as the project's pictures are."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from app.images.png import encode_png
from training.config import DataConfig
from training.data.emoji import CLASSES, EmojiName, load_emoji
from training.data.splits import DataError, ImageSet, fingerprint, without_classes

RUNNER, ROCKET = "1f3c3", "1f680"
TONES = ("", "_1f3fb", "_1f3fc", "_1f3fd", "_1f3fe", "_1f3ff")
RUNNERS = [f"emoji_u{RUNNER}{tone}{sign}.png" for tone in TONES for sign in ("", "_200d_2640", "_200d_2642")]
PILOTS = [f"emoji_u{adult}{tone}_200d_{ROCKET}.png" for tone in TONES for adult in ("1f468", "1f469", "1f9d1")]
OTHERS = ["emoji_u1f680.png", "emoji_u1f3fb.png", "emoji_u2640.png"]
TWO_TONES = "emoji_u1f469_1f3fb_200d_1f91d_200d_1f468_1f3ff.png"
NAMES = [*RUNNERS, *PILOTS, *OTHERS]
CONFIG = DataConfig(set="emoji", size=8, channels=3)


def written(root: Path) -> Path:
    """An archive in which every picture is of one colour, the place of its name."""
    folder = root / "noto_emoji"
    folder.mkdir()
    with zipfile.ZipFile(folder / "noto_emoji_png72.zip", "w") as archive:
        for place, name in enumerate([*NAMES, TWO_TONES]):
            archive.writestr(f"png/72/{name}", encode_png(np.full((8, 8, 3), place, np.uint8)))
        archive.writestr("png/72/README.txt", b"not a picture")
    return root


@pytest.mark.parametrize(
    ("name", "motif", "tones", "genders"),
    [
        ("emoji_u1f44b_1f3ff.png", ("1f44b",), ("dark",), ()),
        ("emoji_u1f468_1f3fb_200d_1f680.png", ("1f9d1", "1f680"), ("light",), ("man",)),
        ("emoji_u1f9d1_200d_1f680.png", ("1f9d1", "1f680"), (), ("person",)),
        ("emoji_u1f3c3_1f3fd_200d_2640_200d_27a1.png", ("1f3c3", "27a1"), ("medium",), ("woman",)),
        (TWO_TONES, ("1f9d1", "1f91d", "1f9d1"), ("light", "dark"), ("woman", "man")),
        ("emoji_u0023.png", ("0023",), (), ()),
    ],
)
def test_name_says_motif_tone_and_gender(
    name: str, motif: tuple[str, ...], tones: tuple[str, ...], genders: tuple[str, ...]
) -> None:
    assert EmojiName.parse(name) == EmojiName(motif, tones, genders)


def test_other_names_are_not_emoji() -> None:
    assert EmojiName.parse("README.md") is None


def everything(root: Path) -> tuple[ImageSet, list[str]]:
    """All pictures, and the name of each by its colour."""
    data = load_emoji(CONFIG, written(root))
    parts = (data.train, data.validation, data.test)
    attributes = [part.attributes for part in parts if part.attributes is not None]
    labels = [part.labels for part in parts if part.labels is not None]
    pictures = np.concatenate([part.pictures for part in parts])
    found = ImageSet(pictures, np.concatenate(labels), np.concatenate(attributes))
    return found, [NAMES[place] for place in pictures[:, 0, 0, 0]]


def test_every_picture_has_the_attributes_of_its_name(tmp_path: Path) -> None:
    images, names = everything(tmp_path)
    assert sorted(names) == sorted(NAMES)
    assert images.attributes is not None
    found = dict(zip(names, images.attributes.tolist(), strict=True))
    motifs = {value[2] for name, value in found.items() if name in PILOTS}
    assert found["emoji_u1f3c3_1f3ff_200d_2642.png"][:2] == [5, 1]
    assert found["emoji_u1f3c3.png"][:2] == [0, 0]
    assert found["emoji_u1f469_1f3fb_200d_1f680.png"][:2] == [1, 2]
    assert len(motifs) == 1
    assert motifs != {found["emoji_u1f3c3.png"][2]}
    assert all(found[name] == [-1, -1, -1] for name in OTHERS)


def test_class_is_gender_and_tone_or_other(tmp_path: Path) -> None:
    images, names = everything(tmp_path)
    assert images.labels is not None
    found = {name: CLASSES[label] for name, label in zip(names, images.labels, strict=True)}
    assert found["emoji_u1f3c3_1f3ff_200d_2642.png"] == "man dark"
    assert found["emoji_u1f9d1_200d_1f680.png"] == "person default"
    assert {found[name] for name in OTHERS} == {"other"}


def test_people_alone_are_the_set_without_its_first_class(tmp_path: Path) -> None:
    data = without_classes(load_emoji(CONFIG, written(tmp_path)), [0])
    assert len(data.train) + len(data.validation) + len(data.test) == len(RUNNERS) + len(PILOTS)
    assert data.train.attributes is not None
    assert len(data.train.attributes) == len(data.train)
    assert data.train.attributes.min() == 0


def test_repository_reads_as_its_archive(tmp_path: Path) -> None:
    archived = load_emoji(CONFIG, written(tmp_path))
    with zipfile.ZipFile(tmp_path / "noto_emoji" / "noto_emoji_png72.zip") as archive:
        archive.extractall(tmp_path / "cloned" / "noto_emoji")
    assert load_emoji(CONFIG, tmp_path / "cloned").sha256 == archived.sha256


def test_fingerprint_knows_attributes() -> None:
    pictures, labels = np.zeros((2, 2, 2, 3), np.uint8), np.zeros(2, np.int64)
    known = [ImageSet(pictures, labels, np.array(values)) for values in ([[0], [1]], [[1], [0]])]
    assert len({fingerprint(images) for images in (*known, ImageSet(pictures, labels))}) == 3


def test_missing_pictures_say_where_they_are_had(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="git clone"):
        load_emoji(CONFIG, tmp_path)


def test_grey_emoji_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.channels = 3"):
        load_emoji(DataConfig(set="emoji"), tmp_path)


def test_splits_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"test_images": len(NAMES)})
    with pytest.raises(DataError, match="leave nothing to train on"):
        load_emoji(config, written(tmp_path))
