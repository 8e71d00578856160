from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import ModelRejected
from app.runtime import plan as planning
from app.runtime.plan import CACHE_FILE, MOST_PLANS, PlanCache, Planner, default_cache_dir
from app.runtime.session import GraphSession
from app.runtime.tuning import ByHand, Measured, Plan
from app.runtime.version import open_version, read_manifest
from tests.app.tiny_models import tiny_vae, write_version

PLAN = Plan(threads=1, lanes=2, max_batch_rows=16)


@pytest.fixture
def session(tmp_path: Path) -> GraphSession:
    folder = write_version(tmp_path / "models", tiny_vae())
    signature = read_manifest(folder).graph("latent_to_image")
    return GraphSession.open(folder / signature.file, signature)


@pytest.fixture
def measurements(monkeypatch: pytest.MonkeyPatch) -> list[ByHand]:
    """One entry for each time that a graph was measured; what is found is PLAN."""
    made: list[ByHand] = []

    def measure(_session: object, _open: object, by_hand: ByHand, **_: object) -> Measured:
        made.append(by_hand)
        return Measured(PLAN, settled=True)

    monkeypatch.setattr(planning, "measure", measure)
    return made


def kept(*, lanes: object) -> dict[str, object]:
    """An entry of the file."""
    return {"plan": {"threads": 1, "lanes": lanes, "max_batch_rows": 1}, "settled": True, "measured_at": 0}


def plan_of(planner: Planner, session: GraphSession) -> Plan:
    """As a version does it."""
    return planner.known(session.signature.sha256) or planner.measured(session, lambda _: session, 1.0)


def test_graph_is_measured_once(session: GraphSession, measurements: list[ByHand], tmp_path: Path) -> None:
    for _ in range(2):
        assert plan_of(Planner(ByHand(), cores=2, cache_dir=tmp_path / "new" / "cache"), session) == PLAN
    assert len(measurements) == 1


def test_graph_measured_by_another_process_meanwhile_is_not_measured_again(
    session: GraphSession, measurements: list[ByHand], tmp_path: Path
) -> None:
    for _ in range(2):
        Planner(ByHand(), cores=2, cache_dir=tmp_path).measured(session, lambda _: session, 1.0)
    assert len(measurements) == 1


def test_other_circumstances_are_measured_anew(
    session: GraphSession, measurements: list[ByHand], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(by_hand: ByHand | None = None, *, cores: int = 2) -> None:
        plan_of(Planner(by_hand or ByHand(), cores=cores, cache_dir=tmp_path), session)

    plan()
    plan(cores=1)
    plan(ByHand(lanes=1))
    monkeypatch.setattr(planning, "RUNTIME", "onnxruntime 99")
    plan()
    monkeypatch.setattr(planning, "cpu_model", lambda: "Abacus")
    plan()
    assert len(measurements) == 5


def test_what_is_set_by_hand_is_not_measured(session: GraphSession, measurements: list[ByHand]) -> None:
    by_hand = ByHand(threads=2, lanes=3, max_batch_rows=5)
    assert plan_of(Planner(by_hand, cores=1, cache_dir=None), session) == Plan(2, 3, 5)
    assert not measurements


def test_measurement_of_a_busy_machine_holds_until_it_is_quiet(
    session: GraphSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    better = replace(PLAN, lanes=1)
    found = iter([Measured(PLAN, settled=False), Measured(better, settled=True)])
    monkeypatch.setattr(planning, "measure", lambda *_, **__: next(found))
    planner = Planner(ByHand(), cores=2, cache_dir=tmp_path)
    monkeypatch.setattr(planning, "is_quiet", lambda *_, **__: True)
    assert [plan_of(planner, session) for _ in range(2)] == [PLAN, PLAN]  # for a while even then
    monkeypatch.setattr(planning, "UNSETTLED_HOLDS_S", 0)
    monkeypatch.setattr(planning, "is_quiet", lambda *_, **__: False)
    assert [plan_of(planner, session) for _ in range(2)] == [PLAN, PLAN]
    monkeypatch.setattr(planning, "is_quiet", lambda *_, **__: True)
    assert [plan_of(planner, session) for _ in range(2)] == [better, better]


def test_start_on_a_busy_machine_spares_the_next_ones_the_look(
    session: GraphSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looks, now = [], time.time()

    def look(*_: object, **__: object) -> bool:
        looks.append(now)
        return False

    monkeypatch.setattr(planning, "measure", lambda *_, **__: Measured(PLAN, settled=False))
    monkeypatch.setattr(planning, "is_quiet", look)
    monkeypatch.setattr(planning.time, "time", lambda: now)
    planner = Planner(ByHand(), cores=2, cache_dir=tmp_path)
    assert (plan_of(planner, session), looks) == (PLAN, [])
    now += 2 * planning.UNSETTLED_HOLDS_S
    assert [plan_of(planner, session) for _ in range(3)] == [PLAN, PLAN, PLAN]
    assert looks == [now]


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", "[]", "{}", '{"KEY": 3}', '{"KEY": {"plan": 3}}', '{"KEY": {"plan": {"threads": 1}}}'],
)
def test_spoilt_cache_is_measured_over(
    session: GraphSession, measurements: list[ByHand], tmp_path: Path, text: str
) -> None:
    planner = Planner(ByHand(), cores=2, cache_dir=tmp_path)
    plan_of(planner, session)
    (key,) = json.loads((tmp_path / CACHE_FILE).read_text())
    (tmp_path / CACHE_FILE).write_text(text.replace("KEY", key))
    assert plan_of(planner, session) == PLAN
    assert len(measurements) == 2
    assert planner.known(session.signature.sha256) == PLAN


@pytest.mark.parametrize("nonsense", [0, -1, 1e9, 10**9, "2", None, 1.5])
def test_plan_that_makes_no_sense_is_none(tmp_path: Path, nonsense: object) -> None:
    (tmp_path / CACHE_FILE).write_text(json.dumps({"k": kept(lanes=nonsense)}))
    assert PlanCache(tmp_path).get("k") is None


def test_place_that_cannot_be_written_does_not_matter(
    session: GraphSession, measurements: list[ByHand], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for cache_dir in (None, tmp_path / "file", tmp_path / "file" / "cache"):
        assert plan_of(Planner(ByHand(), cores=2, cache_dir=cache_dir), session) == PLAN
    assert len(measurements) == 3


def test_cache_does_not_grow_for_ever(tmp_path: Path) -> None:
    old = {str(number): kept(lanes=1) for number in range(MOST_PLANS)}
    (tmp_path / CACHE_FILE).write_text(json.dumps(old))
    cache = PlanCache(tmp_path)
    cache.put("new", Measured(PLAN, settled=True))
    assert cache.get("new") == Measured(PLAN, settled=True)
    assert cache.get("0") is None
    assert len(json.loads((tmp_path / CACHE_FILE).read_text())) == MOST_PLANS
    assert list(tmp_path.iterdir()) == [tmp_path / CACHE_FILE]


def test_default_place_is_the_user_s_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "yet"))
    assert default_cache_dir() == tmp_path / "not" / "yet" / "latentserve"


def test_user_without_a_home_has_a_place_under_the_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert default_cache_dir().name == f"latentserve-{os.getuid()}"


def test_version_runs_its_graphs_as_planned(tmp_path: Path, measurements: list[ByHand]) -> None:
    folder = write_version(tmp_path, tiny_vae())
    planner = Planner(ByHand(), cores=2, cache_dir=tmp_path / "cache")
    for _ in range(2):
        version = open_version(folder, read_manifest(folder), planner)
        assert version.plans == dict.fromkeys(version.manifest.roles, PLAN)
    assert len(measurements) == len(version.manifest.graphs)


def test_version_that_must_not_be_served_is_not_measured(tmp_path: Path, measurements: list[ByHand]) -> None:
    folder = write_version(tmp_path, replace(tiny_vae(), preview=False))
    manifest = read_manifest(folder)
    golden = manifest.golden[0].model_copy(update={"inputs": manifest.golden[1].inputs})
    with pytest.raises(ModelRejected):
        open_version(
            folder,
            manifest.model_copy(update={"golden": (golden, *manifest.golden[1:])}),
            Planner(ByHand(), cores=2, cache_dir=None),
        )
    assert not measurements
