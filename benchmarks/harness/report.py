"""Tables on the terminal, and the same tables in the documentation."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path


@dataclass(frozen=True)
class Bar:
    """A promise and what was measured of it."""

    promise: str
    measured: float
    bound: float
    at_least: bool
    unit: str = "×"

    @property
    def kept(self) -> bool:
        """Whether the measurement is on the right side."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    @property
    def row(self) -> list[str]:
        """For the table of bars."""
        sign = "≥" if self.at_least else "≤"
        bound = f"{sign} {self.bound:.3g} {self.unit}"
        return [self.promise, bound, f"{self.measured:.3g} {self.unit}", "yes" if self.kept else "NO"]


BAR_COLUMNS = ("bar", "bound", "measured", "kept")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A Markdown table whose source is aligned too: the first `texts` columns to the left, the numbers to the right."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    rule = [":" + "-" * (width - 1) if index < texts else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return "\n".join(_line(cells, widths, texts) for cells in (columns, rule, *rows))


def _line(cells: Sequence[str], widths: Sequence[int], texts: int) -> str:
    padded = [
        cell.ljust(width) if index < texts else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def bars(kept: Sequence[Bar]) -> str:
    """The table of bars."""
    return table(BAR_COLUMNS, [bar.row for bar in kept])


def circumstances(*packages: str) -> str:
    """When, on what kind of machine, and with which versions of `packages`."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    return (
        f"Measured {today} on {_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}; {versions}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "an unknown processor"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def publish(section: str, text: str, markdown: Path | None) -> None:
    """Print `text`; and, where a file is given, put it between the section's two markers there."""
    print(text, flush=True)
    if markdown is None:
        return
    start, end = f"<!-- {section} -->\n", f"<!-- /{section} -->"
    page = markdown.read_text() if markdown.exists() else ""
    if start not in page:
        page += f"\n{start}{end}\n"
    before, rest = page.split(start, 1)
    markdown.write_text(before + start + "\n" + text + "\n\n" + end + rest.split(end, 1)[1])
