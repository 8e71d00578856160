"""The weights that graphs of a version share: one file of the version, read once and handed to the runtime in memory.

Such a graph holds the sha256 of the weights that it was made with, so that its own sha256 names both.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from app.errors import ModelRejected
from app.manifest import WeightsFile

WEIGHTS_SHA256 = "weights_sha256"
"""The key among a graph's `metadata_props` under which it names the weights that it shares."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The file that a manifest lists, and its content."""

    file: str
    sha256: str
    data: bytes = field(repr=False)


def read_weights(folder: Path, listed: WeightsFile | None) -> Weights | None:
    """What a version's graphs share, None where they share nothing.

    Raises ModelRejected where the file cannot be read or is not the one that is listed.
    """
    if listed is None:
        return None
    try:
        data = (folder / listed.file).read_bytes()
    except OSError as error:
        raise ModelRejected(f"{listed.file} cannot be read: {error.strerror}") from error
    if hashlib.sha256(data).hexdigest() != listed.sha256:
        raise ModelRejected(f"{listed.file}: its sha256 is not the manifest's")
    return Weights(listed.file, listed.sha256, data)
