"""What the receiver tells of what it holds: sites by page and search, sums over all of them, gaps, receipts."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.uplink.platform import TOKEN, fetch, receiver_at
from tests.uplink.receiver.batches import batch_of, events, post
from tests.uplink.receiver.storages import Place, Platform, running_platform
from tests.uplink.site import START, chain_of, event_body
from uplink.batch import stamped
from uplink.feed import Item
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.storage import SitesQuery, TotalsQuery
from uplink.receiver.storage.sqlite import SqliteStore
from uplink.receiver.tokens import Tokens, token_hash


@pytest.fixture
async def receiver(storage: Place) -> AsyncIterator[Platform]:
    async with running_platform(storage) as platform:
        yield platform


async def tell(receiver: Platform | RunningReceiver, site: str, first: int, last: int, **changes: object) -> None:
    history = events("e-1", 1, last, site=site, **changes)
    assert (await post(receiver, batch_of(history, first, last), site=site))[0] == 200


async def refused(receiver: Platform | RunningReceiver, path: str, token: str = TOKEN) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
        session.get(receiver.url + path) as response,
    ):
        document: dict[str, Any] = await response.json(content_type="application/problem+json")
        return response.status, document["code"]


async def names(receiver: Platform | RunningReceiver, query: str) -> tuple[list[str], str | None]:
    answer = await fetch(receiver, f"/v1/sites{query}")
    return [each["site"] for each in answer["sites"]], answer["next"]


async def test_sites_come_by_page_in_the_order_of_their_names(receiver: Platform | RunningReceiver) -> None:
    for site in ("delta", "alpha", "charlie", "bravo"):
        await tell(receiver, site, 1, 2)
    assert await names(receiver, "") == (["alpha", "bravo", "charlie", "delta"], None)
    assert await names(receiver, "?limit=3") == (["alpha", "bravo", "charlie"], "charlie")
    assert await names(receiver, "?limit=3&after=charlie") == (["delta"], None)


async def test_sites_are_found_by_a_part_of_their_name(receiver: Platform | RunningReceiver) -> None:
    for site in ("Hamburg-1", "hamburg-2", "bremen_100", "bremen-100"):
        await tell(receiver, site, 1, 1)
    assert (await names(receiver, "?search=BURG"))[0] == ["Hamburg-1", "hamburg-2"]
    assert (await names(receiver, "?search=_1"))[0] == ["bremen_100"]


async def test_a_site_is_summed_up_over_its_epochs(receiver: Platform | RunningReceiver) -> None:
    await tell(receiver, "site-1", 1, 3)
    later = [*events("e-2", 1, 1, id="new", time="2026-12-01T00:00:00Z"), b'{"no":"event"}']
    named = batch_of(later, 1, 2, epoch="e-2", after_epoch="e-1", after_chain=chain_of(events("e-1", 1, 3)))
    await post(receiver, named)
    (site,) = (await fetch(receiver, "/v1/sites"))["sites"]
    shown = {key: site[key] for key in ("epoch", "acked_through", "epochs", "broken", "counted", "rejected")}
    assert shown == {"epoch": "e-2", "acked_through": 2, "epochs": 2, "broken": 0, "counted": 4, "rejected": 1}


async def test_sums_are_over_all_sites_or_site_by_site(receiver: Platform | RunningReceiver) -> None:
    await tell(receiver, "a", 1, 3, quantity="0.1")
    await tell(receiver, "b", 1, 2, quantity="123456789012345678", time="2026-11-21T00:00:00Z")
    await tell(receiver, "c", 1, 1, quantity="-0.000000000001", type="call")

    async def rows(query: str) -> list[tuple[str, str, str, str]]:
        totals = (await fetch(receiver, f"/v1/totals{query}"))["totals"]
        return [(each.get("site", ""), each["day"], each["meter"], each["quantity"]) for each in totals]

    assert await rows("") == [("", "", "call", "-0.000000000001"), ("", "", "voice.minutes", "246913578024691356.3")]
    assert await rows("?by=day&meter=voice.minutes") == [
        ("", "2026-11-20", "voice.minutes", "0.3"),
        ("", "2026-11-21", "voice.minutes", "246913578024691356"),
    ]
    assert await rows("?from=2026-11-21") == [("", "", "voice.minutes", "246913578024691356")]
    assert await rows("?to=2026-11-20&meter=call") == [("", "", "call", "-0.000000000001")]
    assert await rows("?day=2026-11-20&by=site") == [
        ("a", "2026-11-20", "voice.minutes", "0.3"),
        ("c", "2026-11-20", "call", "-0.000000000001"),
    ]
    page = await fetch(receiver, "/v1/totals?by=site,day&limit=1&after=a")
    assert ([each["site"] for each in page["totals"]], page["next"]) == (["b"], "b")


async def test_sums_over_all_sites_are_there_after_an_update_of_the_store(tmp_path: Path) -> None:
    async with receiver_at(tmp_path) as receiver:
        await tell(receiver, "a", 1, 3)
        await tell(receiver, "b", 1, 4)
    with sqlite3.connect(tmp_path / "receiver.db") as db:
        db.execute("DROP TABLE fleet_total")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'totals_over_all_sites'")
    async with receiver_at(tmp_path) as receiver:
        (total,) = (await fetch(receiver, "/v1/totals"))["totals"]
        assert (total["quantity"], total["events"]) == ("0.7", 7)


async def test_calls_are_summed_by_the_hour_in_which_they_began(receiver: Platform) -> None:
    times = ("2026-11-20T00:00:00Z", "2026-11-20T00:59:59.999Z", "2026-11-20T23:30:00Z", "2026-11-21T00:00:00+01:00")
    calls = [event_body("a", "e-1", seq, type="call", quantity="1", time=time) for seq, time in enumerate(times, 1)]
    correction = event_body("a", "e-1", 5, type="call", quantity="-1", time=times[0])
    minutes = event_body("a", "e-1", 6, quantity="60", time=times[0])
    history = [*calls, correction, minutes]
    for first, last in ((1, 3), (1, 3), (2, 6)):
        assert (await post(receiver, batch_of(history, first, last), site="a"))[0] == 200
    expected = {0: 1, 23: 2}
    assert await receiver.store.calls_by_hour("a", "2026-11-20") == [expected.get(hour, 0) for hour in range(24)]
    assert await receiver.store.calls_by_hour("a", "2026-11-21") == [0] * 24
    assert await receiver.store.calls_by_hour("nobody", "2026-11-20") == [0] * 24


async def test_calls_by_hour_are_there_after_an_update_of_the_store(tmp_path: Path) -> None:
    async with receiver_at(tmp_path) as receiver:
        await tell(receiver, "a", 1, 3, type="call", quantity="1", time="2026-11-20T23:59:59.999Z")
    with sqlite3.connect(tmp_path / "receiver.db") as db:
        db.execute("DROP TABLE call_hour")
        db.execute("DELETE FROM _sqlite_migrations WHERE name = 'calls_by_hour'")
    async with receiver_at(tmp_path) as receiver:
        assert (await receiver.store.calls_by_hour("a", "2026-11-20"))[23] == 3


async def test_gaps_are_epochs_that_do_not_continue(receiver: Platform) -> None:
    for site in ("broken", "well"):
        await tell(receiver, site, 1, 1)
    other = batch_of(events("e-2", 1, 1, site="broken"), 1, 1, epoch="e-2", after_epoch="e-1", after_chain=START)
    assert (await post(receiver, other, site="broken"))[0] == 200
    orphan = batch_of(events("e-9", 1, 1, site="orphan"), 1, 1, epoch="e-9", after_epoch="e-8", after_chain=b"8" * 32)
    assert (await post(receiver, orphan, site="orphan"))[0] == 200
    gaps = (await fetch(receiver, "/v1/gaps"))["gaps"]
    found = {gap["site"]: (gap["silent_since_ms"], [each["epoch"] for each in gap["epochs"]]) for gap in gaps}
    assert found == {"broken": (None, ["e-2"]), "orphan": (None, ["e-9"])}
    broken = {each["site"]: each["broken"] for each in (await fetch(receiver, "/v1/sites"))["sites"]}
    assert broken == {"broken": 1, "orphan": 1, "well": 0}
    assert (await fetch(receiver, "/v1/gaps?limit=1"))["next"] == "broken"


async def test_gaps_are_sites_that_are_silent(receiver: Platform) -> None:
    await tell(receiver, "quiet", 1, 1)
    await asyncio.sleep(2.1)
    await tell(receiver, "loud", 1, 1)
    (gap,) = (await fetch(receiver, "/v1/gaps?silent_s=2"))["gaps"]
    assert (gap["site"], gap["epochs"]) == ("quiet", [])
    assert gap["silent_since_ms"] > 1_700_000_000_000
    assert (await fetch(receiver, "/v1/gaps"))["gaps"] == []


async def test_receipts_say_what_was_acknowledged_and_the_chain_there(receiver: Platform | RunningReceiver) -> None:
    for first, last in ((1, 4), (5, 5), (3, 9)):
        await tell(receiver, "site-1", first, last)
    answer = await fetch(receiver, "/v1/sites/site-1/receipts")
    assert [(each["first"], each["last"]) for each in answer["receipts"]] == [(1, 4), (5, 5), (6, 9)]
    assert (answer["epoch"], answer["next"]) == ("e-1", None)
    page = await fetch(receiver, "/v1/sites/site-1/receipts?epoch=e-1&after=4&limit=1")
    assert ([each["last"] for each in page["receipts"]], page["next"]) == ([5], 5)
    assert (await fetch(receiver, "/v1/sites/none/receipts"))["receipts"] == []


async def test_a_site_shows_what_its_agent_said_of_itself(tmp_path: Path) -> None:
    async with receiver_at(tmp_path) as receiver:
        await post(receiver, batch_of(events("e-1", 1, 1), 1, 1), **{"Meter-Agent": 'version="1.2.3", backlog=7'})
    async with receiver_at(tmp_path) as receiver:
        status = (await fetch(receiver, "/v1/sites/site-1"))["seen"]["status"]
        assert (status["version"], status["backlog"]) == ("1.2.3", 6)


@pytest.mark.parametrize(
    ("told", "end", "left"),
    [
        ("backlog=2, oldest=1000, newest=2000", 2, (0, 0, 0)),
        ("backlog=5, oldest=1000, newest=2000", 5, (3, 1000, 2000)),
        ("backlog=5, oldest=1000, newest=2000", 2, (3, 1000, 2000)),
        ("backlog=3, oldest=1000, newest=2000", 100, (3, 1000, 2000)),
        ("backlog=0", 100, (0, 0, 0)),
    ],
    ids=["all of it came", "some came", "more waits in another epoch", "it was sent again", "nothing waited"],
)
async def test_what_came_with_a_batch_waits_at_the_site_no_more(
    tmp_path: Path, told: str, end: int, left: tuple[int, int, int]
) -> None:
    batch = stamped(batch_of(events("e-1", 1, 2), 1, 2), 0, end, bytes(32))
    async with receiver_at(tmp_path) as receiver:
        assert (await post(receiver, batch, **{"Meter-Agent": told}))[0] == 200
    async with receiver_at(tmp_path) as receiver:
        status = (await fetch(receiver, "/v1/sites/site-1"))["seen"]["status"]
        assert (status["backlog"], status["oldest_s"], status["newest_s"]) == left


async def test_events_of_epochs_that_came_in_turn_are_read_by_page_in_the_order_in_which_they_came(
    receiver: Platform | RunningReceiver,
) -> None:
    sent = []
    for first, last in ((1, 3), (4, 4), (5, 9)):
        for epoch in ("e-1", "e-2"):
            history = [event_body("site-1", epoch, seq, id=f"{epoch}-{seq}") for seq in range(1, last + 1)]
            await post(receiver, batch_of(history, first, last, epoch=epoch))
            sent += [(epoch, seq) for seq in range(first, last + 1)]
            await tell(receiver, f"other-{epoch}-{last}", 1, 2)
    read: list[tuple[str, int]] = []
    after = 0
    while (page := await fetch(receiver, f"/v1/sites/site-1/events?after={after}&limit=4"))["events"]:
        read += [(each["epoch"], each["seq"]) for each in page["events"]]
        after = page["next"]
    assert read == sent


async def test_a_page_of_large_events_is_shorter_than_its_limit(
    receiver: Platform | RunningReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("queries", "postgres"):
        monkeypatch.setattr(f"uplink.receiver.storage.{module}.EVENTS_MAX_BYTES", 2000)
    await tell(receiver, "site-1", 1, 5, padding="x" * 900)
    pages = [await fetch(receiver, "/v1/sites/site-1/events")]
    while pages[-1]["events"]:
        pages.append(await fetch(receiver, f"/v1/sites/site-1/events?after={pages[-1]['next']}"))
    assert [[each["seq"] for each in page["events"]] for page in pages] == [[1, 2], [3, 4], [5], []]


WRONG_QUESTIONS = (
    "/v1/sites?limit=0",
    "/v1/sites?limit=1001",
    "/v1/sites?search=%25",
    "/v1/sites?after=",
    "/v1/sites?serach=a",
    "/v1/sites?limit=1&limit=2",
    "/v1/gaps?silent_s=0",
    "/v1/totals?by=hour",
    "/v1/totals?by=",
    "/v1/totals?limit=5",
    "/v1/totals?day=2026-11-20&from=2026-11-20",
    "/v1/totals?from=20261120",
    "/v1/totals?from=2026-11-21&to=2026-11-20",
    "/v1/totals?by=site&day=tomorrow&after=zzz",
    "/v1/sites/site-1/totals?from=2026-11-21&to=2026-11-20",
    "/v1/sites/site-1/totals?by=site",
    "/v1/sites/site-1/receipts?after=x",
    "/v1/sites/site-1/events?limit=5001",
    "/v1/sites/site-1?verbose=1",
)


@pytest.mark.parametrize("path", WRONG_QUESTIONS)
async def test_a_question_that_is_misspelt_is_not_answered_with_something_else(
    receiver: Platform | RunningReceiver, path: str
) -> None:
    assert await refused(receiver, path) == (400, "bad_query")


READ_BY_ALL = ("/v1/sites", "/v1/gaps", "/v1/totals")
READ_BY_SITE = ("", "/totals", "/receipts", "/events")


async def test_an_agents_token_reads_nothing_and_others_read_what_is_theirs(tmp_path: Path) -> None:
    tokens = Tokens(
        write={token_hash("agent"): "*"}, read={token_hash("one"): "site-1"}, operate={token_hash("all"): "*"}
    )
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=tokens, port=0))
    try:
        for path in [*READ_BY_ALL, *(f"/v1/sites/site-1{each}" for each in READ_BY_SITE)]:
            assert await refused(running, path, "agent") == (401, "unauthorized")
            assert await refused(running, path, "nobody") == (401, "unauthorized")
            if path in READ_BY_ALL:
                assert await refused(running, path, "one") == (403, "forbidden")
            async with (
                aiohttp.ClientSession(headers={"Authorization": "Bearer all"}) as session,
                session.get(running.url + path) as response,
            ):
                assert response.status == 200
        assert await refused(running, "/v1/sites/site-2/totals", "one") == (403, "forbidden")
    finally:
        await running.close()


async def test_counted_events_of_all_sites_come_in_one_order_that_never_grows_in_its_midst(receiver: Platform) -> None:
    """Twelve sites write at once while somebody reads on from the last position."""
    store, sites = receiver.store, [f"site-{n}" for n in range(12)]
    histories = {site: events("e-1", 1, 120, site=site) for site in sites}
    read: list[Item] = []

    async def write(site: str) -> None:
        for first in range(1, 121, 10):
            assert (await post(receiver, batch_of(histories[site], first, first + 9), site=site))[0] == 200

    async def follow() -> None:
        while len(read) < 12 * 120:
            read.extend(await store.counted(read[-1].position if read else 0, 77))
            await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await asyncio.gather(follow(), *map(write, sites))
    assert [each.position for each in read] == sorted({each.position for each in read})
    assert sorted(each.body for each in read) == sorted(body for history in histories.values() for body in history)
    assert await store.newest() == read[-1].position
    assert await store.counted(read[-1].position, 9) == []


async def test_a_page_of_sites_costs_the_same_among_few_and_many(tmp_path: Path) -> None:
    """Counted in steps of SQLite's machine, not in time."""
    steps = {}
    for sites in (200, 5000):
        store = await SqliteStore.open(str(tmp_path / f"{sites}.db"))

        def fill(db: sqlite3.Connection, sites: int = sites) -> None:
            db.executemany("INSERT INTO site (id, name) VALUES (?, ?)", [(n, f"s-{n:06}") for n in range(sites)])
            db.executemany(
                "INSERT INTO epoch (site_id, name, acked_through, chain, reached_ms, began_ms, seen_ms, skew_ms,"
                " after_epoch, after_chain) VALUES (?, 'e', 1, x'', 0, 0, 9, 0, '', x'')",
                [(n,) for n in range(sites)],
            )

        await store._write(fill)
        taken = 0

        def step() -> int:
            nonlocal taken
            taken += 1
            return 0

        await store._read(lambda db, step=step: db.set_progress_handler(step, 10))  # type: ignore[misc]
        page = await store.sites(SitesQuery(after="s-000100", limit=50))
        assert (len(page), page[0].site, page[0].broken) == (50, "s-000101", 0)
        steps[sites] = taken
        assert await store.totals(TotalsQuery()) == []
        await store.close()
    assert steps[5000] < 1.2 * steps[200]
