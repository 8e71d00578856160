"""The file of named directions: what it refuses, and what it gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from app.directions import Directions
from app.errors import ModelRejected
from app.manifest import Tensor
from app.runtime.plan import Planner
from app.runtime.tuning import ByHand
from app.runtime.version import open_version, read_manifest
from tests.app.tiny_directions import ACROSS, DOWN, NAMED, write_tiny_directions
from tests.app.tiny_models import as_text


def test_names_lead_to_their_rows() -> None:
    again = Directions.model_validate_json(NAMED.model_dump_json())
    assert list(again.by_name) == ["across", "down"]
    np.testing.assert_array_equal(again.by_name["across"], ACROSS)
    np.testing.assert_array_equal(again.by_name["down"], DOWN)
    assert again.latent_size == 2


PLAN = ByHand(threads=1, lanes=1, max_batch_rows=64)
TWO_ROWS = as_text(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"directions": NAMED.directions[:1] * 2}, "names of their own"),
        ({"directions": (), "vectors": as_text(np.zeros((0, 2), np.float32))}, "there must be some"),
        ({"vectors": as_text(np.zeros((3, 2), np.float32))}, "2 rows"),
        ({"vectors": as_text(np.zeros((2, 2), np.int64))}, "float32"),
        ({"vectors": Tensor(dtype="float32", shape=(2, 4), base64=TWO_ROWS.base64)}, "6 numbers"),
        ({"vectors": as_text(np.full((2, 2), np.nan, np.float32))}, "not finite"),
    ],
)
def test_incoherent_directions_are_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Directions.model_validate(NAMED.model_copy(update=changes).model_dump())


def test_directions_of_another_latent_space_are_rejected(tmp_path: Path) -> None:
    wide = NAMED.model_copy(update={"vectors": TWO_ROWS})
    folder = write_tiny_directions(tmp_path, wide.model_dump_json())
    with pytest.raises(ModelRejected, match="3 numbers, a latent has 2"):
        open_version(
            folder,
            read_manifest(folder),
            Planner(PLAN, cores=1, cache_dir=None),
        )
