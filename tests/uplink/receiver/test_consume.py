"""Out of the log into the books: in order, again, after the books were away or went back, and when the log lost something."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from nats.js.errors import NotFoundError

from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.storages import booking, settled
from tests.uplink.receiver.test_booking import incoming
from uplink.receiver.consume import KIND, Consumer, StoreBooks, Unbooked, running
from uplink.receiver.placing import Append, Conflict, Duplicate, Placement
from uplink.receiver.storage import Incoming, Storage, StoreUnavailable, TotalsQuery
from uplink.receiver.storage.jetstream import JetStreamStore
from uplink.receiver.storage.opening import open_storage


@asynccontextmanager
async def log_and_books(server: NatsServer, path: Path) -> AsyncIterator[tuple[JetStreamStore, Storage]]:
    books = await open_storage(str(path))
    log = await JetStreamStore.open(server.url, books)
    try:
        yield log, books
    finally:
        await log.close()


async def no_sleep(_seconds: float) -> None:
    await asyncio.sleep(0)


async def numbers(books: Storage, site: str = "site-1") -> list[int]:
    return [each.seq for each in await books.events(site, 0, 99)]


async def test_what_is_logged_is_booked_in_order(nats_server: NatsServer, tmp_path: Path) -> None:
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books):
        for seq in range(1, 10):
            await log.append(incoming("site-1", "original", seq, 1))
            await log.append(incoming("site-2", "original", seq, 1))
        async with booking(log):
            await settled(log, "site-1")
            await settled(log, "site-2")
        assert await numbers(books) == await numbers(books, "site-2") == list(range(1, 10))


async def acknowledged(log: JetStreamStore, name: str) -> int:
    """The last message up to which the consumer has acknowledged all."""
    try:
        return (await log.log.js.consumer_info("PEGCOUNT", name)).ack_floor.stream_seq  # type: ignore[union-attr]
    except NotFoundError:
        return 0


class Dying(StoreBooks):
    """Books a few batches, and then the consumer is killed before it can acknowledge any."""

    async def book(self, batches: list[Incoming]) -> list[Placement]:
        await super().book(batches[:3])
        raise asyncio.CancelledError


async def test_b6_what_was_booked_and_not_acknowledged_comes_again_and_counts_once(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplink.receiver.consume.ACK_WAIT_S", 0.3)
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books):
        for seq in range(1, 6):
            await log.append(incoming("site-1", "original", seq, 1))
        with pytest.raises(asyncio.CancelledError):
            await Consumer(log.log, Dying(books, log), log).run()
        assert await numbers(books) == [1, 2, 3]
        # What comes now comes before what the log gives again.
        await log.append(incoming("site-1", "original", 6, 4))
        async with booking(log):
            await settled(log, "site-1")
            await asyncio.sleep(0.5)
        assert await numbers(books) == list(range(1, 10))
        (total,) = await books.totals(TotalsQuery(site="site-1"))
        assert total.events == 8
        assert (await log.log.js.consumer_info("PEGCOUNT", "books")).num_ack_pending == 0


class Away(StoreBooks):
    """Unavailable the first times."""

    times = 4

    async def book(self, batches: list[Incoming]) -> list[Placement]:
        self.times -= 1
        if self.times >= 0:
            raise StoreUnavailable("away")
        return await super().book(batches)


async def test_books_that_are_away_are_waited_for(nats_server: NatsServer, tmp_path: Path) -> None:
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books):
        await log.append(incoming("site-1", "original", 1, 9))
        async with running(Consumer(log.log, Away(books, log), log, sleep=no_sleep)):
            await settled(log, "site-1")
        assert len(await numbers(books)) == 9


async def test_books_that_went_back_are_made_whole_from_the_log(nats_server: NatsServer, tmp_path: Path) -> None:
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, _):
        for seq in range(1, 9):
            await log.append(incoming("site-1", "original", seq, 1))
            await log.append(incoming("site-2", "original", seq, 1))
        async with booking(log):
            await settled(log, "site-1")
    async with log_and_books(nats_server, tmp_path / "restored.db") as (log, restored):
        async with booking(log):
            await log.append(incoming("site-1", "original", 9, 1))
            await settled(log, "site-1")
        assert await numbers(restored) == list(range(1, 10))


async def test_d1b_what_the_log_has_lost_is_said_and_holds_up_nobody_else(
    nats_server: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books):
        for seq in range(1, 6):
            await log.append(incoming("site-1", "original", seq, 1))
        await log.log.js.delete_msg("PEGCOUNT", 3)
        await log.append(incoming("site-2", "original", 1, 9))
        async with booking(log):
            await settled(log, "site-2")
            async with asyncio.timeout(5):
                while (told := await log.get(KIND, "site-1")) is None:
                    await asyncio.sleep(0.02)
        assert await numbers(books) == [1, 2]
        unbooked = msgspec.json.decode(told.body, type=Unbooked)
        assert (unbooked.first, unbooked.message, unbooked.why) == (4, 4, "the log has lost event 3")
        assert [record.levelname for record in caplog.records].count("ERROR") == 1


async def test_d1b_what_the_log_has_lost_and_the_site_sends_again_is_booked(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books):
        for first in (1, 3, 5):
            await log.append(incoming("site-1", "original", first, 2))
        await log.log.js.delete_msg("PEGCOUNT", 2)
        for name, first, length in (("original", 3, 1), ("original", 4, 1), ("twin", 2, 4)):
            again = await log.append(incoming("site-1", name, first, length))
            assert isinstance(again.placement, Duplicate) == (name == "original")
        await log.append(incoming("site-1", "original", 7, 3))
        async with booking(log):
            await settled(log, "site-1")
        assert await numbers(books) == list(range(1, 10))


async def test_a_site_that_sends_again_what_was_taken_out_of_the_log_is_told_the_same(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books), booking(log):
        for seq in range(1, 7):
            await log.append(incoming("site-1", "original", seq, 1))
        await log.log.forget_before("site-1", 6)
        for first, length in ((1, 9), (1, 6), (2, 3), (1, 1), (7, 3)):
            appended = await log.append(incoming("site-1", "original", first, length))
            assert appended.placement == (Append(6) if length == 9 else Duplicate())
        assert isinstance((await log.append(incoming("site-1", "twin", 4, 6))).placement, Conflict)
        await settled(log, "site-1")
        async with asyncio.timeout(5):
            while (await log.log.js.consumer_info("PEGCOUNT", "books")).num_pending:
                await asyncio.sleep(0.02)
        assert await numbers(books) == list(range(1, 10))
        assert await log.get(KIND, "site-1") is None


async def test_a_message_that_no_receiver_wrote_is_passed_over(nats_server: NatsServer, tmp_path: Path) -> None:
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books):
        await log.log.js.publish("m.00.x", b"rubbish")
        await log.append(incoming("site-1", "original", 1, 9))
        async with booking(log):
            await settled(log, "site-1")
        assert len(await numbers(books)) == 9


async def test_what_is_booked_is_taken_out_of_the_log_but_for_each_sites_last(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books):
        for seq in range(1, 6):
            await log.append(incoming("site-1", "original", seq, 1))
            await log.append(incoming("site-2", "original", seq, 1))
        async with running(Consumer(log.log, StoreBooks(books, log), log, trim=True)):
            async with asyncio.timeout(5):
                while (await log.log.js.stream_info("PEGCOUNT")).state.messages > 2:
                    await asyncio.sleep(0.02)
            assert (await log.append(incoming("site-1", "original", 6, 4))).acked_through == 9
            await settled(log, "site-1")
        assert await numbers(books) == list(range(1, 10))


async def test_consumers_that_share_the_work_count_nothing_twice(nats_server: NatsServer, tmp_path: Path) -> None:
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books), booking(log), booking(log):
        sites = [f"site-{number}" for number in range(5)]
        for seq in range(1, 10):
            await asyncio.gather(*(log.append(incoming(site, "original", seq, 1)) for site in sites))
        for site in sites:
            await settled(log, site)
            assert await numbers(books, site) == list(range(1, 10))


async def test_a_heartbeat_that_comes_again_behind_later_events_is_no_conflict(
    nats_server: NatsServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books):
        await log.append(incoming("site-1", "original", 1, 3))
        await log.append(incoming("site-1", "original", 4, 0))
        await log.append(incoming("site-1", "original", 4, 6))
        for name in ("books", "another"):
            async with booking(log, name):
                await settled(log, "site-1")
                async with asyncio.timeout(5):
                    while await acknowledged(log, name) < 3:
                        await asyncio.sleep(0.02)
        assert await numbers(books) == list(range(1, 10))
        assert await log.get(KIND, "site-1") is None
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_log_that_goes_away_and_comes_back_is_booked_on(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplink.receiver.consume.WAIT_S", 0.2)
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books), booking(log):
        await log.append(incoming("site-1", "original", 1, 3))
        await settled(log, "site-1")
        await asyncio.to_thread(nats_server.stop, signal.SIGKILL)
        await asyncio.sleep(0.2)
        await asyncio.to_thread(nats_server.start)
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(StoreUnavailable):
                    await log.append(incoming("site-1", "original", 4, 6))
                    break
                await asyncio.sleep(0.05)
        await settled(log, "site-1")
        assert await numbers(books) == list(range(1, 10))


async def test_a_consumer_that_is_deleted_is_made_again_and_counts_nothing_twice(
    nats_server: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplink.receiver.consume.WAIT_S", 0.2)
    async with log_and_books(nats_server, tmp_path / "b.db") as (log, books):
        await log.append(incoming("site-1", "original", 1, 3))
        async with booking(log):
            await settled(log, "site-1")
            await log.log.js.delete_consumer("PEGCOUNT", "books")
            await log.append(incoming("site-1", "original", 4, 6))
            await settled(log, "site-1")
        assert await numbers(books) == list(range(1, 10))
