"""Fetching a published file from the first mirror that has it, whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO
from urllib.request import urlopen

from tqdm import tqdm

from training.data.splits import DataError

_TIMEOUT_S = 30.0  # of silence, not of the whole download
_CHUNK_BYTES = 1 << 16
_MAX_BYTES = 64 << 20  # twice the largest file that is fetched: a mirror gone mad must not fill the disk


class _WrongContentError(Exception):
    """A mirror answered, but not with the published file."""


def download(addresses: Sequence[str], destination: Path, *, sha256: str) -> None:
    """Write to `destination` what the first of `addresses` answers that has this `sha256`.

    The file appears whole and checked, or not at all. DataError, with each address and its failure, when none works.
    """
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {destination.parent} for downloads: {error.strerror}") from error
    failures = []
    for address in addresses:
        try:
            return _fetch(address, destination, sha256)
        except (OSError, HTTPException, _WrongContentError) as error:
            failures.append(f"  {address}: {error}")
    raise DataError("\n".join([f"could not download {destination.name}:", *failures]))


def _fetch(address: str, destination: Path, sha256: str) -> None:
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            _check(_copy(address, file), sha256)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)


def _copy(address: str, file: BinaryIO) -> str:
    """Copy what `address` answers into `file`; returns its sha256."""
    digest = hashlib.sha256()
    with urlopen(address, timeout=_TIMEOUT_S) as answer:  # noqa: S310 (addresses are constants of ours, content is checked)
        length = int(answer.headers.get("Content-Length") or 0) or None
        with tqdm(desc=address.rpartition("/")[2], total=length, unit="B", unit_scale=True, disable=None) as bar:
            while chunk := answer.read(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
                if file.tell() > _MAX_BYTES:
                    raise _WrongContentError(f"the answer is over {_MAX_BYTES:,} bytes")
    return digest.hexdigest()


def _check(found: str, published: str) -> None:
    if found != published:
        raise _WrongContentError(f"the answer is not the published file (sha256 {found}, published {published})")
