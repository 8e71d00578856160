from __future__ import annotations

import numpy as np
import pytest

from app.runtime.evidence import SAMPLES_A_ROW, fold, unfold


@pytest.mark.parametrize("samples", [1, 15, 16, 17, 40, 64])
def test_folded_rows_hold_every_sample_once_and_come_back_in_order(samples: int) -> None:
    images = np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1)
    noise = np.random.default_rng(samples).standard_normal((3, samples, 2)).astype(np.float32)
    feeds = fold(images, noise)
    rows, length, _ = feeds["noise"].shape
    assert length <= SAMPLES_A_ROW
    assert rows == len(feeds["image"])
    terms = feeds["image"][:, 0, 0] * 100 + feeds["noise"].sum(axis=2)  # as a graph would: image and noise of one row
    np.testing.assert_array_equal(
        unfold({"term": terms}, 3, samples)["term"], images[:, 0, 0] * 100 + noise.sum(axis=2)
    )
