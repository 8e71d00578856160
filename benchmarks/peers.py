"""LatentServe against its peers and its limits: `python -m benchmarks.peers`.

All servers serve the same graph (latent_to_image of a 28×28 convolutional decoder) with the same latents on the same
cores, one server at a time, in alternating rounds; the medians of the rounds are printed. The limits are onnxruntime
without a server and a server without a model. Every form of request is checked against bare onnxruntime, pixel by
pixel, before it is timed. Each peer runs with one worker or two, as a trial at the start decides; peers live in
environments of their own, made at the first run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.bare import images_per_s
from benchmarks.harness.contenders import PEERS, Contender, decode_wires, latentserve, nothing
from benchmarks.harness.environments import NotInstalled
from benchmarks.harness.findings import Findings, arrangements, report
from benchmarks.harness.load import answer_to, press, require_wrk, settle
from benchmarks.harness.models import COLOUR_64, Model, repository, small_decoder, written
from benchmarks.harness.options import parser
from benchmarks.harness.processes import DidNotStart, Server
from benchmarks.harness.report import publish
from benchmarks.harness.wires import WrongAnswer

WARM_UP_S = 1
CELL_S = 2
"""Seconds of load a cell and round: thousands of requests, enough that the 99th percentile is of dozens."""
TRIAL_S = 2
BARE_S = 0.5
QUICK_CELL_S = 1


def main() -> int:
    """Measure and print."""
    chosen = parser(__doc__).parse_args()
    require_wrk()
    rounds, seconds = (1, QUICK_CELL_S) if chosen.quick else (chosen.rounds, CELL_S)
    root = repository("peers")
    small, colour = small_decoder(root), written(COLOUR_64, root)
    findings = Findings(small, colour)
    contenders = [*_ours(root, small, colour), nothing(small), *_installed(small, findings, trials=not chosen.quick)]
    for number in range(1, rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
        _measure_bare([small, colour], findings)
        for contender in contenders:
            _measure(contender, findings, seconds)
    publish("peers", report(findings, rounds, seconds), chosen.markdown)
    return 0


def _ours(root: Path, small: Model, colour: Model) -> list[Contender]:
    in_colour = decode_wires(colour)[0].only_at(clients=64, count=1)
    return [latentserve(root, (*decode_wires(small), in_colour), workers=workers) for workers in (1, 2)]


def _installed(small: Model, findings: Findings, *, trials: bool) -> list[Contender]:
    contenders: list[Contender] = []
    for peer in PEERS:
        try:
            for alternatives in peer.install(small):
                contenders.append(_faster(alternatives, findings) if trials else alternatives[0])
            findings.versions.append(peer.versions())
        except NotInstalled as error:
            findings.absent[peer.name] = f"does not install: {error}"
    return contenders


def _faster(alternatives: Sequence[Contender], findings: Findings) -> Contender:
    """Of one server with different numbers of workers, the one that answers more to a crowd of small requests."""
    return max(alternatives, key=lambda contender: _trial(contender, findings))


def _trial(contender: Contender, findings: Findings) -> float:
    try:
        with contender.serve() as server:
            call = contender.wires[0].call(1)
            press(server.url, call, clients=64, seconds=WARM_UP_S)
            rate = press(server.url, call, clients=64, seconds=TRIAL_S).requests_per_s
    except DidNotStart as error:
        findings.absent[contender.name] = f"does not start: {error}"
        return 0.0
    print(f"trial: {contender.name}: {rate:,.0f} requests a second", file=sys.stderr, flush=True)
    return rate


def _measure_bare(models: Sequence[Model], findings: Findings) -> None:
    for model in models:
        for arrangement in arrangements():
            findings.add_bare(model, arrangement, images_per_s(model, arrangement, BARE_S))


def _measure(contender: Contender, findings: Findings, seconds: int) -> None:
    print(f"  {contender.name}", file=sys.stderr, flush=True)
    try:
        with contender.serve() as server:
            _measure_wires(contender, server, findings, seconds)
    except (DidNotStart, WrongAnswer, OSError) as error:
        findings.absent[contender.name] = f"{type(error).__name__}: {error}"


def _measure_wires(contender: Contender, server: Server, findings: Findings, seconds: int) -> None:
    for wire in contender.wires:
        for count in sorted({count for _, count in wire.cells}):
            wire.check(answer_to(server.url, wire.call(count)), count)
        press(server.url, wire.call(1), clients=64, seconds=WARM_UP_S)
        for clients, count in wire.cells:
            settle(server.url, wire.call(count))
            # A crowd's bulk requests are so slow that only a longer stretch holds a few of each client's.
            stretch = seconds * 2 if clients * count > 1000 else seconds
            load = press(server.url, wire.call(count), clients=clients, seconds=stretch)
            findings.add(contender, wire, (clients, count), load)
        settle(server.url, wire.call(1))


if __name__ == "__main__":
    sys.exit(main())
