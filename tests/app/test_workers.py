"""Slots of worker processes: one each, free again when a process is gone, numbers counted on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app import workers
from app.workers import WorkersCollector, living_workers, shared_folder

ROOT = Path(__file__).resolve().parents[2]

COUNTING = """
import sys
from app.workers import join_workers, take_place
from app.telemetry import Metrics

metrics = Metrics(join_workers(take_place()))
for line in sys.stdin:
    metrics.count_rejection("overloaded")
    metrics.graph_meter("a@1 latent_to_image").set_queue_rows(int(line))
    metrics.render()
    print("done", flush=True)
"""


class Worker:
    """A process that counts one rejection, and sets the rows that wait, for every number told."""

    def __init__(self, folder: Path) -> None:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = {"PROMETHEUS_MULTIPROC_DIR": str(folder)}
        self.popen = subprocess.Popen([sys.executable, "-c", COUNTING], cwd=ROOT, env=environment, **pipes)

    def tell(self, rows: int) -> None:
        """Returns when it has counted."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write(f"{rows}\n")
        self.popen.stdin.flush()
        assert self.popen.stdout.readline() == "done\n"

    def kill(self) -> None:
        """As the kernel does where memory is short."""
        self.popen.kill()
        with self.popen:
            pass


def numbers(folder: Path) -> dict[str, float]:
    """What is exposed of rejections and waiting rows."""
    samples = [sample for family in WorkersCollector(folder).collect() for sample in family.samples]
    wanted = ("latentserve_rejected_total", "latentserve_queue_rows")
    return {sample.name.removeprefix("latentserve_"): sample.value for sample in samples if sample.name in wanted}


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are read from /proc")
def test_worker_that_replaces_a_dead_one_counts_on_in_its_files(tmp_path: Path) -> None:
    crew = [Worker(tmp_path), Worker(tmp_path)]
    for worker in crew:
        worker.tell(5)
    assert numbers(tmp_path) == {"rejected_total": 2, "queue_rows": 10}
    assert set(living_workers(tmp_path)) == {worker.popen.pid for worker in crew}

    crew.pop(0).kill()
    assert numbers(tmp_path)["rejected_total"] == 2
    files = {path.name for path in tmp_path.iterdir()}
    crew.append(Worker(tmp_path))
    crew[-1].tell(1)
    assert numbers(tmp_path) == {"rejected_total": 3, "queue_rows": 6}  # the dead one's rows wait no longer
    assert {path.name for path in tmp_path.iterdir()} == files
    assert set(living_workers(tmp_path)) == {worker.popen.pid for worker in crew}
    for worker in crew:
        worker.kill()
    assert living_workers(tmp_path) == []


def test_files_that_are_only_just_opened_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "counter_0.db").touch()
    (tmp_path / "0.worker").touch()
    assert list(WorkersCollector(tmp_path).collect()) == []


def test_folder_goes_with_its_supervisor_or_with_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MEMORY", tmp_path)
    foreign = tmp_path / "latentserve-foreign"
    foreign.mkdir()
    killed = tmp_path / "latentserve-killed"
    killed.mkdir()
    (killed / "supervisor").touch()
    with shared_folder() as first, shared_folder() as second:
        assert set(tmp_path.iterdir()) == {foreign, first, second}
    assert set(tmp_path.iterdir()) == {foreign}
