"""A real Chromium (Debian's), headless, that only reaches this machine; and a page that tells of everything amiss."""

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
ARGS = [
    "--no-sandbox",  # tests may run as root, where Chromium's sandbox refuses to start
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`);
});
"""


class Watched:
    """A page, and what went wrong in it: console messages above `info`, uncaught errors, failed requests."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("requestfailed", self._on_failed)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_failed(self, request: Request) -> None:
        """What the browser gave up itself, because another page was asked for meanwhile, is no failure."""
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"failed: {request.url} {request.failure}")

    async def all_complaints(self) -> list[str]:
        return self.complaints + [f"policy: {one}" for one in await self.page.evaluate("window.violations")]


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if not shutil.which(CHROMIUM):
        pytest.skip("Chromium is not installed (Debian's package chromium)")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        await browser.close()


OpenPage = Callable[..., Awaitable[Watched]]


@pytest.fixture
def open_page(browser: Browser) -> OpenPage:
    """`await open_page(url, **options of Browser.new_page)` gives the page when it is loaded."""

    async def open_(url: str, **options: object) -> Watched:
        page = await browser.new_page(**options)  # type: ignore[arg-type]
        await page.add_init_script(WATCH)
        watched = Watched(page)
        await page.goto(url)
        return watched

    return open_
