"""What the receiver knows of a site besides its events: when it was heard, by which clock, and what its agent said."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.uplink.platform import Clock, receiver_at, shipping
from tests.uplink.receiver.batches import batch_of, events, post
from tests.uplink.site import MemoryOutbox
from uplink.receiver.seen import KIND, Seen, Sightings, read
from uplink.receiver.storage import StoreUnavailable
from uplink.receiver.storage.sqlite import SqliteStore
from uplink.status import AgentStatus


async def test_a_heartbeat_says_how_the_agent_is(tmp_path: Path) -> None:
    outbox, clock = MemoryOutbox(), Clock()
    outbox.record(3)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url, clock) as shipper:
        shipper.status = lambda: AgentStatus(version="0.2.0", problems=("dns", "source_rejects"))
        await shipper.upload()
        await shipper.upload()
    store = await SqliteStore.open(str(tmp_path / "receiver.db"))
    document = await store.get(KIND, "site-1")
    await store.close()
    assert document is not None
    seen = read(document.body)
    assert (seen.site, seen.epoch, seen.acked_through) == ("site-1", "epoch-1", 3)
    assert seen.status == AgentStatus(version="0.2.0", interval_s=900, problems=("dns", "source_rejects"))
    assert abs(clock.now_ms - seen.seen_ms - seen.skew_ms) < 1000


class Broken(SqliteStore):
    fails = True

    async def put_all(self, kind: str, bodies: Mapping[str, bytes]) -> None:
        if self.fails:
            raise StoreUnavailable("full")
        await super().put_all(kind, bodies)


async def test_what_the_store_cannot_take_now_is_written_later_and_the_newest_holds(tmp_path: Path) -> None:
    store = Broken(str(tmp_path / "r.db"))
    store.__dict__.update((await SqliteStore.open(str(tmp_path / "r.db"))).__dict__)
    sightings = Sightings(store)
    old, new = (Seen(site="s", seen_ms=n, epoch="e", acked_through=n, skew_ms=0) for n in (1, 2))
    sightings.note(old)
    await sightings.write()
    sightings.note(new)
    store.fails = False
    await asyncio.gather(sightings.write(), sightings.write())
    document = await store.get(KIND, "s")
    assert document is not None
    assert read(document.body) == new
    await store.close()


@pytest.mark.parametrize("field", ["", "nonsense((", "backlog=1.5"])
async def test_a_batch_without_a_readable_word_of_the_agent_is_as_good(tmp_path: Path, field: str) -> None:
    outbox = MemoryOutbox()
    outbox.record(2)
    async with receiver_at(tmp_path) as receiver, shipping(outbox, receiver.url) as shipper:
        post = shipper.destination.post

        async def changed(batch):  # type: ignore[no-untyped-def]
            batch.headers["Meter-Agent"] = field
            return await post(batch)

        shipper.destination.post = changed  # type: ignore[method-assign]
        assert (await shipper.upload()).problem == ""
    assert outbox.acked == 2


async def test_a_batch_that_cannot_be_placed_is_noted_until_one_can(tmp_path: Path) -> None:
    """A site whose ledger went back is heard, and never acknowledged: its silence would not show it."""
    ten, twin = events("e-1", 1, 10), events("e-1", 1, 10, quantity="7")
    for batch, refused in (
        (batch_of(ten, 1, 5), ""),
        (batch_of(twin, 1, 5), "conflict"),
        (batch_of(ten, 8, 9), "gap"),
        (batch_of(ten, 6, 9), ""),
    ):
        async with receiver_at(tmp_path) as receiver:
            await post(receiver, batch)
        store = await SqliteStore.open(str(tmp_path / "receiver.db"))
        document = await store.get(KIND, "site-1")
        await store.close()
        assert document is not None
        assert read(document.body).refused == refused


async def test_since_when_something_is_wrong_is_kept_until_it_is_right(tmp_path: Path) -> None:
    store = await SqliteStore.open(str(tmp_path / "r.db"))
    told = []
    for at_ms, skew_ms, refused in (
        (1, 300_000, ""),
        (2, -300_001, ""),
        (3, 400_000, "gap"),
        (4, 0, "gap"),
        (5, 0, "conflict"),
        (6, 300_001, ""),
    ):
        sightings = Sightings(store)
        seen = Seen(site="s", seen_ms=at_ms, epoch="e", acked_through=0, skew_ms=skew_ms, refused=refused)  # type: ignore[arg-type]
        sightings.note(seen)
        await sightings.write()
        document = await store.get(KIND, "s")
        assert document is not None
        written = read(document.body)
        told.append((written.wrong_since_ms, written.refused_since_ms))
    await store.close()
    assert told == [(0, 0), (2, 0), (2, 3), (0, 3), (0, 5), (6, 0)]


async def test_a_ledger_that_ends_earlier_than_it_said_is_told_of_until_its_epoch_ends(tmp_path: Path) -> None:
    store = await SqliteStore.open(str(tmp_path / "r.db"))

    async def after(*heads: tuple[str, int, int]) -> int:
        """What is told after heads of an epoch, the site's time, and where its ledger ended; each by a receiver of its own."""
        for epoch, at_ms, end in heads:
            sightings = Sightings(store)
            for seen_ms in (at_ms, at_ms):
                sightings.note(Seen(site="s", seen_ms=seen_ms, epoch=epoch, acked_through=0, skew_ms=0, end=end))
                await sightings.write()
        document = await store.get(KIND, "s")
        assert document is not None
        return read(document.body).cut

    assert await after(("e", 1000, 10), ("e", 2000, 12)) == 0
    assert await after(("e", 1500, 11)) == 0  # overtaken on its way
    assert await after(("e", 3000, 7)) == 5
    assert await after(("e", 4000, 30), ("e", 5000, 29)) == 5
    assert await after(("e-2", 6000, 1)) == 0
    await store.close()
