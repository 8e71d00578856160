"""Frames of a glide in the explorer, from the slider's move to the new picture: `python -m benchmarks.explorer`.

Headless Chromium opens the page on every committed model that samples and decodes, and moves the slider from A to B and
back. A frame's time is from the input event to the animation frame in which the canvas shows other pixels than before:
the request, the graph, the answer and the painting. Beside it stands what the same request costs without a page, from
Python, over one connection.
"""

from __future__ import annotations

import http.client
import sys
import time
from dataclasses import dataclass
from statistics import median, quantiles

from playwright.sync_api import Browser

from benchmarks.harness.browser import installed, launched
from benchmarks.harness.contenders import latentserve
from benchmarks.harness.models import PUBLISHED, Model, published
from benchmarks.harness.options import parser
from benchmarks.harness.report import Bar, bars, circumstances, publish, table

FRAMES, QUICK_FRAMES = 60, 10
BOUND_MS = 100
PATIENCE_MS = 60_000
GLIDE = """async (slider, [frames, back]) => {
  const canvas = document.querySelector(".screen canvas");
  const shown = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.join();
  const painted = () => new Promise((done) => requestAnimationFrame(done));
  const times = [];
  for (let frame = 1; frame <= frames; frame += 1) {
    const before = shown();
    const start = performance.now();
    slider.value = String(back ? 1 - frame / frames : frame / frames);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    while (shown() === before) {
      await painted();
      if (performance.now() - start > 5000) throw new Error(`frame ${frame} never came`);
    }
    times.push(performance.now() - start);
  }
  return times;
}"""


@dataclass(frozen=True)
class Glide:
    """One model's frames, in milliseconds."""

    name: str
    frames: list[float]
    bare: list[float]

    @property
    def slowest_twentieth_ms(self) -> float:
        """The 95th percentile."""
        return quantiles(self.frames, n=20, method="inclusive")[-1]

    def row(self) -> list[str]:
        """Of the table."""
        times = (median(self.frames), self.slowest_twentieth_ms, max(self.frames), median(self.bare))
        return [self.name, *(f"{milliseconds:.1f}" for milliseconds in times)]


def main() -> int:
    """Measure and print."""
    chosen = parser(__doc__).parse_args()
    if installed() is None:
        sys.exit("no browser is installed: apt-get install chromium")
    frames = QUICK_FRAMES if chosen.quick else FRAMES
    models = [model for model in published() if {"sample", "decode"} <= set(model.manifest.capabilities)]
    with latentserve(PUBLISHED, ()).serve() as server, launched() as browser:
        glides = [_glide(browser, server.url, model, frames) for model in models]
    publish("explorer", _report(glides), chosen.markdown)
    return 0


def _glide(browser: Browser, url: str, model: Model, frames: int) -> Glide:
    page = browser.new_page()
    page.goto(f"{url}/#model={model.name}&path=linear")
    page.wait_for_selector("#panel-samples .thumb", timeout=PATIENCE_MS)
    slider = page.get_by_role("slider", name="From A to B")
    slider.evaluate(GLIDE, [frames, False])  # the first glide warms the caches of both sides
    times = slider.evaluate(GLIDE, [frames, True])
    page.close()
    return Glide(model.name, times, _bare_ms(url.removeprefix("http://"), model, frames))


def _bare_ms(host: str, model: Model, count: int) -> list[float]:
    """What the same requests cost over one connection without a page."""
    connection = http.client.HTTPConnection(host, timeout=60)
    label = "&label=0" if model.signature.takes_label else ""
    path = f"/v1/models/{model.name}/decode?format=raw{label}"
    times = []
    for latent in model.latents(count):
        began = time.perf_counter()
        connection.request("POST", path, latent.tobytes(), {"Content-Type": "application/octet-stream"})
        answer = connection.getresponse()
        answer.read()
        times.append(1000 * (time.perf_counter() - began))
        if answer.status != 200:
            raise ValueError(f"{model.name}: {answer.status}")
    connection.close()
    return times


def _report(glides: list[Glide]) -> str:
    worst = max(glide.slowest_twentieth_ms for glide in glides)
    columns = ["model", "median ms", "p95 ms", "slowest ms", "the request alone, median ms"]
    return "\n\n".join(
        [
            circumstances("onnxruntime", "uvicorn", "playwright"),
            table(columns, [glide.row() for glide in glides]),
            bars([Bar(f"slowest model's p95 of a frame / {BOUND_MS} ms", worst / BOUND_MS, 1, at_least=False)]),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
