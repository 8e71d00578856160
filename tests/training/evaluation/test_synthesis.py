from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.latent.noise import standard_normal
from tests.training.tiny_runs import TINY_VAE, publish, train
from training.__main__ import main
from training.config import DataConfig
from training.data.datasets import load_splits
from training.data.splits import ImageSet
from training.evaluation.examples import compare, error_percent, train_classifier
from training.evaluation.published import PublishedGraphs, read_manifest
from training.evaluation.synthesis import class_folders, read_examples, synthesise


@pytest.fixture(scope="session")
def conditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version folder of a published conditional VAE."""
    folder = tmp_path_factory.mktemp("conditional")
    return publish(train(folder, TINY_VAE | {"name": "tiny_told"}, model={"conditional": True}), folder / "models")


def test_folder_holds_the_pictures_that_the_service_samples(conditional: Path, tmp_path: Path) -> None:
    manifest = read_manifest(conditional)
    graphs = PublishedGraphs.open(conditional, manifest)
    written = synthesise(graphs, manifest, tmp_path / "made", count=25, seed=4)
    assert written == {name: 3 if name in "01234" else 2 for name in "0123456789"}
    latent = standard_normal(4, [13], manifest.latent.size)  # picture 13 is of class 3
    expected = graphs.decode(latent, np.array([3]))[0, :, :, 0]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "made" / "3" / "000013.png")), expected)


def test_folder_is_read_as_a_labelled_data_set(conditional: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    assert main(["synthesise", str(conditional), "--count", "60", "--out", str(made), "--seed", "2"]) == 0
    data = load_splits(DataConfig(set="folder", folder=made, size=8))
    assert data.classes == tuple("0123456789")
    assert sum(map(len, (data.train, data.validation, data.test))) == 60
    examples, manifest = read_examples(made, read_manifest(conditional)), read_manifest(conditional)
    assert examples.labels is not None
    assert np.bincount(examples.labels).tolist() == [6] * 10
    graphs = PublishedGraphs.open(conditional, manifest)
    labels = np.arange(60) % 10
    expected = graphs.sample(60, latent_size=manifest.latent.size, seed=2, labels=labels)
    found = {(label, picture.tobytes()) for label, picture in zip(examples.labels, examples.pictures, strict=True)}
    assert found == {(label, picture.tobytes()) for label, picture in zip(labels, expected, strict=True)}


def test_examples_are_not_mixed_with_what_is_there(
    conditional: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.png").write_bytes(b"")
    assert main(["synthesise", str(conditional), "--count", "10", "--out", str(tmp_path)]) == 1
    assert "is not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_model_without_labels_makes_no_examples(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = models_dir / "tiny_vae" / "1"
    assert main(["synthesise", str(version), "--count", "10", "--out", str(tmp_path / "made")]) == 1
    assert "it takes no label" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def test_class_names_become_folders_that_stay_apart() -> None:
    assert class_folders(("T-shirt/top", ".hidden", "Bag")) == ["T-shirt-top", "hidden", "Bag"]
    assert class_folders(("a/b", "a:b")) == ["0 a-b", "1 a-b"]


def test_classifier_learns_from_the_examples_it_gets() -> None:
    """Real digits with true labels teach it; the same with labels moved on by one teach it to be wrong."""
    data = load_splits(DataConfig(set="digits", size=8))
    assert data.train.labels is not None
    honest = train_classifier(data.train, seed=0)
    assert error_percent(honest, data.test) < 8
    moved = ImageSet(data.train.pictures, (data.train.labels + 1) % 10)
    comparison = compare(moved.take(np.arange(400)), replace(data, test=data.test.take(np.arange(200))), seed=0)
    assert comparison.made > 90
    assert comparison.real < 15
    assert "trained on 400 made pictures" in str(comparison)
