from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import torch
from torch.testing import assert_close

from training.loops import checkpoint
from training.loops.checkpoint import CheckpointClock, load_checkpoint, save_checkpoint


def test_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    net = torch.nn.Linear(3, 2)
    save_checkpoint(tmp_path / "c.pt", {"step": 7, "net": net.state_dict()})
    state = load_checkpoint(tmp_path / "c.pt")
    assert state["step"] == 7
    assert_close(state["net"], dict(net.state_dict()), rtol=0, atol=0)


def test_crash_while_writing_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path / "c.pt", {"step": 1})

    def torn(state: dict[str, Any], file: BinaryIO) -> None:
        file.write(b"half of a")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path / "c.pt", {"step": 2})
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "c.pt") == {"step": 1}
    save_checkpoint(tmp_path / "c.pt", {"step": 3})  # what the crash left is in nobody's way
    assert load_checkpoint(tmp_path / "c.pt") == {"step": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_checkpoint_is_on_disk_before_it_takes_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "c.pt", []
    monkeypatch.setattr(checkpoint.os, "fsync", lambda _: synced.append(path.exists()))
    save_checkpoint(path, {"step": 1})
    assert synced == [False, True]  # the file, then the folder that names it


def test_loading_executes_nothing(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit",))

    torch.save({"step": Trap()}, tmp_path / "c.pt")
    with pytest.raises(pickle.UnpicklingError):
        load_checkpoint(tmp_path / "c.pt")


def test_clock_is_due_once_every_so_many_seconds_of_laps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock, laps, due = CheckpointClock(2.5), [], []
    for seconds in (1, 1, 1, 1, 1, 0.5, 4):
        now += seconds
        laps.append(clock.lap())
        due.append(clock.due())
    assert laps == [1, 1, 1, 1, 1, 0.5, 4]
    assert due == [False, False, True, False, False, True, True]
