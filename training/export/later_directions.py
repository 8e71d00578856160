"""Named directions for a version that was published without: found from its own files, everything else the same bytes.

The next version has the same graphs, so that every number of its card is still of them.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from app.manifest import DirectionsFile
from training.config import ConfigError
from training.data.splits import DataSplits
from training.evaluation.direction_search import find_directions
from training.evaluation.published import PublishedGraphs, read_manifest
from training.export.first_layer import first_layer
from training.export.publish import DIRECTIONS_FILE
from training.export.versions import add_version, staging


def add_directions(version: Path, models_dir: Path, data: DataSplits) -> Path:
    """Make the next version of a published one, with its directions; returns its folder, the old one stays.

    Raises ConfigError where it has the very same ones already, or none can be found.
    """
    manifest = read_manifest(version)
    graphs = PublishedGraphs.open(version, manifest)
    found = find_directions(graphs, manifest, data, first_layer(manifest, version))
    if found is None:
        raise ConfigError(f"{version} makes no pictures of latents: there are no directions to find")
    content = found.model_dump_json().encode()
    file = DirectionsFile(file=DIRECTIONS_FILE, sha256=hashlib.sha256(content).hexdigest())
    if manifest.directions == file:
        raise ConfigError(f"{version} has these directions already")
    with staging(models_dir) as staged:
        for path in version.iterdir():
            shutil.copyfile(path, staged / path.name)
        (staged / DIRECTIONS_FILE).write_bytes(content)
        return add_version(manifest.model_copy(update={"directions": file}), staged, models_dir)
