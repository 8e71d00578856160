from __future__ import annotations

import struct

import numpy as np
import pytest

from training.data.idx import parse_idx
from training.data.splits import DataError


def test_idx_file_is_read_in_row_major_order() -> None:
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 2, 3) + bytes(range(12))

    array = parse_idx(content)

    assert array.dtype == np.uint8
    assert array.tolist() == [[[0, 1, 2], [3, 4, 5]], [[6, 7, 8], [9, 10, 11]]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "starts with"),
        (b"<html>not found</html>", "starts with 3c 68 74 6d"),
        (bytes([0, 0, 13, 1]) + struct.pack(">I", 1) + bytes(4), "unsigned bytes"),
        (bytes([0, 0, 8, 3, 0, 0]), "ends within its header"),
        (bytes([0, 0, 8, 2]) + struct.pack(">2I", 2, 3) + bytes(5), "states 2 by 3 bytes but holds 5"),
        (bytes([0, 0, 8, 1]) + struct.pack(">I", 2) + bytes(3), "states 2 bytes but holds 3"),
    ],
)
def test_idx_file_with_a_wrong_header_or_length_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_idx(content)
