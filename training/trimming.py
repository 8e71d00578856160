"""The commands that make a published version smaller: `trim` and `share`."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.export.sharing import share
from training.export.trimming import SPARE, trim


def add_trim_options(command: argparse.ArgumentParser) -> None:
    """The options of `trim`."""
    add_share_options(command)
    command.add_argument(
        "--without",
        nargs="+",
        default=[],
        choices=SPARE,
        metavar="ROLE",
        help=f"graphs that are left out, of {', '.join(SPARE)}",
    )
    command.add_argument("--map-points", type=int, metavar="N", help="points of the latent map that stay: its first N")


def add_share_options(command: argparse.ArgumentParser) -> None:
    """The options of `share`: which version, and where the next one goes."""
    command.add_argument("version_folder", type=Path, metavar="VERSION", help="a folder such as models/mnist_vae/4")
    command.add_argument(
        "--models-dir", type=Path, default=Path("models"), help="where the next version goes (default: models)"
    )


def trim_version(options: argparse.Namespace) -> int:
    """Make the next version of a published one with fewer graphs or a smaller map; its numbers stay.

    The old version stays too, until somebody removes it.
    """
    without, count = options.without, options.map_points
    return _say(
        options.version_folder, trim(options.version_folder, options.models_dir, without=without, map_points=count)
    )


def share_version(options: argparse.Namespace) -> int:
    """Make the next version of a published one, which keeps every weight once; its graphs and its numbers stay.

    The old version stays too, until somebody removes it.
    """
    return _say(options.version_folder, share(options.version_folder, options.models_dir))


def _say(old: Path, new: Path) -> int:
    before, after = (sum(path.stat().st_size for path in version.iterdir()) for version in (old, new))
    print(f"{new}: {after / 1e6:.2f} MB, before {before / 1e6:.2f} MB")
    return 0
