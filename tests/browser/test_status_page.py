"""The status page in a real browser, over a handwritten snapshot: nothing complains, figures show, the button uploads."""

from collections.abc import AsyncIterator

import pytest
from aiohttp.web import AppRunner
from msgspec import structs

from agent.config import Web
from agent.ledger.snapshot import Snapshot
from agent.web.app import start
from agent.web.page import UploadOutcome
from tests.agent.web.snapshots import BROKEN, BUSY, EMPTY, LARGE
from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.browser

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 360, "height": 740}


class Office:
    """A WebState whose snapshot the test changes while the page looks on."""

    def __init__(self) -> None:
        self.now = BUSY
        self.uploads = 0

    def snapshot(self) -> Snapshot:
        return self.now

    async def upload_now(self) -> UploadOutcome:
        self.uploads += 1
        uplink = structs.replace(self.now.uplinks[0], acked_through=1942, backlog=0, oldest_waiting_ms=0)
        self.now = structs.replace(
            self.now, uplinks=(uplink,), verdict="Every call is counted, and the platform has all."
        )
        return UploadOutcome("42 events were sent and acknowledged.", True)


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
async def runner(office: Office) -> AsyncIterator[AppRunner]:
    runner = await start(office, Web(listen="127.0.0.1:0"))
    yield runner
    await runner.cleanup()


@pytest.fixture
def url(runner: AppRunner) -> str:
    return f"http://127.0.0.1:{runner.addresses[0][1]}/"


@pytest.mark.parametrize("snapshot", [BUSY, EMPTY, BROKEN, LARGE], ids=["busy", "empty", "broken", "large"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_complains_and_nothing_overflows(
    open_page: OpenPage, office: Office, url: str, snapshot: Snapshot, scheme: str
) -> None:
    office.now = snapshot
    watched = await open_page(url, viewport=DESKTOP, color_scheme=scheme)
    for size in (DESKTOP, {"width": 900, "height": 700}, {"width": 720, "height": 700}, PHONE):
        await watched.page.set_viewport_size(size)  # type: ignore[arg-type]
        beyond = await watched.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert beyond <= 0, f"{beyond} pixels too wide at {size}"
    assert await watched.all_complaints() == []


async def test_the_figures_are_the_snapshots(open_page: OpenPage, url: str) -> None:
    page = (await open_page(url, viewport=DESKTOP)).page
    assert await page.title() == "Healthy · Berlin office"
    assert await page.locator(".stages .figure").all_inner_texts() == ["1,679", "1,677", "1,942", "1,900", "1,900"]
    assert await page.locator(".figures dd").all_inner_texts() == ["138", "104 75 %", "412.5 min", "4"]
    assert await page.get_by_role("img", name="Calls by hour. Busiest: 09:00 to 10:00: 44 calls").is_visible()
    tallest = await page.evaluate(
        "Math.max(...[...document.querySelectorAll('.bars .bar')].map(b => b.getBBox().height))"
    )
    assert tallest == 88  # 44 calls on a scale to 50
    assert await page.get_by_role("row", name="118 premium registered, active 27").is_visible()


async def test_the_button_uploads_and_the_page_follows_in_place(open_page: OpenPage, office: Office, url: str) -> None:
    watched = await open_page(url, viewport=DESKTOP)
    page = watched.page
    await page.evaluate("window.same = true")
    await page.get_by_role("button", name="Upload now").focus()
    await page.keyboard.press("Enter")
    await page.get_by_text("42 events were sent and acknowledged.").wait_for()
    await page.get_by_role("heading", name="the platform has all.").wait_for()
    assert office.uploads == 1
    assert await page.locator(".stages .figure").last.inner_text() == "1,942"
    assert await page.evaluate("window.same") is True
    assert await page.evaluate("document.activeElement.textContent") == "Upload now"
    assert await watched.all_complaints() == []


async def test_the_button_works_without_script(open_page: OpenPage, office: Office, url: str) -> None:
    page = (await open_page(url, viewport=DESKTOP, java_script_enabled=False)).page
    await page.get_by_role("button", name="Upload now").click()
    await page.get_by_text("42 events were sent and acknowledged.").wait_for()
    assert office.uploads == 1
    assert page.url.removesuffix("#upload") == url


async def test_the_page_refreshes_itself_without_touching_what_stays(
    open_page: OpenPage, office: Office, url: str
) -> None:
    watched = await open_page(url, viewport=DESKTOP)
    page = watched.page
    await page.evaluate("window.first = document.querySelector('.stages li')")
    office.now = structs.replace(office.now, today=structs.replace(office.now.today, calls=139))
    await page.locator(".figures dd", has_text="139").wait_for(timeout=10_000)
    assert await page.evaluate("window.first === document.querySelector('.stages li')") is True
    assert await watched.all_complaints() == []


async def test_problems_come_and_go_in_place(open_page: OpenPage, office: Office, url: str) -> None:
    page = (await open_page(url, viewport=DESKTOP)).page
    office.now = BROKEN
    await page.get_by_role("heading", name="Error: The disk is full").wait_for(timeout=10_000)
    assert await page.title() == "Broken · Warehouse & dispatch <north>"
    office.now = BUSY
    await page.get_by_role("heading", name="Every call is counted").wait_for(timeout=10_000)
    assert await page.locator(".problem").count() == 0


async def test_an_agent_that_stops_is_told_with_the_time_of_the_figures(
    open_page: OpenPage, runner: AppRunner, url: str
) -> None:
    page = (await open_page(url, viewport=DESKTOP)).page
    await runner.cleanup()
    await page.get_by_text("The agent does not answer. What is shown is from 11:31:02.").wait_for(timeout=10_000)


async def test_the_keyboard_reaches_the_button_with_a_visible_focus(open_page: OpenPage, url: str) -> None:
    page = (await open_page(url, viewport=DESKTOP)).page
    for _ in range(4):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.tagName") == "BUTTON":
            break
    style = "getComputedStyle(document.activeElement)"
    assert await page.evaluate(f"[document.activeElement.tagName, {style}.outlineStyle]") == ["BUTTON", "solid"]


CONTRAST = """
() => {
  const luminance = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const back = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour !== "rgba(0, 0, 0, 0)") return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const weak = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.nodeValue.trim());
    if (!own || element.closest("svg, noscript") || !element.getClientRects().length) continue;
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(back(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(`${element.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return weak;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("snapshot", [BUSY, EMPTY, BROKEN, LARGE], ids=["busy", "empty", "broken", "large"])
async def test_every_text_has_enough_contrast(
    open_page: OpenPage, office: Office, url: str, snapshot: Snapshot, scheme: str
) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    office.now = snapshot
    page = (await open_page(url, viewport=DESKTOP, color_scheme=scheme)).page
    assert await page.evaluate(CONTRAST) == []
