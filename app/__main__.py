"""`python -m app`: read the settings, and serve.

Only light modules are imported here, so that the published graphs are opened on a thread while the main one imports the
web framework: neither waits for the other.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING

from pydantic import ValidationError

from app.api.keys import KeyFile
from app.settings import PREFIX, Settings

STARTING_SWITCH_INTERVAL_S = 0.0005
"""Of the interpreter's 5 ms the thread would wait a hundred times: before and after every file that it reads."""

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.runtime.repository import EarlyVersions


def main() -> int:
    """Run the service; the exit status."""
    gc.disable()  # until all is loaded: hardly anything of it goes away again
    try:
        settings = Settings()
        for path in filter(None, (settings.api_keys_file, settings.admin_keys_file)):
            KeyFile(path)  # read once here: workers that cannot would be started over and over
    except (ValidationError, OSError, ValueError) as error:
        print("\n".join(_explain(error)), file=sys.stderr)  # noqa: T201  there is no log yet
        return 2
    if settings.workers == 1:
        early = _open_early(settings)
        from app.server import serve  # noqa: PLC0415  while the graphs are opened

        return serve(settings, early)
    from app.server import supervise  # noqa: PLC0415  as above

    return supervise(settings, "app.__main__:served_application")


def served_application() -> FastAPI:
    """What each of several worker processes serves."""
    gc.disable()
    settings = Settings()
    early = _open_early(settings)
    from app.server import application_of  # noqa: PLC0415  while the graphs are opened

    return application_of(settings, early)


def _open_early(settings: Settings) -> EarlyVersions:
    """Begin to open what is published, on a thread, which is given its turn often while the main one imports."""
    from app.runtime.early import open_early  # noqa: PLC0415  it imports onnxruntime
    from app.runtime.plan import planner_for  # noqa: PLC0415  as above

    sys.setswitchinterval(STARTING_SWITCH_INTERVAL_S)
    promise: EarlyVersions = Future()

    def work() -> None:
        try:
            planner = planner_for(
                graph_threads=settings.graph_threads,
                graph_lanes=settings.graph_lanes,
                max_batch_rows=settings.max_batch_rows,
                workers=settings.workers,
                cache_dir=settings.cache_dir,
            )
            promise.set_result(open_early(settings.models_dir, planner))
        except BaseException as error:
            promise.set_exception(error)

    Thread(target=work, name="early", daemon=True).start()
    return promise


def _explain(error: Exception) -> Iterator[str]:
    if not isinstance(error, ValidationError):
        yield f"a file of keys cannot be read: {error}"
        return
    for problem in error.errors(include_url=False):
        name = f"{PREFIX}{str(problem['loc'][0]).upper()}: " if problem["loc"] else ""
        yield name + problem["msg"].removeprefix("Value error, ")


if __name__ == "__main__":
    sys.exit(main())
