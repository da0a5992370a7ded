"""The fleet page in a real browser, over a real receiver with 10,000 sites: login, search, one site's day, and no complaint."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import OpenPage, Watched
from tests.browser.test_status_page import CONTRAST, DESKTOP, PHONE
from tests.uplink.receiver.batches import batch_of, post
from tests.uplink.receiver.fleet.fleets import PASSWORD, fill, hire, receiving, sight, sighting
from tests.uplink.site import event_body
from uplink.receiver import agents
from uplink.receiver.agents import AgentKey
from uplink.receiver.serve import RunningReceiver
from uplink.status import AgentStatus

pytestmark = pytest.mark.browser

SITES = 10_000
WIDTHS = (DESKTOP, {"width": 900, "height": 700}, {"width": 720, "height": 700}, PHONE)
REFUSED = "error: Failed to load resource: the server responded with a status of 403 (Forbidden)"
"""What Chromium says of the page that tells of a wrong password."""


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[RunningReceiver]:
    async with receiving(tmp_path) as running:
        await hire(running.store)
        yield running


async def trouble(receiver: RunningReceiver) -> None:
    """One site of each kind of trouble."""
    now_ms = time.time_ns() // 1_000_000
    status = AgentStatus(version="0.2.0", interval_s=900)
    await sight(
        receiver.store,
        sighting("twin", now_ms, refused="conflict"),
        sighting("gone", now_ms - 90_000_000),
        sighting("late", now_ms - 7_200_000),
        sighting("fast", now_ms, skew_ms=97_200_000),
        sighting("full", now_ms, status=AgentStatus(interval_s=900, backlog=123_456, oldest_s=now_ms // 1000 - 9000)),
        sighting("sick", now_ms, status=AgentStatus(version="0.1.9", problems=("dns", "source_rejects", "disk_low"))),
        sighting("<b>odd</b>" + "x" * 50, now_ms, status=status),
    )


async def log_in(page: Page, password: str = PASSWORD) -> None:
    await page.get_by_label("Name").fill("ada")
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()


async def check_widths(watched: Watched) -> None:
    for size in WIDTHS:
        await watched.page.set_viewport_size(size)  # type: ignore[arg-type]
        beyond = await watched.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert beyond <= 0, f"{beyond} pixels too wide at {size}: {watched.page.url}"


async def test_an_operator_finds_one_site_of_ten_thousand(open_page: OpenPage, receiver: RunningReceiver) -> None:
    await fill(receiver.store, SITES)
    await trouble(receiver)
    watched = await open_page(f"{receiver.url}/fleet?q=0123", viewport=DESKTOP)
    page = watched.page
    await log_in(page, "not the password")
    await expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
    await log_in(page)
    await expect(page.get_by_role("heading", level=2)).to_have_text(re.compile("^11 sites"))
    await page.get_by_role("link", name="Take away: “0123”").click()
    await page.get_by_role("link", name="pegcount fleet").click()
    await expect(page.locator(".tiles .figure").first).to_have_text("10,007")
    assert (await page.locator("#live tbody th a").all_inner_texts())[:2] == ["gone", "twin"]
    began_s = time.monotonic()
    for _ in range(5):
        await page.get_by_role("link", name="Next").click()
        await page.wait_for_load_state()
    assert time.monotonic() - began_s < 10
    await expect(page.get_by_text("Page 6 of 101")).to_be_visible()
    await page.keyboard.press("n")
    await expect(page.get_by_text("Page 7 of 101")).to_be_visible()
    await page.keyboard.press("/")
    await page.keyboard.type("site-07777")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="site-07777", exact=True)).to_be_visible()
    await page.keyboard.press("j")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("site-07777")
    assert await watched.all_complaints() == [REFUSED]


async def test_the_verdicts_stand_beside_their_sites(open_page: OpenPage, receiver: RunningReceiver) -> None:
    await trouble(receiver)
    watched = await open_page(f"{receiver.url}/fleet", viewport=DESKTOP)
    page = watched.page
    await log_in(page)
    for site, verdict in (
        ("twin", "Broken It shows another history"),
        ("gone", "Broken Silent for 1 d 1 h."),
        ("late", "Needs attention Silent for 2 h."),
        ("fast", "Needs attention Its clock is 1 d 3 h ahead."),
        ("full", "Needs attention 123,456 events not acknowledged"),
        ("sick", "Needs attention The agent tells of dns, source rejects, disk low."),
    ):
        await expect(page.get_by_role("row").filter(has=page.get_by_role("link", name=site))).to_contain_text(verdict)
    await page.get_by_role("link", name="2 Broken").click()
    await expect(page.locator("#live tbody tr")).to_have_count(2)
    assert await page.title() == "2 broken sites · pegcount"
    assert await watched.all_complaints() == []


async def test_a_site_shows_its_day_and_takes_a_name(open_page: OpenPage, receiver: RunningReceiver) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    calls = [
        event_body("a", "e-1", n, type="call", quantity="1", time=f"{today}T{n % 3:02}:00:00Z") for n in range(1, 31)
    ]
    await post(receiver, batch_of(calls, 1, 30), site="a", Meter_Agent='version="0.2.0", backlog=3')
    watched = await open_page(f"{receiver.url}/fleet/sites/a", viewport=DESKTOP)
    page = watched.page
    await log_in(page)
    await expect(page.get_by_role("row", name="call 30 minute 30")).to_be_visible()
    await expect(page.get_by_role("img", name="Calls by hour. Busiest: 00:00 to 01:00: 10 calls")).to_be_visible()
    tallest = await page.evaluate(
        "Math.max(...[...document.querySelectorAll('.bars .bar')].map(b => b.getBBox().height))"
    )
    assert tallest == 100
    await page.get_by_label("What operators call this site").fill("Köln <Dom>")
    await page.get_by_role("button", name="Save").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Köln <Dom>")
    await check_widths(watched)
    await page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
    await page.get_by_role("link", name="Day before").click()
    await expect(page.get_by_text("No calls on this day.")).to_be_visible()
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    await page.go_back()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
    assert await watched.all_complaints() == []


async def test_an_admin_asks_for_more_and_takes_a_key_away(open_page: OpenPage, receiver: RunningReceiver) -> None:
    await post(receiver, batch_of([event_body("a", "e-1", n) for n in range(1, 31)], 1, 30), site="a")
    key = AgentKey(key="k-1", agent="a", site="a", provider="p", public=b"", state="active", machine="pbx")
    await receiver.store.put(agents.KIND, "k-1", msgspec.json.encode(key))
    watched = await open_page(f"{receiver.url}/fleet/sites/a", viewport=PHONE)
    page = watched.page
    await log_in(page)
    await page.get_by_label("From event").fill("12")
    await page.get_by_role("button", name="Ask the site").click()
    await expect(page.get_by_text("events from 1 of e-1 on. None has come again so far.")).to_be_visible()
    await page.get_by_role("button", name="Withdraw").click()
    await page.get_by_role("link", name="Revoke the key k-1").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Revoke this key of a?")
    await page.get_by_role("button", name="Revoke the key").click()
    await expect(page.get_by_role("row", name="k-1")).to_contain_text("revoked")
    await expect(page.get_by_role("listitem").filter(has_text="ada asked to send again")).to_be_visible()
    assert await watched.all_complaints() == []


async def test_the_list_renews_itself_and_leaves_what_is_being_typed(
    open_page: OpenPage, receiver: RunningReceiver
) -> None:
    watched = await open_page(f"{receiver.url}/fleet", viewport=DESKTOP)
    page = watched.page
    await log_in(page)
    await expect(page.get_by_text("No site has reported yet, and none is enrolled.")).to_be_visible()
    await page.get_by_role("searchbox").fill("half a wo")
    await trouble(receiver)
    await asyncio.sleep(5.2)
    await page.evaluate("refresh()")
    await page.evaluate("refresh()")
    await expect(page.get_by_role("link", name="twin")).to_be_visible()
    assert await page.get_by_role("searchbox").input_value() == "half a wo"
    assert await watched.all_complaints() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_overflows_and_every_text_has_enough_contrast(
    open_page: OpenPage, receiver: RunningReceiver, scheme: str
) -> None:
    """WCAG 2.2, 1.4.3: at least 4.5 to 1."""
    key = AgentKey(key="k-1", agent="a", site="sick", provider="p", public=b"", state="active", machine="x" * 100)
    await receiver.store.put(agents.KIND, "k-1", msgspec.json.encode(key))
    await trouble(receiver)
    watched = await open_page(f"{receiver.url}/fleet", viewport=DESKTOP, color_scheme=scheme)
    page = watched.page
    assert await page.evaluate(CONTRAST) == []
    await check_widths(watched)
    await log_in(page)
    await expect(page.get_by_role("link", name="twin")).to_be_visible()
    for path in (
        "/fleet",
        "/fleet?health=broken&q=o",
        "/fleet?why=clock&order=clock",
        "/fleet/problems",
        "/fleet/sites/sick",
        "/fleet/sites/sick/keys/k-1/revoke",
        "/fleet/sites/nobody",
    ):
        await page.set_viewport_size(DESKTOP)  # type: ignore[arg-type]
        await page.goto(receiver.url + path)
        assert await page.evaluate(CONTRAST) == [], path
        await check_widths(watched)


async def test_everything_works_without_a_script(open_page: OpenPage, receiver: RunningReceiver) -> None:
    await trouble(receiver)
    page = (await open_page(f"{receiver.url}/fleet", viewport=PHONE, java_script_enabled=False)).page
    await log_in(page)
    await page.get_by_role("searchbox").fill("la")
    await page.get_by_role("button", name="Search").click()
    await page.get_by_role("link", name="late").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("late")
