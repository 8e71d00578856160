"""The options that all commands share."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser(description: str | None, *, rounds: int = 3) -> argparse.ArgumentParser:
    """`--rounds`, `--quick` and `--markdown`."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=rounds, help="alternating rounds whose medians are printed")
    options.add_argument("--quick", action="store_true", help="one short round: to see that all runs, not how fast")
    options.add_argument("--markdown", type=Path, help="also write the tables into this file, between their markers")
    return options
