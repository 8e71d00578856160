"""What the comparison with the peers measured, and what it says."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import median

from benchmarks.harness.bare import Arrangement
from benchmarks.harness.contenders import LATENTSERVE, Contender
from benchmarks.harness.load import Load
from benchmarks.harness.models import Model
from benchmarks.harness.report import Bar, bars, circumstances, table
from benchmarks.harness.wires import Wire

Cell = tuple[int, int]
"""(clients, latents a request)."""

BATCHES = (1, 8, 32, 64)
CLIENTS = (1, 8, 64)
ONE_WORKER, TWO_WORKERS = f"{LATENTSERVE}, 1 worker", f"{LATENTSERVE}, 2 workers"
BYTES, NPY = "JSON → bytes", "npy → npy"


@dataclass(frozen=True)
class Entry:
    """Whose number it is: one server, one form, one model."""

    server: str
    form: str
    model: str
    peer: bool


@dataclass
class Findings:
    """Every round's numbers."""

    small: Model
    colour: Model
    versions: list[str] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)
    """Who was not measured, or not in every round, and why."""
    loads: dict[Entry, dict[Cell, list[Load]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    bare: dict[str, dict[Arrangement, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def add(self, contender: Contender, wire: Wire, cell: Cell, load: Load) -> None:
        """One round's load of one cell."""
        entry = Entry(contender.name, wire.name, wire.model.name, contender.peer)
        self.loads[entry][cell].append(load)

    def add_bare(self, model: Model, arrangement: Arrangement, images_per_s: float) -> None:
        """One round's bare run."""
        self.bare[model.name][arrangement].append(images_per_s)

    def ours(self, server: str, form: str, cell: Cell, model: Model | None = None) -> Load | None:
        """LatentServe's medians in one cell, of the small decoder unless told otherwise; None when not measured."""
        cells = self.loads.get(Entry(server, form, (model or self.small).name, peer=False), {})
        return medians(cells[cell]) if cell in cells else None

    def peers(self, cell: Cell) -> list[Load]:
        """The medians of every peer in every form that answered."""
        found = [medians(cells[cell]) for entry, cells in self.loads.items() if entry.peer and cell in cells]
        return [load for load in found if load.requests_per_s > 0]

    def limit(self, model: Model, *, one_thread: bool) -> float:
        """The most images a second that one bare session makes at any batch, on one thread or on any number."""
        rates = self.bare[model.name].items()
        return max(
            median(found)
            for arrangement, found in rates
            if arrangement.sessions == 1 and (arrangement.threads == 1 or not one_thread)
        )


def arrangements() -> list[Arrangement]:
    """One session on one thread and on all cores, and a session a core, each at every batch."""
    cores = os.cpu_count() or 1
    shapes = dict.fromkeys([(1, 1), (1, cores), (cores, 1)])
    return [Arrangement(sessions, threads, batch) for sessions, threads in shapes for batch in BATCHES]


def medians(loads: list[Load]) -> Load:
    """Each number's median over the rounds; failures are added up."""
    return Load(
        median(load.requests_per_s for load in loads),
        median(load.p50_ms for load in loads),
        median(load.p99_ms for load in loads),
        sum(load.failures for load in loads),
    )


def report(findings: Findings, rounds: int, seconds: int) -> str:
    """All tables."""
    small, colour = findings.small, findings.colour
    parts = [
        circumstances("onnxruntime", "uvicorn", "fastapi", "numpy"),
        f"Peers: {'; '.join(findings.versions) or 'none'}. Medians of {rounds} alternating rounds of {seconds} s "
        "a cell; the load comes from wrk on the same cores.",
        f"#### One latent a request, {small.name}",
        _loads(findings, 1),
        f"#### 64 latents a request, {small.name}",
        _loads(findings, 64),
        "#### The graphs alone: images a second of bare onnxruntime",
        _bare(findings),
        f"#### 64 clients, one latent a request, {colour.name} (64×64, colour)",
        _colour(findings),
        "#### Bars",
        bars(_bars(findings)),
    ]
    return "\n\n".join(parts + _remarks(findings))


def _loads(findings: Findings, count: int) -> str:
    columns = ["server", "form"]
    for clients in CLIENTS:
        who = "1 client" if clients == 1 else f"{clients} clients"
        columns += [f"{who}: images/s", "p50 ms", "p99 ms"]
    rows = [
        [entry.server, entry.form, *_row(cells, count)]
        for entry, cells in findings.loads.items()
        if entry.model == findings.small.name and all((clients, count) in cells for clients in CLIENTS)
    ]
    return table(columns, rows, texts=2)


def _row(cells: dict[Cell, list[Load]], count: int) -> list[str]:
    return [text for clients in CLIENTS for text in _cell(medians(cells[clients, count]), count)]


def _cell(load: Load, count: int) -> list[str]:
    if load.requests_per_s == 0:
        return ["0", "-", "-"]
    return [f"{load.requests_per_s * count:,.0f}", f"{load.p50_ms:.3g}", f"{load.p99_ms:.3g}"]


def _bare(findings: Findings) -> str:
    rows = []
    for name, rates in findings.bare.items():
        for sessions, threads in dict.fromkeys((arrangement.sessions, arrangement.threads) for arrangement in rates):
            found = [median(rates[Arrangement(sessions, threads, batch)]) for batch in BATCHES]
            rows.append([f"{name}, {sessions} × {threads}", *(f"{rate:,.0f}" for rate in found)])
    return table(["graph, sessions × threads", *(f"batch {batch}" for batch in BATCHES)], rows)


def _colour(findings: Findings) -> str:
    rows = []
    for server in (ONE_WORKER, TWO_WORKERS):
        load = findings.ours(server, BYTES, (64, 1), findings.colour)
        if load is not None:
            rows.append([server, BYTES, *_cell(load, 1)])
    return table(["server", "form", "images/s", "p50 ms", "p99 ms"], rows, texts=2)


def _bars(findings: Findings) -> list[Bar]:
    found = []
    for server, of_bare in ((ONE_WORKER, 0.5), (TWO_WORKERS, 0.65)):
        crowd, lone = findings.ours(server, BYTES, (64, 1)), findings.ours(server, BYTES, (1, 1))
        if crowd is None or lone is None:
            continue
        found += _against_peers(findings, server, crowd, lone)
        found += _against_bare(findings, server, crowd, of_bare)
    return found


def _against_peers(findings: Findings, server: str, crowd: Load, lone: Load) -> list[Bar]:
    rivals, lone_rivals = findings.peers((64, 1)), findings.peers((1, 1))
    if not rivals or not lone_rivals:
        return []
    fastest, steadiest = max(load.requests_per_s for load in rivals), min(load.p99_ms for load in rivals)
    quickest = min(load.p50_ms for load in lone_rivals)
    return [
        Bar(f"{server}: 64 clients, throughput / the best peer's", crowd.requests_per_s / fastest, 5, at_least=True),
        Bar(f"{server}: 64 clients, p99 / the lowest peer's", crowd.p99_ms / steadiest, 1 / 6, at_least=False),
        Bar(f"{server}: one client, p50 / the best peer's", lone.p50_ms / quickest, 0.5, at_least=False),
    ]


def _against_bare(findings: Findings, server: str, crowd: Load, of_bare: float) -> list[Bar]:
    small, colour = findings.small, findings.colour
    one_thread = findings.limit(small, one_thread=True)
    found = [Bar(f"{server}: 64 clients, images / bare, one thread", crowd.requests_per_s / one_thread, of_bare, True)]
    in_colour, bulk = findings.ours(server, BYTES, (64, 1), colour), findings.ours(server, NPY, (8, 64))
    if in_colour is not None:
        share = in_colour.requests_per_s / findings.limit(colour, one_thread=True)
        found.append(Bar(f"{server}: {colour.name}, 64 clients, images / bare, one thread", share, 0.9, True))
    if bulk is not None:
        share = 64 * bulk.requests_per_s / findings.limit(small, one_thread=False)
        found.append(Bar(f"{server}: 64 latents, npy, 8 clients, images / best bare session", share, 0.85, True))
    return found


def _remarks(findings: Findings) -> list[str]:
    lines = [f"- {name}: {' '.join(reason.split())[:300]}" for name, reason in findings.absent.items()]
    for entry, cells in findings.loads.items():
        failed = {cell: sum(load.failures for load in loads) for cell, loads in cells.items()}
        lines += [
            f"- {entry.server}, {entry.form}, {clients} clients × {count} latents: {failures} requests failed"
            for (clients, count), failures in failed.items()
            if failures
        ]
    return ["Not measured, or not answered:\n\n" + "\n".join(lines)] if lines else []
