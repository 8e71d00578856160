"""Load by wrk, which costs the server's cores less than any client in Python would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("post.lua")
TIMEOUT_S = 30


@dataclass(frozen=True)
class Call:
    """One request as it is repeated."""

    path: str
    body: bytes
    content_type: str
    accept: str


@dataclass(frozen=True)
class Load:
    """What came of a stretch of load."""

    requests_per_s: float
    """Answered with success."""
    p50_ms: float
    p99_ms: float
    failures: int
    """Answers of another status, and connections that broke or took too long."""


def require_wrk() -> None:
    """Exit with how to get wrk where there is none."""
    if shutil.which("wrk") is None:
        sys.exit("the load comes from wrk, which is missing: `apt-get install wrk`, or `brew install wrk`")


def answer_to(url: str, call: Call) -> bytes:
    """The body of one answer. Raises urllib's HTTPError on any status of error."""
    headers = {"Content-Type": call.content_type, "Accept": call.accept}
    request = urllib.request.Request(url + call.path, call.body, headers)  # noqa: S310  our own loopback address
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        return bytes(answer.read())


def settle(url: str, call: Call) -> None:
    """Wait until the server has let go of what gone clients asked for, and answers again. Raises TimeoutError."""
    give_up_at = time.monotonic() + TIMEOUT_S
    while True:
        try:
            answer_to(url, call)
            return
        except urllib.error.HTTPError as error:
            error.close()
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"{call.path} still answers {error.code} {TIMEOUT_S} s after the load") from error
            time.sleep(0.1)


def press(url: str, call: Call, *, clients: int, seconds: int) -> Load:
    """Keep `clients` connections busy with `call`, each sending again as soon as it is answered."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(call.body)
        body.flush()
        told = {"LOAD_BODY": body.name, "LOAD_CONTENT_TYPE": call.content_type, "LOAD_ACCEPT": call.accept}
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", f"--timeout={TIMEOUT_S}s", "-s", str(SCRIPT)]
        ran = subprocess.run(
            [*command, url + call.path], env=os.environ | told, capture_output=True, text=True, check=True
        )
    found = json.loads(ran.stderr.strip().splitlines()[-1])
    succeeded = found["requests"] - found["refused"]
    return Load(succeeded / found["seconds"], found["p50_ms"], found["p99_ms"], found["refused"] + found["broken"])
