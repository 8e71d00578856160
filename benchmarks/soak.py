"""A hundred thousand mixed requests, and what the service holds after each stretch: `python -m benchmarks.soak`.

The mix asks for samples, decodes, walks, pictures in and out, scores, and makes mistakes. Between stretches all clients
hang up in the midst of their requests. Memory is compared with what it was after the first tenth, when every graph and
batch size has been met.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.images.png import encode_png
from benchmarks.harness.contenders import decode_wires, latentserve
from benchmarks.harness.load import Call, require_wrk, settle
from benchmarks.harness.models import Model, repository, small_decoder
from benchmarks.harness.options import parser
from benchmarks.harness.processes import Server, descriptor_count, resident_mb, thread_count
from benchmarks.harness.report import Bar, bars, circumstances, publish, table
from benchmarks.harness.wires import JSON, NPY, RAW, latents_json

SCRIPT = Path(__file__).parent / "harness" / "mix.lua"
CLIENTS, STRETCH_S = 16, 2
EXPECTED = {"200", "400", "404"}
QUIET_S = 1.0
"""After a stretch, before counting: the service closes what the clients left."""


@dataclass(frozen=True)
class Held:
    """What the service holds after so many requests."""

    requests: int
    resident_mb: float
    descriptors: int
    threads: int


def main() -> int:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument("--requests", type=int, default=100_000, help="how many, at the least")
    chosen = options.parse_args()
    require_wrk()
    root = repository("soak")
    model = small_decoder(root)
    with latentserve(root, ()).serve() as server, tempfile.NamedTemporaryFile("w") as mix:
        mix.writelines(_mix(model))
        mix.flush()
        held, statuses = _soak(server, model, Path(mix.name), 5_000 if chosen.quick else chosen.requests)
    publish("soak", _report(held, statuses), chosen.markdown)
    return 0 if EXPECTED.issuperset(statuses) else 1


def _soak(server: Server, model: Model, mix: Path, requests: int) -> tuple[list[Held], Counter[str]]:
    statuses: Counter[str] = Counter()
    held: list[Held] = []
    probe = decode_wires(model)[0].call(1)
    while statuses.total() < requests:
        statuses += _stretch(server.url, mix)
        settle(server.url, probe)
        time.sleep(QUIET_S)
        pids = server.pids
        held.append(Held(statuses.total(), resident_mb(pids), descriptor_count(pids), thread_count(pids)))
        print(f"  {held[-1]}", file=sys.stderr, flush=True)
    return held, statuses


def _stretch(url: str, mix: Path) -> Counter[str]:
    """Answers by their status."""
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{STRETCH_S}s", "--timeout=30s", "-s", str(SCRIPT), url]
    ran = subprocess.run(command, env=os.environ | {"LOAD_MIX": str(mix)}, capture_output=True, text=True, check=True)
    return Counter(json.loads(ran.stderr.strip().splitlines()[-1]))


def _mix(model: Model) -> Iterator[str]:
    """A line a request: method, path, content type, accept, and the body in hexadecimal."""
    for call in _calls(model):
        method = "POST" if call.body else "GET"
        yield f"{method} {call.path} {call.content_type} {call.accept} {call.body.hex()}\n"


def _calls(model: Model) -> Iterator[Call]:
    """Most requests are small, as in life; each kind that the model offers is there."""
    base, space = f"/v1/models/{model.name}", model.manifest.image
    one, many = model.latents(1), model.latents(16)
    picture = encode_png(model.pictures(one).reshape(space.height, space.width, space.channels))
    points = [{"seed": 1}, {"latent": one[0].tolist()}]
    for seed in range(4):
        yield Call(f"{base}/sample", json.dumps({"count": 1, "seed": seed}).encode(), JSON, JSON)
        yield Call(f"{base}/decode", latents_json(one), JSON, RAW)
    yield Call(f"{base}/sample", json.dumps({"count": 16}).encode(), JSON, NPY)
    yield Call(f"{base}/sample.png?seed=3&count=4", b"", JSON, "image/png")
    yield Call(f"{base}/decode", latents_json(many), JSON, JSON)
    yield Call(f"{base}/interpolate", json.dumps({"points": points, "steps": 8}).encode(), JSON, "image/gif")
    yield Call(f"{base}/traverse", json.dumps({"point": points[0], "dimensions": [0]}).encode(), JSON, "image/webp")
    if "encode" in model.manifest.capabilities:
        yield Call(f"{base}/encode", picture, "image/png", JSON)
        images = [base64.b64encode(picture).decode()]
        yield Call(f"{base}/reconstruct", json.dumps({"images": images}).encode(), JSON, "image/png")
    if "score" in model.manifest.capabilities:
        yield Call(f"{base}/score?samples=8", picture, "image/png", JSON)
    yield Call("/v1/models", b"", JSON, JSON)
    yield Call("/metrics", b"", JSON, "*/*")
    yield Call("/v1/models/nobody/sample", b"{}", JSON, JSON)
    yield Call(f"{base}/decode", b'{"latents": [[1, 2', JSON, JSON)


def _report(held: list[Held], statuses: Counter[str]) -> str:
    total = held[-1].requests
    settled = next(state for state in held if state.requests >= total / 10)
    later = [state for state in held if state.requests >= settled.requests]
    growth = max(abs(state.resident_mb / settled.resident_mb - 1) for state in later)
    shown = [next(state for state in held if state.requests >= total * tenth / 10) for tenth in range(1, 11)]
    rows = [
        [f"{state.requests:,}", f"{state.resident_mb:.1f}", str(state.descriptors), str(state.threads)]
        for state in dict.fromkeys(shown)
    ]
    kept = [
        Bar("resident memory, change after the first tenth", 100 * growth, 5, at_least=False, unit="%"),
        Bar("descriptors, growth", _growth([state.descriptors for state in later]), 0, at_least=False, unit=""),
        Bar("threads, growth", _growth([state.threads for state in later]), 0, at_least=False, unit=""),
    ]
    answers = ", ".join(f"{count:,} × {status}" for status, count in sorted(statuses.items()))
    return "\n\n".join(
        [
            circumstances("onnxruntime", "fastapi", "uvicorn"),
            f"{total:,} mixed requests from {CLIENTS} clients, answered {answers}:",
            table(["requests", "resident MB", "descriptors", "threads"], rows),
            bars(kept),
        ]
    )


def _growth(counts: Sequence[int]) -> int:
    """How far the second half's lowest is above the first half's: pools come and go, a leak lifts the floor."""
    middle = (len(counts) + 1) // 2
    before = min(counts[:middle])
    return min(counts[middle:], default=before) - before


if __name__ == "__main__":
    sys.exit(main())
