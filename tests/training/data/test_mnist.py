"""The published sets, on a small set of the same form: 30 training and 12 test pictures of 28 × 28."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.conftest import Mirror
from training.config import DataConfig
from training.data.mnist import FASHION_MNIST, MNIST, PublishedFile, PublishedSet, load_published
from training.data.splits import DataError

TRAIN = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
TEST = np.random.default_rng(1).integers(0, 256, (12, 28, 28), dtype=np.uint8)
TRAIN_LABELS, TEST_LABELS = np.arange(30, dtype=np.uint8) % 10, np.arange(12, dtype=np.uint8) % 10
CONFIG = DataConfig(set="mnist", validation_images=10)
ARRAYS = {
    "train-images-idx3-ubyte": TRAIN,
    "train-labels-idx1-ubyte": TRAIN_LABELS,
    "t10k-images-idx3-ubyte": TEST,
    "t10k-labels-idx1-ubyte": TEST_LABELS,
}


def _unpacked(name: str) -> bytes:
    array = ARRAYS[name]
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _packed(name: str) -> bytes:
    return gzip.compress(_unpacked(name), mtime=0)


def _small_set(*mirrors: str) -> PublishedSet:
    files = [
        PublishedFile(name, hashlib.sha256(_packed(name)).hexdigest(), hashlib.sha256(_unpacked(name)).hexdigest())
        for name in ARRAYS
    ]
    return PublishedSet("small", tuple("0123456789"), mirrors, *files)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "small").mkdir()
    for name in ARRAYS:
        (tmp_path / "small" / f"{name}.gz").write_bytes(_packed(name))
    return tmp_path


def test_validation_is_the_end_of_the_published_training_set(data_dir: Path) -> None:
    splits = load_published(_small_set(), CONFIG, data_dir)

    np.testing.assert_array_equal(splits.train.pictures[..., 0], TRAIN[:20])
    np.testing.assert_array_equal(splits.validation.pictures[..., 0], TRAIN[20:])
    np.testing.assert_array_equal(splits.test.pictures[..., 0], TEST)
    np.testing.assert_array_equal(splits.validation.labels, TRAIN_LABELS[20:])
    np.testing.assert_array_equal(splits.test.labels, TEST_LABELS)


def test_unpacked_files_give_the_same_data(data_dir: Path) -> None:
    from_packed = load_published(_small_set(), CONFIG, data_dir)
    for name in ARRAYS:
        (data_dir / "small" / f"{name}.gz").unlink()
        (data_dir / "small" / name).write_bytes(_unpacked(name))
    assert load_published(_small_set(), CONFIG, data_dir).sha256 == from_packed.sha256


@pytest.mark.parametrize("packed", [True, False])
def test_damaged_file_is_refused_by_name(data_dir: Path, packed: bool) -> None:
    file = data_dir / "small" / "t10k-images-idx3-ubyte.gz"
    if not packed:
        file = file.rename(file.with_suffix(""))
        file.write_bytes(_unpacked(file.name))
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)

    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.* is damaged .* delete it"):
        load_published(_small_set(), CONFIG, data_dir)


def test_missing_files_are_downloaded_once(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers = {f"/files/{name}.gz": _packed(name) for name in ARRAYS}
    source = _small_set(f"{mirror.address}/gone/", f"{mirror.address}/files/")

    first = load_published(source, CONFIG, tmp_path)
    requests = len(mirror.asked)
    second = load_published(source, CONFIG, tmp_path)

    assert first.sha256 == second.sha256
    assert len(mirror.asked) == requests == 8
    assert sorted(path.name for path in (tmp_path / "small").iterdir()) == sorted(f"{name}.gz" for name in ARRAYS)


def test_missing_files_without_a_network_say_where_to_put_them(mirror: Mirror, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_published(_small_set(f"{mirror.address}/"), CONFIG, tmp_path)

    message = str(caught.value)
    assert str(tmp_path / "small") in message
    assert "404" in message
    assert all(f"{name}.gz" in message for name in ARRAYS)
    assert "LATENTSERVE_DATA_DIR" in message


def test_some_test_pictures_are_a_fixed_choice_with_their_labels(data_dir: Path) -> None:
    config = CONFIG.model_copy(update={"test_images": 5})
    first, second = (load_published(_small_set(), config, data_dir) for _ in range(2))

    assert len(first.test) == 5
    assert first.sha256 == second.sha256
    by_content = {TEST[index].tobytes(): int(TEST_LABELS[index]) for index in range(12)}
    assert first.test.labels is not None
    assert [by_content[picture.tobytes()] for picture in first.test.pictures] == first.test.labels.tolist()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"validation_images": 30}, "validation_images = 30"), ({"test_images": 13}, "has 12 pictures")],
)
def test_splits_beyond_the_set_are_refused(data_dir: Path, changes: dict[str, int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_published(_small_set(), CONFIG.model_copy(update=changes), data_dir)


def test_pictures_are_fitted_to_the_runs_size_and_channels(data_dir: Path) -> None:
    colour = load_published(_small_set(), CONFIG.model_copy(update={"channels": 3}), data_dir)
    np.testing.assert_array_equal(colour.test.pictures, np.stack([TEST] * 3, axis=-1))

    larger = load_published(_small_set(), CONFIG.model_copy(update={"size": 32, "channels": 3}), data_dir)
    assert larger.train.pictures.shape == (20, 32, 32, 3)


@pytest.mark.parametrize("source", [MNIST, FASHION_MNIST])
def test_published_sets_name_four_different_files_each_with_two_sums(source: PublishedSet) -> None:
    files = [source.train_pictures, source.train_labels, source.test_pictures, source.test_labels]
    sums = {value for file in files for value in (file.packed_sha256, file.unpacked_sha256)}
    assert [file.name for file in files] == list(ARRAYS)
    assert len(sums) == 8
    assert all(len(value) == 64 for value in sums)
    assert len(source.classes) == 10
    assert all(mirror.endswith("/") for mirror in source.mirrors)
