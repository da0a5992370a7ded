"""The ledger as forwarders read it: every event once and in order, over epochs and restarts."""

import asyncio
import json
from pathlib import Path

from agent.ledger.feed import LedgerFeed
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.queries import uplinks
from agent.ledger.store import open_for_reading
from collectors.contract import Batch
from tests.agent.ledger.desk import NOON_MS, SITE, open_ledger, row
from tests.agent.ledger.test_ledger import events, put
from uplink.outbox import Refusal

DAY_MS = 24 * 3_600_000


async def drain(feed: LedgerFeed, name: str, at_once: int = 7) -> list[str]:
    ids: list[str] = []
    place = await feed.place(name)
    while items := await feed.read(place.through, at_once, 1 << 20):
        ids += [json.loads(item.body)["id"] for item in items]
        await feed.taken(name, items[-1].position, [])
        place = await feed.place(name)
    return ids


def test_each_destination_reads_everything_once_whatever_the_others_do(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row(f"c{n}", start_s=n) for n in range(9)], checkpoint=b"x"))

    async def read() -> None:
        feed = LedgerFeed(ledger)
        ids = [str(event["id"]) for event in events(ledger)]
        assert await drain(feed, "one") == ids
        assert await drain(feed, "one") == []
        assert await drain(feed, "two", 100) == ids
        feed.close()

    asyncio.run(read())
    ledger.close()


def test_what_a_new_epoch_writes_again_is_not_given_a_second_time(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row(f"c{n}", start_s=n) for n in range(4)], checkpoint=b"x"))

    async def renumber() -> None:
        feed, outbox = LedgerFeed(ledger), LedgerOutbox(ledger, SITE.id, SITE.urn)
        first = [str(event["id"]) for event in events(ledger)]
        items = await feed.read(0, 5, 1 << 20)
        await feed.place("behind")
        await feed.taken("behind", items[-1].position, [])
        await outbox.cursor("platform")
        await outbox.begin_epoch("conflict")
        assert await drain(feed, "behind") == first[5:]
        assert await drain(feed, "fresh") == first
        feed.close()
        outbox.close()

    asyncio.run(renumber())
    ids = [event["id"] for event in events(ledger)]
    assert len(ids) == 2 * len(set(ids))
    put(ledger, Batch(records=[row("c9", start_s=90)], checkpoint=b"x"))

    async def later() -> list[str]:
        feed = LedgerFeed(ledger)
        try:
            return await drain(feed, "behind")
        finally:
            feed.close()

    assert asyncio.run(later()) == [event["id"] for event in events(ledger)[len(ids) :]]
    ledger.close()


def test_refusals_go_to_the_destinations_own_quarantine_and_the_place_survives_a_restart(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row(f"c{n}", start_s=n) for n in range(4)], checkpoint=b"x"))

    async def refuse() -> None:
        feed = LedgerFeed(ledger)
        await feed.place("one")
        await feed.taken("one", 6, [Refusal(seq=3, code="refused_400", message="no such meter")])
        await feed.save_backoff("one", b"state")
        feed.close()

    asyncio.run(refuse())
    ledger.close()
    ledger = open_ledger(tmp_path)

    async def look() -> None:
        feed = LedgerFeed(ledger)
        place = await feed.place("one")
        assert (place.through, place.backoff) == (6, b"state")
        feed.close()

    asyncio.run(look())
    db = open_for_reading(ledger.path)
    (view,) = uplinks(db)
    assert (view.destination, view.acked_through, view.refused) == ("one", 6, 1)
    assert view.backlog == view.last_sequence - 6 > 0
    db.close()
    ledger.close()


def test_a_new_destination_may_begin_with_the_next_event(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row("old")], checkpoint=b"x"))

    async def read() -> list[str]:
        feed = LedgerFeed(ledger, frozenset({"late"}))
        try:
            return await drain(feed, "late")
        finally:
            feed.close()

    assert asyncio.run(read()) == []
    before = len(events(ledger))
    put(ledger, Batch(records=[row("new", start_s=60)], checkpoint=b"y"))
    assert asyncio.run(read()) == [event["id"] for event in events(ledger)[before:]]
    ledger.close()


def test_nothing_is_pruned_that_a_configured_destination_lacks(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, retention_days=10)
    put(ledger, Batch(records=[row(f"c{n}", start_s=n * 60) for n in range(20)], checkpoint=b"x"))
    total = len(events(ledger))
    ledger.close()
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 40 * DAY_MS, retention_days=10)

    async def stand(forwards: set[str]) -> None:
        feed = LedgerFeed(ledger)
        for name in ("quick", "slow"):
            await feed.place(name)
        await feed.taken("quick", total, [])
        await feed.taken("slow", 10, [])
        await feed.only(set(), forwards)
        feed.close()

    asyncio.run(stand({"quick", "slow"}))
    ledger.prune_all()
    assert len(events(ledger)) == total - 9
    asyncio.run(stand({"quick"}))
    ledger.prune_all()
    assert len(events(ledger)) == 1
    ledger.close()
