"""The system's Chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",  # containers that run as root cannot have one, and only our own page is loaded
    "--disable-gpu",
    "--renderer-process-limit=1",
)


def installed() -> str | None:
    """Where it is, if it is."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """It runs, headless."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=installed(), args=list(FLAGS))
        yield found
        found.close()
