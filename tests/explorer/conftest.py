"""A real service and a real browser: the system's Chromium, driven by Playwright.

Without a browser these tests skip and say so; where `BROWSER_REQUIRED` is set they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from benchmarks.harness.browser import BROWSERS, installed, launched
from tests.app.tiny_labelled import tiny_labelled
from tests.app.tiny_models import write_tiny_models, write_version
from tests.explorer.visitor import Visitor
from tests.service.test_process import Process

ROOT = Path(__file__).resolve().parents[2]
ARTEFACTS = ROOT / ".screenshots"
MODELS = ("mnist_vae", "mnist_gan", "mnist_keras_vae", "mnist_m1_m2_100", "mnist_acgan")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser, where there is one; closed before other modules' tests, with the event loop that it runs."""
    if installed() is None:
        reason = f"no browser: none of {', '.join(BROWSERS)} is installed"
        pytest.fail(reason) if os.environ.get("BROWSER_REQUIRED") else pytest.skip(reason)
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def address(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running service with some published models and the tiny ones."""
    root = tmp_path_factory.mktemp("explorer") / "models"
    write_tiny_models(root)
    write_version(root, tiny_labelled())
    for name in MODELS:
        shutil.copytree(ROOT / "models" / name, root / name, ignore=shutil.ignore_patterns(".*"))
    process = Process(root, GRAPH_THREADS="1", GRAPH_LANES="1", MAX_BATCH_ROWS="64", LOG_FORMAT="json")
    process.watchdog.cancel()  # it serves as long as there are tests
    with process:
        yield process.address


@pytest.fixture(scope="module")
def context(browser: Browser) -> BrowserContext:
    """A visitor's browser as it usually is."""
    return browser.new_context()


@pytest.fixture
def visit(browser: Browser, context: BrowserContext, address: str, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    """Somebody who opens the page; their console must stay free of errors, and how it ended is kept as a picture."""
    visitor = Visitor(browser, context, address)
    yield visitor
    visitor.leave(ARTEFACTS / f"{request.node.name.replace('/', '_')}.png")
