from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.tiny_models import write_tiny_models


@pytest.fixture
def tiny_root(tmp_path: Path) -> Path:
    """A model repository of its own for each test: `tiny_vae/1` and `tiny_gan/1`."""
    root = tmp_path / "models"
    write_tiny_models(root)
    return root
