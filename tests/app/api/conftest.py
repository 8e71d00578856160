"""One running application on the tiny models, shared by the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.application import create_application
from app.settings import Settings
from tests.app.tiny_labelled import tiny_labelled
from tests.app.tiny_models import write_tiny_models, write_version


@pytest.fixture(scope="package")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with `tiny_vae/1`, `tiny_gan/1` and `tiny_labelled/1`; not to be changed."""
    root = tmp_path_factory.mktemp("models")
    write_tiny_models(root)
    write_version(root, tiny_labelled())
    return root


@pytest.fixture(scope="package")
def client(models_dir: Path) -> Iterator[TestClient]:
    """A client of the whole service."""
    with TestClient(create_application(Settings(models_dir=models_dir))) as found:
        yield found
