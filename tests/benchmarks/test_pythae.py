"""How the trainings of both sides become a table; what trains them is tried by the benchmark itself."""

from __future__ import annotations

import re

from benchmarks.pythae import Trained, best, report
from training.evaluation.bounds import Average

OURS = [
    Trained(1e-3, 3000.0, Average(99.0, 0.5)),
    Trained(3e-3, 2000.0, Average(92.0, 0.7)),
    Trained(1e-3, 2500.0, Average(98.0, 0.8)),
    Trained(3e-3, 2500.0, Average(93.0, 0.6)),
]
THEIRS = [Trained(1e-3, 1000.0, Average(94.0, 0.7)), Trained(3e-3, 1500.0, Average(95.0, 0.9))]


def test_best_is_of_the_better_rate_and_the_median_of_its_rounds() -> None:
    assert best(OURS) == Average(92.5, 0.7)
    assert best(THEIRS) == Average(94.0, 0.7)


def test_report_shows_every_rate_and_compares_the_better_ones() -> None:
    text = report(OURS, THEIRS, 4, "pythae 0")
    assert re.search(r"LatentServe +\| +2,500 \| +98\.50 ± 0\.80 \| +92\.50 ± 0\.70", text)
    assert re.search(r"pythae +\| +1,250 \| +94\.00 ± 0\.70 \| +95\.00 ± 0\.90", text)
    assert re.search(r"nats below pythae's +\| ≥ 0 nats \| 1\.5 nats", text)
    assert "nats at 0.001" in text
    assert "nats at 0.003" in text
