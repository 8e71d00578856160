"""A version that offers less and weighs less: graphs that only spare abilities need are left out, the others stay.

The graphs that stay answer the same to the last bit, so that nothing has to be measured again: every number of the card
is of them. Their files change where they share weights: what only left-out graphs read is gone.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from app.manifest import GraphRole, Manifest, MapFile
from training.config import ConfigError
from training.evaluation.published import read_manifest
from training.export.latent_points import first_points
from training.export.sharing import shared_again
from training.export.versions import add_version, staging

SPARE: tuple[GraphRole, ...] = (
    "latent_gradient",
    "latent_to_evidence",
    "latent_to_noise",
    "latent_to_pixel_evidence",
    "latent_to_prior",
)
"""Roles that no other part of a manifest leans on, and no number on a card."""


def trim(version: Path, models_dir: Path, *, without: Sequence[GraphRole], map_points: int | None = None) -> Path:
    """Make the next version of a published one, without these graphs and with the first `map_points` of its map.

    Returns its folder; the old one stays. Raises ConfigError where a graph is not there or not spare, or nothing would
    change, and what `shared_again` raises.
    """
    manifest = read_manifest(version)
    _refuse(manifest, version, without)
    with staging(models_dir) as staged:
        left_out = {manifest.graph(role).file for role in without}
        for path in version.iterdir():
            if path.name not in left_out:
                shutil.copyfile(path, staged / path.name)
        trimmed = _without(manifest, without)
        if manifest.map and map_points:
            trimmed = trimmed.model_copy(update={"map": _shorter(staged, manifest.map, map_points)})
        if trimmed == manifest:
            raise ConfigError(f"{version} would stay as it is: nothing to leave out")
        return add_version(shared_again(trimmed, version, staged), staged, models_dir)


def _refuse(manifest: Manifest, version: Path, without: Sequence[GraphRole]) -> None:
    if missing := sorted(set(without) - manifest.roles):
        raise ConfigError(f"{version} has no {', '.join(missing)}")
    if needed := sorted(set(without) - set(SPARE)):
        raise ConfigError(f"{', '.join(needed)} cannot be left out; these can: {', '.join(SPARE)}")


def _without(manifest: Manifest, roles: Sequence[GraphRole]) -> Manifest:
    return manifest.model_copy(
        update={
            "graphs": tuple(graph for graph in manifest.graphs if graph.role not in roles),
            "golden": tuple(case for case in manifest.golden if case.role not in roles),
            "parity_error": {role: error for role, error in manifest.parity_error.items() if role not in roles},
        }
    )


def _shorter(staged: Path, old: MapFile, count: int) -> MapFile:
    content = first_points((staged / old.file).read_bytes(), count)
    (staged / old.file).write_bytes(content)
    return MapFile(file=old.file, sha256=hashlib.sha256(content).hexdigest())
