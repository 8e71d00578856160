from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.runtime.machine import cpu_model, interrupt_nobody, usable_cores

ALLOWED = len(os.sched_getaffinity(0))


def write(system: Path, files: dict[str, str]) -> Path:
    """A system's files under a root of its own."""
    for name, text in files.items():
        path = system / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return system


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", ALLOWED),
        ("50000 100000", 1),
        ("100000 100000", 1),
        (f"{ALLOWED * 100000} 100000", ALLOWED),
        ("9900000 100000", ALLOWED),
        ("nonsense", ALLOWED),
        ("", ALLOWED),
    ],
)
def test_cores_are_those_of_the_quota_at_least_one(tmp_path: Path, quota: str, cores: int) -> None:
    system = write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": quota})
    assert usable_cores(system) == cores


def test_quota_of_any_group_around_the_process_counts(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/pod/box\n", "sys/fs/cgroup/pod/cpu.max": "100000 100000"}
    assert usable_cores(write(tmp_path, files | {"sys/fs/cgroup/pod/box/cpu.max": "max 100000"})) == 1


@pytest.mark.parametrize(("quota", "cores"), [("-1", ALLOWED), ("100000", 1)])
def test_quota_of_the_first_version_counts(tmp_path: Path, quota: str, cores: int) -> None:
    group = "sys/fs/cgroup/cpu/cpu.cfs_"
    files = {f"{group}quota_us": f"{quota}\n", f"{group}period_us": "100000\n", "proc/self/cgroup": "4:cpu:/\n"}
    assert usable_cores(write(tmp_path, files)) == cores


def test_system_that_tells_nothing_has_its_cores(tmp_path: Path) -> None:
    assert usable_cores(tmp_path) == ALLOWED
    assert usable_cores() <= ALLOWED


def test_cpu_has_a_name(tmp_path: Path) -> None:
    system = write(tmp_path, {"proc/cpuinfo": "processor\t: 0\nmodel name\t: Abacus 3000 @ 1 Hz\n"})
    assert cpu_model(system) == "Abacus 3000 @ 1 Hz"
    assert isinstance(cpu_model(tmp_path / "nowhere"), str)


def test_thread_that_computes_interrupts_nobody_and_others_are_as_before() -> None:
    before = os.sched_getscheduler(0)
    with ThreadPoolExecutor(1, initializer=interrupt_nobody) as computing:
        assert computing.submit(os.sched_getscheduler, 0).result() == os.SCHED_BATCH
    assert os.sched_getscheduler(0) == before


def test_order_that_an_operator_chose_for_a_thread_stays() -> None:
    def chosen() -> int:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        interrupt_nobody()
        return os.sched_getscheduler(0)

    with ThreadPoolExecutor(1) as computing:
        assert computing.submit(chosen).result() == os.SCHED_IDLE
