"""Versions that are opened before there is a repository to hold them."""

from __future__ import annotations

from pathlib import Path

from app.errors import ModelRejected
from app.runtime.plan import Planner
from app.runtime.repository import Fingerprint, Key, scan
from app.runtime.version import Version, open_version, read_manifest


def open_early(root: Path, planner: Planner) -> dict[Key, tuple[Fingerprint, Version]]:
    """The versions under `root` that open without measuring anything.

    What fails is left out: the repository tries again, and says why.
    """
    opened = {}
    for key, fingerprint in sorted(scan(root).items()):
        folder = root / key[0] / str(key[1])
        try:
            manifest = read_manifest(folder)
            if all(planner.known(graph.sha256) for graph in manifest.graphs):
                opened[key] = (fingerprint, open_version(folder, manifest, planner))
        except ModelRejected:
            continue
    return opened
