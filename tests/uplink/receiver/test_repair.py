"""Rows that a store lost come back when their site is asked to send again: those and no others, each in its place."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.uplink.platform import Clock, shipping
from tests.uplink.receiver.batches import batch_of, events, post
from tests.uplink.receiver.damage import asked, do, dumped, rows_of
from tests.uplink.receiver.storages import Place, Platform, running_platform
from tests.uplink.receiver.test_resending import ask, standing
from tests.uplink.site import MemoryOutbox, chain_of
from uplink.receiver import acts
from uplink.receiver.audit import Auditable, audit
from uplink.receiver.mending import Anchors, Proved, Waiting, prove
from uplink.receiver.placing import Conflict, Gap
from uplink.receiver.storage.opening import open_storage
from uplink.receiver.storage.positions import Neighbours, free_positions

EVENTS = 100


@pytest.fixture
async def receiver(storage: Place) -> AsyncIterator[Platform]:
    async with running_platform(storage) as platform:
        yield platform


@asynccontextmanager
async def reported(receiver: Platform) -> AsyncIterator[MemoryOutbox]:
    """A site that has sent everything by tens, with a stranger's batches between them; every ninth cannot be counted."""
    outbox = MemoryOutbox()
    strangers = events("e-1", 1, EVENTS, site="site-2")
    async with shipping(outbox, receiver.url, Clock(), max_events=10) as site:
        for batch in range(EVENTS // 10):
            for seq in range(10 * batch + 1, 10 * batch + 11):
                outbox.record(1, **({"type": "electricity"} if seq % 9 == 0 else {}))
            assert (await site.upload()).problem == ""
            first = 10 * batch + 1
            assert (await post(receiver, batch_of(strangers, first, first + 9), site="site-2"))[0] == 200
    await receiver.settle("site-1")
    yield outbox


async def sent_again(receiver: Platform, outbox: MemoryOutbox, first: int, at_once: int) -> None:
    """The site is asked, and does what it is asked."""
    await ask(receiver, first)
    async with shipping(outbox, receiver.url, Clock(), max_events=at_once) as site:
        for _ in range(3):
            assert (await site.upload()).problem == ""
    assert await standing(receiver) is None
    assert outbox.epochs_begun == []


async def holds(place: Place) -> None:
    store = await open_storage(rows_of(place))
    try:
        assert isinstance(store, Auditable)
        assert (await audit(store)).events == 2 * EVENTS
    finally:
        await store.close()


async def eventually(check: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    """A log is booked a moment later."""
    async with asyncio.timeout(10):
        while await check() != wanted:
            await asyncio.sleep(0.02)


OF_SITE = "epoch_id = (SELECT epoch.id FROM epoch JOIN site ON site.id = site_id WHERE site.name = 'site-1')"
HOLES = {
    "seq = 37": 37,
    "seq BETWEEN 34 AND 36": 34,
    "seq BETWEEN 28 AND 52": 28,
    "seq IN (12, 13, 88)": 12,
    "seq % 2 = 0 AND seq < 99": 1,
}
"""What is deleted, and from where on the site is asked. Every ninth row was refused; ten came at once."""


async def test_holes_are_filled_and_only_they_each_row_in_its_old_place(storage: Place, receiver: Platform) -> None:
    async with reported(receiver) as outbox:
        before = await dumped(storage)
        for (hole, first), at_once in itertools.product(HOLES.items(), (10, 7)):
            await do(storage, *(f"DELETE FROM {table} WHERE {OF_SITE} AND {hole}" for table in ("event", "exception")))
            assert await dumped(storage) != before
            await sent_again(receiver, outbox, first, at_once)
            await eventually(lambda: dumped(storage), before)
        await holds(storage)
    (mended, *_) = [each for each in await acts.of_site(receiver.store, "site-1", 50) if each.what == "mended"]
    assert (mended.who, "rows" in mended.detail) == ("the site, asked again", True)


async def test_a_lost_end_comes_back_too(storage: Place, receiver: Platform) -> None:
    async with reported(receiver) as outbox:
        before = await dumped(storage, positions=False)
        await do(storage, f"DELETE FROM event WHERE {OF_SITE} AND seq > 85")
        await sent_again(receiver, outbox, 86, 10)
        await eventually(lambda: dumped(storage, positions=False), before)
        await holds(storage)


async def test_rows_that_were_changed_are_as_they_were_sent_again(storage: Place, receiver: Platform) -> None:
    async with reported(receiver) as outbox:
        before = await dumped(storage)
        await do(
            storage,
            f"UPDATE event SET quantity = '70' WHERE {OF_SITE} AND seq = 41",
            f"UPDATE event SET status = 2 WHERE {OF_SITE} AND seq = 42",
            f"UPDATE event SET body = (SELECT body FROM event WHERE {OF_SITE} AND seq = 44) WHERE {OF_SITE} AND seq = 43",
        )
        await sent_again(receiver, outbox, 41, 10)
        await eventually(lambda: dumped(storage), before)


async def test_nothing_is_filled_that_was_not_asked_for_or_is_not_what_was_sent(
    storage: Place, receiver: Platform
) -> None:
    async with reported(receiver) as outbox:
        await do(storage, f"DELETE FROM event WHERE {OF_SITE} AND seq BETWEEN 31 AND 50")
        damaged = await dumped(storage)
        whole = outbox.bodies
        assert (await post(receiver, batch_of(whole, 31, 40, "epoch-1")))[1]["duplicate"] is True
        assert await dumped(storage) == damaged
        await ask(receiver, 31)
        forged = whole[:32] + [body.replace(b'"0.1"', b'"0.0"') for body in whole[32:40]] + whole[40:]
        if receiver.is_log:  # it knows by itself
            assert (await post(receiver, batch_of(forged, 31, 40, "epoch-1")))[0] == 409
        else:
            assert (await post(receiver, batch_of(forged, 31, 35, "epoch-1")))[0] == 200
            assert (await post(receiver, batch_of(forged, 36, 41, "epoch-1")))[1]["code"] == "conflict"
            assert (await post(receiver, batch_of(forged, 31, 40, "epoch-1")))[1]["code"] == "conflict"
        assert await dumped(storage) == damaged
        await sent_again(receiver, outbox, 31, 10)
        await eventually(lambda: holes(storage), [])


async def holes(place: Place) -> list[int]:
    there = {seq for (seq,) in await asked(place, f"SELECT seq FROM event WHERE {OF_SITE}")}
    return sorted(set(range(1, EVENTS + 1)) - there)


# --- the pure part

HISTORY = events("e-1", 1, 40)


def head_and_bodies(history: list[bytes], first: int, last: int) -> tuple[Any, list[bytes]]:
    return batch_of(history, first, last).head, history[first - 1 : last]


@given(st.sets(st.integers(1, 39), max_size=8), st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_whatever_the_cuts_everything_is_proved_once_and_in_order(ends: set[int], cuts: list[int]) -> None:
    """The store has lost every row, and knows the chain at `ends` and at its watermark."""
    known = {0: bytes(32)} | {end: chain_of(HISTORY[:end]) for end in ends | {40}}
    filled: list[bytes] = []
    waiting: Waiting | None = None
    first = 1
    for length in [*cuts, 40]:
        last = min(40, first + length - 1)
        if first > last:
            break
        start = max(number for number in known if number < first)
        anchors = Anchors(
            start=start,
            chain=known[start],
            ends={number: chain for number, chain in known.items() if start < number <= last},
            acked=40,
        )
        head, bodies = head_and_bodies(HISTORY, first, last)
        found = prove(anchors, head, bodies, dict(enumerate(filled, 1)), waiting)
        assert isinstance(found, Proved)
        assert found.first - 1 + len(found.bodies) + len(found.waiting) == last
        filled[found.first - 1 :] = found.bodies
        waiting = Waiting(epoch="e-1", first=len(filled) + 1, bodies=found.waiting) if found.waiting else None
        first = last + 1
    assert filled == HISTORY


def test_what_does_not_begin_at_a_known_place_is_asked_from_there() -> None:
    anchors = Anchors(start=10, chain=chain_of(HISTORY[:10]), ends={}, acked=40)
    head, bodies = head_and_bodies(HISTORY, 15, 20)
    assert prove(anchors, head, bodies, {}, None) == Gap(11)
    assert prove(anchors, head, bodies, dict.fromkeys(range(11, 15), b"{}"), None) == Gap(11)
    of_another = Waiting(epoch="e-2", first=11, bodies=HISTORY[10:14])
    assert prove(anchors, head, bodies, {}, of_another) == Gap(11)
    twin = [b'{"another":1}', *HISTORY[1:]]
    assert isinstance(prove(anchors, *head_and_bodies(twin, 11, 20), {}, None), Conflict)


@given(st.sets(st.integers(1, 60)), st.data())
def test_free_positions_lie_between_the_neighbours_and_ascend(used: set[int], data: st.DataObject) -> None:
    before, behind = data.draw(st.integers(0, 60)), data.draw(st.integers(0, 61))
    missing = data.draw(st.integers(1, 70))
    wanted = data.draw(st.integers(1, missing))
    between = sorted(place for place in used if before < place < behind)
    beside = Neighbours(before=before, behind=behind, missing=missing)
    found = free_positions(wanted, beside, between if before else between[::-1])
    assert found == sorted(found)
    assert len(found) <= wanted
    assert all(before < place < behind and place not in used for place in found)
