from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import pytest

from tests.training.data.conftest import Mirror
from training.data.download import download
from training.data.splits import DataError

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def test_download_writes_the_file_and_nothing_else(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers["/a.gz"] = CONTENT

    download([f"{mirror.address}/a.gz"], tmp_path / "new" / "a.gz", sha256=SHA256)

    assert (tmp_path / "new" / "a.gz").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.gz"]


def test_download_stops_at_the_first_mirror_that_has_the_published_file(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers |= {"/tampered/a": b"<html>", "/cut/a": CONTENT[:-1], "/good/a": CONTENT, "/later/a": CONTENT}
    places = ["missing", "tampered", "cut", "good", "later"]

    download([f"{mirror.address}/{place}/a" for place in places], tmp_path / "a", sha256=SHA256)

    assert (tmp_path / "a").read_bytes() == CONTENT
    assert mirror.asked == ["/missing/a", "/tampered/a", "/cut/a", "/good/a"]


def test_download_that_fails_everywhere_says_why_and_leaves_nothing(mirror: Mirror, tmp_path: Path) -> None:
    mirror.answers["/wrong/a"] = b"something else"
    addresses = [f"{mirror.address}/wrong/a", f"{mirror.address}/missing/a", f"http://127.0.0.1:{_free_port()}/a"]

    with pytest.raises(DataError) as caught:
        download(addresses, tmp_path / "a", sha256=SHA256)

    lines = str(caught.value).splitlines()
    assert lines[0] == "could not download a:"
    assert "not the published file" in lines[1]
    assert "404" in lines[2]
    assert "refused" in lines[3]
    assert list(tmp_path.iterdir()) == []


def test_download_of_an_endless_answer_is_cut_off(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.download._MAX_BYTES", 100_000)
    mirror.answers["/a"] = CONTENT

    with pytest.raises(DataError, match="over 100,000 bytes"):
        download([f"{mirror.address}/a"], tmp_path / "a", sha256=SHA256)


def test_download_into_a_folder_that_cannot_be_made_says_which(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot make the folder"):
        download([], tmp_path / "file" / "a", sha256=SHA256)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
