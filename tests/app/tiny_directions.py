"""`tiny_vae` with named directions, as a publication writes them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from app.directions import Direction, Directions
from app.manifest import DirectionsFile
from tests.app.tiny_models import as_text, edit_manifest, tiny_vae, write_version

ACROSS, DOWN = np.array([0.5, 0.0], np.float32), np.array([-0.25, 2.0], np.float32)
NAMED = Directions(
    directions=(
        Direction(
            name="across",
            kind="supervised",
            method="by hand",
            attribute="tone=dark",
            effect=1.5,
            effect_standard_error=0.1,
            leakage=0.25,
            leaks_into="gender=man",
            unit="standard deviations",
        ),
        Direction(name="down", kind="factorised", method="by hand"),
    ),
    vectors=as_text(np.stack([ACROSS, DOWN])),
    protocol="none",
)


def write_tiny_directions(root: Path, named: str | None = None) -> Path:
    """Write `tiny_directed/1`, whose directions file says `named` or, unasked, `NAMED`. Returns its folder."""
    folder = write_version(root, tiny_vae("tiny_directed"))
    content = (named or NAMED.model_dump_json()).encode()
    (folder / "directions.json").write_bytes(content)
    listed = DirectionsFile(file="directions.json", sha256=hashlib.sha256(content).hexdigest())
    edit_manifest(folder, directions=listed.model_dump())
    return folder
