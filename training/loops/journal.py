"""What a run tells while it goes: a progress bar, a JSONL journal, and TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training.loops.schedule import Plan

FILE = "journal.jsonl"


class Journal:
    """One line of JSON for each record, the same numbers in TensorBoard, and the latest beside the progress bar.

    Resuming at `done_steps` drops the records of steps that are about to be taken again.
    """

    def __init__(self, folder: Path, plan: Plan, *, done_steps: int, progress: bool) -> None:
        _forget_after(folder / FILE, done_steps)
        self._file = (folder / FILE).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done_steps)
        self._bar = tqdm(
            total=plan.total_steps * plan.batch_size,
            initial=done_steps * plan.batch_size,
            unit="img",
            unit_scale=True,
            disable=not progress,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self._batch_size = plan.batch_size

    def advance(self) -> None:
        """One optimisation step is done."""
        self._bar.update(self._batch_size)

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Write the numbers of `step` down, everywhere."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._bar.set_postfix_str(" ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def say(self, step: int, text: str) -> None:
        """Write down, and on the console, what somebody ought to read."""
        self._file.write(json.dumps({"step": step, "said": text}, ensure_ascii=False) + "\n")
        self._file.flush()
        self._board.add_text("said", text, step)
        self._bar.write(f"step {step}: {text}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.close()
        self._board.close()
        self._file.close()


def _forget_after(path: Path, step: int) -> None:
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
    beside = path.with_suffix(".partial")
    beside.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    beside.replace(path)


def _step_of(line: str) -> float:
    """The step of a record; infinite for the half line that a kill leaves behind."""
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")
