"""One site's day: what the page tells is what was received, and it is bounded."""

import re
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.uplink.receiver.batches import batch_of, events, post
from tests.uplink.receiver.fleet.fleets import hire, receiving, sight, sighting
from tests.uplink.receiver.fleet.test_app import form_key, get, log_in
from tests.uplink.receiver.storages import Place, Platform, running_platform
from tests.uplink.site import chain_of, event_body
from uplink.receiver import agents
from uplink.receiver.agents import AgentKey
from uplink.receiver.fleet.chart import chart
from uplink.receiver.fleet.siteday import BATCHES_SHOWN, EPOCHS_SHOWN, site_day
from uplink.receiver.fleet.verdict import Known
from uplink.receiver.serve import RunningReceiver

DAY = "2026-11-20"


def rows(text: str) -> list[list[str]]:
    """The words of each row of the page's tables."""
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
        found.append([" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in cells])
    return found


async def test_a_day_has_its_totals_hours_epochs_and_batches(storage: Place) -> None:
    """Whatever the storage is."""
    async with running_platform(storage) as platform:
        await hire(platform.store)
        async with aiohttp.ClientSession(platform.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            await check_a_day(browser, platform)


async def check_a_day(browser: aiohttp.ClientSession, receiver: Platform) -> None:
    calls = [
        event_body("site-1", "e-1", seq, type="call", quantity="1", time=f"{DAY}T{hour:02}:30:00Z")
        for seq, hour in enumerate((8, 8, 8, 17), 1)
    ]
    history = [*calls, event_body("site-1", "e-1", 5, quantity="1234.50"), b'{"no":"event"}']
    await post(receiver, batch_of(history, 1, 4))
    await post(receiver, batch_of(history, 5, 6))
    await post(receiver, batch_of(events("e-2", 1, 1), 1, 1, epoch="e-2", after_epoch="e-1", after_chain=b"x" * 32))
    await log_in(browser)
    _, text = await get(browser, f"/fleet/sites/site-1?day={DAY}")
    table = rows(text)
    assert ["call", "4", "minute", "4"] in table
    assert ["voice.minutes", "1,234.5", "minute", "1"] in table
    assert "Calls by hour. Busiest: 08:00 to 09:00: 3 calls" in text
    assert "17:00 to 18:00: 1 call<" in text
    today = f"{datetime.now(UTC):%H:%M}"
    newest, oldest = table[-2], table[-1]
    assert (newest[:2], newest[4:]) == (["e-2", "another end than the platform holds"], ["1", "0", "1", "0"])
    assert (oldest[:2], oldest[4:]) == (["e-1", "the first"], ["6", "5", "0", "1"])
    assert newest[2].startswith(today[:2])
    assert chain_of(events("e-2", 1, 1)).hex() in text
    assert "Friday, 20 November 2026" in text
    assert "Its numbering began anew 1 time without showing what came before." in text
    _, listed = await get(browser, "/fleet")
    assert [row[0] for row in rows(listed)[1:]] == ["site-1"]
    _, other = await get(browser, "/fleet/sites/site-1?day=2026-11-19")
    assert "Nothing was counted on this day." in other
    assert "No calls on this day." in other


async def test_a_site_that_is_none_has_no_page(browser: aiohttp.ClientSession) -> None:
    await log_in(browser)
    for path in ("/fleet/sites/nobody", "/fleet/sites/%00", "/fleet/sites/a%2Fb", "/fleet/sites/%3Cb%3E"):
        assert (await get(browser, path))[0] == 404, path


@pytest.mark.parametrize("day", ["yesterday", "20261120", "2026-11-31", "0001-01-01", "9999-12-31"])
async def test_a_day_that_is_none_has_no_page(
    browser: aiohttp.ClientSession, receiver: RunningReceiver, day: str
) -> None:
    await sight(receiver.store, sighting("a", 1))
    await log_in(browser)
    assert (await get(browser, f"/fleet/sites/a?day={day}"))[0] == 400


async def test_a_site_that_enrolled_and_never_reported_is_listed(
    browser: aiohttp.ClientSession, receiver: RunningReceiver
) -> None:
    for key, site, state in (("k1", "fresh", "new"), ("k2", "away", "revoked")):
        enrolled = AgentKey(key=key, agent=key, site=site, provider="p", public=b"", state=state)  # type: ignore[arg-type]
        await receiver.store.put(agents.KIND, key, msgspec.json.encode(enrolled))
    await log_in(browser)
    _, text = await get(browser, "/fleet?health=unheard")
    assert [row[0] for row in rows(text)[1:]] == ["fresh"]
    assert (await get(browser, "/fleet/sites/fresh"))[0] == 200
    assert (await get(browser, "/fleet/sites/away"))[0] == 404


async def test_a_site_whose_sighting_was_lost_is_listed_by_what_is_stored(
    browser: aiohttp.ClientSession, receiver: RunningReceiver
) -> None:
    await post(receiver, batch_of(events("e-1", 1, 3), 1, 3))
    await log_in(browser)
    _, text = await get(browser, "/fleet")
    assert [row[0] for row in rows(text)[1:]] == ["site-1"]


async def test_an_admin_names_a_site_and_finds_it_by_that(
    browser: aiohttp.ClientSession, receiver: RunningReceiver
) -> None:
    await sight(receiver.store, sighting("a-1", time.time_ns() // 1_000_000), sighting("a-2", 1))
    await log_in(browser)
    _, text = await get(browser, "/fleet/sites/a-1")
    name = {"form_key": form_key(text), "name": "  Köln\t<Dom> "}
    async with browser.post("/fleet/sites/a-1/name", data=name, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/fleet/sites/a-1")
    _, text = await get(browser, "/fleet?q=K%C3%96LN")
    assert [row[0] for row in rows(text)[1:]] == ["Köln &lt;Dom&gt; a-1"]
    async with browser.post("/fleet/sites/a-1/name", data=name | {"name": ""}, allow_redirects=False) as answer:
        assert answer.status == 303
    _, text = await get(browser, "/fleet?q=K%C3%96LN")
    assert "No site is like that." in text


async def test_a_viewer_names_nothing(tmp_path: Path) -> None:
    async with receiving(tmp_path) as running:
        await hire(running.store, role="viewer")
        await sight(running.store, sighting("a", 1))
        async with aiohttp.ClientSession(running.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            await log_in(browser)
            _, text = await get(browser, "/fleet/sites/a")
            assert 'name="name"' not in text
            data = {"form_key": form_key(text), "name": "x"}
            async with browser.post("/fleet/sites/a/name", data=data) as answer:
                assert answer.status == 403


async def test_a_name_is_given_by_our_own_form_only(browser: aiohttp.ClientSession, receiver: RunningReceiver) -> None:
    await sight(receiver.store, sighting("a", 1))
    await log_in(browser)
    for data in ({"name": "x"}, {"name": "x", "form_key": "0" * 64}, {"name": "x", "form_key": "ä"}):
        async with browser.post("/fleet/sites/a/name", data=data) as answer:
            assert answer.status == 403


async def test_however_long_a_site_has_reported_its_day_is_bounded(receiver: RunningReceiver) -> None:
    for number in range(EPOCHS_SHOWN + 3):
        await post(receiver, batch_of(events(f"e-{number:02}", 1, 1), 1, 1, epoch=f"e-{number:02}"))
    history = events("e-99", 1, BATCHES_SHOWN + 5)
    for seq in range(1, BATCHES_SHOWN + 6):
        await post(receiver, batch_of(history, seq, seq, epoch="e-99"))
    day = await site_day(receiver.store, Known(site="site-1"), DAY)
    assert [each.epoch for each in day.epochs][:2] == ["e-99", f"e-{EPOCHS_SHOWN + 2}"]
    assert len(day.epochs) == EPOCHS_SHOWN
    assert [each.last for each in day.batches] == list(range(BATCHES_SHOWN + 5, 5, -1))


def test_a_chart_is_drawn_of_sums_as_they_are() -> None:
    calls = [Decimal(0)] * 24
    assert chart(calls) is None
    calls[3], calls[4], calls[5] = Decimal(44), Decimal(-2), Decimal("1.5")
    drawn = chart(calls)
    assert drawn is not None
    assert (drawn.top, drawn.half) == ("50", "25")
    assert re.findall(r"<title>(.*?)</title>", drawn.svg)[3:6] == [
        "03:00 to 04:00: 44 calls",
        "04:00 to 05:00: -2 calls",
        "05:00 to 06:00: 1.5 calls",
    ]
