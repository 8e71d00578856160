"""The README's pictures: `python -m tests.explorer.pictures` writes them anew from the committed models.

`docs/explorer.png` is the page in a browser; `docs/morph.webp` glides between samples and back, for ever.
"""

from __future__ import annotations

from pathlib import Path

import httpx2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.images.pixels import contact_sheet
from benchmarks.harness.browser import launched
from tests.explorer.visitor import Visitor
from tests.service.test_process import ROOT, Process

DOCS = ROOT / "docs"
ADDRESS = "#t=0.45&count=36"
MODELS = ("mnist_vae", "fashion_vae")
COLUMNS, KEYFRAMES, STEPS = 12, 4, 16
SCALE = 2
FRAME_MS = 70

Frames = NDArray[np.uint8]


def main() -> None:
    """Write both."""
    process = Process(ROOT / "models", LOG_FORMAT="json")
    process.watchdog.cancel()
    with process:
        save_page(process.address, DOCS / "explorer.png")
        save_morph(process.address, DOCS / "morph.webp")


def save_page(address: str, path: Path) -> None:
    """The page as a visitor finds it, half way between two samples."""
    with launched() as browser:
        visitor = Visitor(browser, browser.new_context(), address)
        visitor.opens(ADDRESS, width=1280, height=850).screenshot(path=path)


def save_morph(address: str, path: Path) -> None:
    """A row of walks a model, each through samples of its own and back to its start."""
    rows = [np.stack([walk(address, model, seed) for seed in range(COLUMNS)]) for model in MODELS]
    tiles = np.concatenate(rows)  # (tiles, frames, H, W, C)
    sheets = [contact_sheet(tiles[:, frame], COLUMNS) for frame in range(tiles.shape[1])]
    first, *rest = [enlarged(sheet) for sheet in sheets]
    first.save(path, save_all=True, append_images=rest, duration=FRAME_MS, loop=0, quality=50, method=6)


def walk(address: str, model: str, seed: int) -> Frames:
    """Frames (F, H, W, C) through samples of a seed."""
    points = [{"seed": seed, "index": index} for index in range(KEYFRAMES)]
    wish = {"points": points, "steps": STEPS, "loop": True}
    answer = httpx2.post(f"{address}/v1/models/{model}/interpolate?format=raw", json=wish, timeout=60)
    answer.raise_for_status()
    shape = [int(length) for length in answer.headers["X-Shape"].split(",")]
    return np.frombuffer(answer.content, np.uint8).reshape(shape)


def enlarged(sheet: Frames) -> Image.Image:
    """Every pixel as a square."""
    grey = Image.fromarray(sheet.squeeze(-1))
    return grey.resize((SCALE * grey.width, SCALE * grey.height), Image.Resampling.NEAREST)


if __name__ == "__main__":
    main()
