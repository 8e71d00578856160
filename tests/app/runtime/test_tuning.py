from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.runtime import tuning
from app.runtime.evidence import SAMPLES_A_ROW
from app.runtime.session import GraphSession
from app.runtime.tuning import LARGEST_BATCH_ROWS, ByHand, Plan, example_feeds, measure
from tests.app.runtime.test_session import deep_decoder
from tests.app.tiny_models import LinearGaussian, graph_signature, linear_decoder, linear_evidence

Open = Callable[[int], GraphSession]


def opener(folder: Path, proto: onnx.ModelProto) -> Open:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "latent_to_image.onnx"
    onnx.save(proto, path)
    signature = graph_signature(folder, "latent_to_image")
    return lambda threads: GraphSession.open(path, signature, threads=threads)


@pytest.fixture
def deep(tmp_path: Path) -> Open:
    return opener(tmp_path, deep_decoder())


def rated(rate: Callable[[tuning._Candidate], float]) -> Callable[..., None]:
    """In place of trying: candidates are as fast as told."""

    def told(candidates: list[tuning._Candidate], *_: object) -> None:
        for candidate in candidates:
            candidate.rate = rate(candidate)

    return told


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else the machine does, it counts as quiet."""
    monkeypatch.setattr(tuning, "QUIET", 0.0)


def plan_of(open_session: Open, by_hand: ByHand | None = None, *, cores: int = 2, budget_s: float = 30) -> Plan:
    by_hand = by_hand or ByHand()
    return measure(open_session(by_hand.plain_threads), open_session, by_hand, cores=cores, budget_s=budget_s).plan


def test_dense_graph_gets_one_lane_and_large_batches(tmp_path: Path) -> None:
    plan = plan_of(opener(tmp_path, linear_decoder(LinearGaussian())))
    assert (plan.threads, plan.lanes) == (1, 1)
    assert plan.max_batch_rows >= 16


@pytest.mark.usefixtures("quiet")
def test_convolutional_graph_gets_what_fits_the_cores(deep: Open) -> None:
    plan = plan_of(deep)
    assert plan.threads * plan.lanes <= 2
    assert 1 <= plan.max_batch_rows <= LARGEST_BATCH_ROWS


def test_busy_machine_is_told_and_lanes_follow_the_rule(deep: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "QUIET", 2.0)
    found = measure(deep(1), deep, ByHand(), cores=4, budget_s=30)
    assert (found.settled, found.plan.threads, found.plan.lanes) == (False, 1, 4)


def test_quiet_machine_is_told_from_a_busy_one(deep: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "QUIET", 0.0)
    assert tuning.is_quiet(deep(1), cores=2)
    monkeypatch.setattr(tuning, "QUIET", 2.0)
    assert not tuning.is_quiet(deep(1), cores=2)


def test_machine_without_a_core_for_each_lane_is_not_quiet(deep: Open) -> None:
    cores = len(os.sched_getaffinity(0))
    found = measure(deep(1), deep, ByHand(lanes=4 * cores), cores=4 * cores, budget_s=30)
    assert (found.settled, found.plan.lanes) == (False, 4 * cores)


def test_one_core_leaves_nothing_to_choose_but_the_batch(deep: Open) -> None:
    found = measure(deep(1), deep, ByHand(), cores=1, budget_s=30)
    assert (found.settled, found.plan.threads, found.plan.lanes) == (True, 1, 1)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    ("by_hand", "field", "value"),
    [
        (ByHand(threads=2), "threads", 2),
        (ByHand(lanes=3), "lanes", 3),
        (ByHand(max_batch_rows=5), "max_batch_rows", 5),
        (ByHand(max_batch_rows=100), "max_batch_rows", 100),
    ],
)
def test_what_is_set_by_hand_stays(deep: Open, by_hand: ByHand, field: str, value: int) -> None:
    assert getattr(plan_of(deep, by_hand, budget_s=0.2), field) == value


@pytest.mark.usefixtures("quiet")
def test_threads_that_change_a_byte_are_refused(tmp_path: Path, deep: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    # More threads are made to look ever so fast; only their answers speak against them.
    monkeypatch.setattr(tuning, "_try", rated(lambda candidate: candidate.threads**3))
    assert plan_of(deep, ByHand(lanes=1)).threads == 2
    proto = deep_decoder()
    proto.graph.node[-1].op_type = "HardSigmoid"
    other = opener(tmp_path / "other", proto)
    found = measure(deep(1), other, ByHand(lanes=1), cores=2, budget_s=30)
    assert found.plan.threads == 1


@pytest.mark.usefixtures("quiet")
def test_gain_must_be_clear(deep: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_try", rated(lambda candidate: 1 + 0.1 * (candidate.lanes - 1)))
    assert plan_of(deep).lanes == 1
    monkeypatch.setattr(tuning, "_try", rated(lambda candidate: 1 + 0.5 * (candidate.lanes - 1)))
    assert plan_of(deep).lanes == 2


def test_measuring_keeps_to_its_time(deep: Open) -> None:
    session, began = deep(1), time.thread_time()
    measure(session, deep, ByHand(), cores=2, budget_s=0.05)
    assert time.thread_time() - began < 0.5


def test_examples_fit_the_signature(tmp_path: Path) -> None:
    path = tmp_path / "image_to_evidence.onnx"
    onnx.save(linear_evidence(LinearGaussian()), path)
    session = GraphSession.open(path, graph_signature(tmp_path, "image_to_evidence"))
    feeds = example_feeds(session.signature, 3)
    assert feeds["noise"].shape == (3, SAMPLES_A_ROW, 2)
    assert session.run(feeds)["log_prior"].shape == (3, SAMPLES_A_ROW)
    assert {array.dtype for array in feeds.values()} == {np.dtype(np.float32)}
