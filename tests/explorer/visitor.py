"""Somebody in front of the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect

PATIENCE_MS = 60_000
"""A busy machine is slow; nothing waits this long unless something is broken."""

expect.set_options(timeout=PATIENCE_MS)


class Visitor:
    """One page of a browser."""

    def __init__(self, browser: Browser, context: BrowserContext, address: str) -> None:
        self.browser = browser
        self.context = context
        """Shared, and with it what the browser keeps of the page's files."""
        self.address = address
        self.complaints: list[str] = []
        self.pending: set[Request] = set()
        self.expected = ""
        """Console errors with these words are what a test is about."""
        self.page: Page = None  # type: ignore[assignment]  # opened by `opens`

    def opens(self, fragment: str = "", *, width: int = 1280, height: int = 900, **options: Any) -> Page:
        """Load the page and wait until it shows a picture."""
        if options:
            self.context = self.browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.pending.add(request))  # noqa: PLW0108  Playwright marks listeners
        self.page.on("requestfinished", self._ended)
        self.page.on("requestfailed", self._ended)
        self.page.goto(f"{self.address}/{fragment}")
        expect(self.screen).not_to_have_attribute("aria-label", "Nothing yet")
        self.settles()
        return self.page

    def leave(self, picture: Path) -> None:
        """Keep a picture, close the page, and complain about what the console said."""
        if self.page is None:
            return
        picture.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=picture)
        self.page.close()
        assert not self.complaints, self.complaints

    def _ended(self, request: Request) -> None:
        self.pending.discard(request)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not (self.expected and self.expected in message.text):
            self.complaints.append(message.text)

    @property
    def screen(self) -> Locator:
        """The picture on the stage."""
        return self.page.locator(".screen canvas")

    def settles(self) -> None:
        """Wait until nothing is on its way, and what came is painted."""
        quiet = 0
        while quiet < 2:
            self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            quiet = 0 if self.pending else quiet + 1

    def pixels(self, selector: str = ".screen canvas") -> list[int]:
        """What a canvas or a picture shows, its red channel."""
        script = """async (shown) => {
          if (shown.decode) await shown.decode();
          const [width, height] = [shown.naturalWidth ?? shown.width, shown.naturalHeight ?? shown.height];
          const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
          copy.drawImage(shown, 0, 0);
          const { data } = copy.getImageData(0, 0, width, height);
          return Array.from(data.filter((_, index) => index % 4 === 0));
        }"""
        found: list[int] = self.page.locator(selector).first.evaluate(script)
        return found

    def picture(self, selector: str) -> list[int]:
        """What the picture in an element shows, however it is drawn."""
        return self.pixels(f"{selector} :is(canvas, img)")

    def tool(self, name: str) -> Locator:
        """Open a tool; its panel."""
        self.page.get_by_role("tab", name=name).click()
        return self.page.get_by_role("tabpanel", name=name)

    def says(self, words: str) -> None:
        """Wait for a notice with these words."""
        expect(self.page.locator("#notices")).to_contain_text(words)

    def slides(self, slider: Locator, value: float) -> None:
        """Move a slider there, as a hand would."""
        slider.fill(str(value))

    def runs(self, module: str, script: str, argument: object = None) -> Any:
        """What a function `(module, argument) => …` answers in the page, for a module of the explorer."""
        wrapped = f"async ([name, argument]) => ({script})(await import(`/explorer/${{name}}`), argument)"
        return self.page.evaluate(wrapped, [module, argument])
