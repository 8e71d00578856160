from __future__ import annotations

import json
from pathlib import Path

from training.loops.journal import FILE, Journal
from training.loops.schedule import Plan

PLAN = Plan(images=20, batch_size=4, epochs=10, seed=0)


def test_journal_writes_each_record_as_it_comes(tmp_path: Path) -> None:
    with _journal(tmp_path) as journal:
        journal.record(5, {"elbo_nats": -1.5})
        assert _records(tmp_path) == [{"step": 5, "elbo_nats": -1.5}]  # before it is closed: a kill loses nothing
        journal.record(10, {"elbo_nats": -1.25})
    assert [record["step"] for record in _records(tmp_path)] == [5, 10]


def test_resumed_journal_forgets_the_steps_that_are_taken_again_and_the_half_line_of_a_kill(tmp_path: Path) -> None:
    with _journal(tmp_path) as journal:
        for step in (5, 10, 15, 20):
            journal.record(step, {"elbo_nats": -float(step)})
    with (tmp_path / FILE).open("a", encoding="utf-8") as file:
        file.write('{"step": 1, "elbo')
    with _journal(tmp_path, done_steps=12) as journal:
        journal.record(15, {"elbo_nats": 0.0})
    assert [(r["step"], r["elbo_nats"]) for r in _records(tmp_path)] == [(5, -5.0), (10, -10.0), (15, 0.0)]


def test_fresh_run_starts_an_empty_journal(tmp_path: Path) -> None:
    with _journal(tmp_path) as journal:
        journal.record(5, {"elbo_nats": -1.0})
    with _journal(tmp_path):
        pass
    assert _records(tmp_path) == []


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    with _journal(tmp_path) as journal:
        journal.record(5, {"elbo_nats": -1.5})
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"elbo_nats" in events.read_bytes()


def _journal(folder: Path, done_steps: int = 0) -> Journal:
    return Journal(folder, PLAN, done_steps=done_steps, progress=False)


def _records(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / FILE).read_text(encoding="utf-8").splitlines()]
