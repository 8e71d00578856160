from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from training.config import DataConfig
from training.data import datasets
from training.data.datasets import DataError, load_splits
from training.data.mnist import FASHION_MNIST, MNIST


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LATENTSERVE_DATA_DIR", raising=False)
    monkeypatch.setattr(datasets, "MNIST", replace(MNIST, mirrors=()))
    monkeypatch.setattr(datasets, "FASHION_MNIST", replace(FASHION_MNIST, mirrors=()))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_named_sets_are_looked_for_in_their_folder_of_the_data_dir(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{name} is not in {tmp_path / name}")):
        load_splits(DataConfig.model_validate({"set": name}), tmp_path)


def test_data_dir_comes_from_the_environment_or_else_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=re.escape(f"mnist is not in {Path('data/mnist')}")):
        load_splits(DataConfig(set="mnist"))

    monkeypatch.setenv("LATENTSERVE_DATA_DIR", str(tmp_path / "shelf"))
    with pytest.raises(DataError, match=re.escape(f"mnist is not in {tmp_path / 'shelf' / 'mnist'}")):
        load_splits(DataConfig(set="mnist"))
    assert (tmp_path / "data" / "mnist").is_dir()
