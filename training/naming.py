"""The command that gives a published version named directions: `directions`."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.export.later_directions import add_directions
from training.measuring import open_version


def add_naming_options(command: argparse.ArgumentParser) -> None:
    """The options of `directions`."""
    command.add_argument("version_folder", type=Path, metavar="VERSION", help="a folder such as models/mnist_vae/4")
    command.add_argument(
        "--models-dir", type=Path, default=Path("models"), help="where the next version goes (default: models)"
    )


def name_directions(options: argparse.Namespace) -> int:
    """Make the next version of a published one, with the named directions that publication finds today.

    They are found from its files and the data that it was trained on; its graphs and its numbers stay. The old version
    stays too, until somebody removes it.
    """
    subject = open_version(options.version_folder, options.data_dir)
    folder = add_directions(options.version_folder, options.models_dir, subject.data)
    print(f"{folder}: {(folder / 'directions.json').stat().st_size / 1000:.0f} kB of directions")
    return 0
