"""How a version comes to be: staged in a hidden folder, numbered, described, and let appear whole by one rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.manifest import Manifest
from training.config import ConfigError
from training.export.card import write_card
from training.loops.checkpoint import sync_folder


@contextmanager
def staging(models_dir: Path) -> Iterator[Path]:
    """A hidden folder beside the models, so that the rename stays on one file system; gone if anything fails."""
    models_dir.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".publishing-", dir=models_dir))
    staged.chmod(0o755)  # mkdtemp's 0700 would hide the version from a service that runs as another user
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def add_version(manifest: Manifest, staged: Path, models_dir: Path) -> Path:
    """Make what is staged the next version of its name, with its card and manifest; returns its folder.

    Raises ConfigError where another publication takes the number meanwhile.
    """
    target = models_dir / manifest.name
    manifest = manifest.model_copy(update={"version": next_version(target)})
    (staged / "card.md").write_text(write_card(manifest), encoding="utf-8")
    text = Manifest.model_validate(manifest.model_dump()).model_dump_json(indent=1)
    (staged / "manifest.json").write_text(text + "\n", encoding="utf-8")
    _sync(staged)
    target.mkdir(exist_ok=True)
    folder = target / str(manifest.version)
    try:
        staged.rename(folder)
    except OSError as error:
        raise ConfigError(f"{folder} appeared while this was published: publish again") from error
    sync_folder(target)
    return folder


def next_version(folder: Path) -> int:
    """One more than the newest version in a model's folder, which need not exist yet."""
    return 1 + max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=0)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    sync_folder(folder)
