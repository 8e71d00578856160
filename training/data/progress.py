"""Progress of reading and downloading, on a terminal only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_WORTH_A_BAR = 500


def progress(items: Iterable[Item], *, total: int, doing: str) -> Iterator[Item]:
    """The same items, with a bar on a terminal where there are so many that a person would wonder."""
    yield from tqdm(items, total=total, desc=doing, unit="", disable=None if total >= _WORTH_A_BAR else True)
