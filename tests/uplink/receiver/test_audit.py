"""A receiver's store proves itself; whatever is changed in it is found."""

import asyncio
import base64
import gzip
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import asyncpg
import msgspec
import pytest

from tests.agent.cli.commands import pegcount
from tests.uplink.receiver.batches import TEN, batch_of, events, post
from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.postgres import Cluster
from tests.uplink.receiver.storages import Place, running_platform
from tests.uplink.site import chain_of
from uplink.batch import build, digest_field
from uplink.proof import Mismatch
from uplink.receiver.audit import Auditable, Audited, audit
from uplink.receiver.audit_log import LogAudited, audit_log
from uplink.receiver.screen import METERS
from uplink.receiver.storage.jetstream import JetStreamStore
from uplink.receiver.storage.jetstream_log import JetStreamLog
from uplink.receiver.storage.logged import Logged, subject
from uplink.receiver.storage.opening import open_storage

CALLS = [*events("e-1", 1, 9, quantity="0.7"), *events("e-1", 10, 10, type="electricity"), *events("e-1", 11, 12)]
AGAIN = [
    event.replace(b'"e-1"', b'"e-2"').replace(b'"sequence":"9"', b'"sequence":"1"') for event in CALLS[8:9]
] + events("e-2", 2, 4, id="another")


async def filled(storage: Place) -> None:
    """Two sites. The first: twelve events in three batches, one refused, one withheld; then an epoch that repeats the ninth."""
    async with running_platform(storage) as platform:
        withheld = msgspec.structs.replace(batch_of(CALLS, 12, 12).head, count=0, withheld="too_large")
        for batch in (batch_of(CALLS, 1, 5), batch_of(CALLS, 4, 11), build(withheld, [])):
            assert (await post(platform, batch))[0] == 200
        after = {"after_epoch": "e-1", "after_chain": chain_of(CALLS)}
        assert (await post(platform, batch_of(AGAIN, 1, 2, "e-2", **after)))[0] == 200
        other = events("e-1", 1, 29, site="site-2") + events("e-1", 30, 30, site="site-2", type="call")
        assert (await post(platform, batch_of(other, 1, 30), site="site-2"))[0] == 200


async def audited(storage: str) -> Audited:
    store = await open_storage(storage)
    try:
        assert isinstance(store, Auditable)
        return await audit(store)
    finally:
        await store.close()


async def test_all_of_it_holds(storage: Place) -> None:
    await filled(storage)
    assert await audited(storage.books or storage.store) == Audited(sites=2, epochs=3, events=44, counted=41)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "receiver.db"
    asyncio.run(filled(Place(str(path))))
    return path


@pytest.fixture(scope="module")
def filled_places(store: Path, cluster: Cluster) -> list[Place]:
    database = Place(cluster.empty())
    asyncio.run(filled(database))
    return [Place(str(store)), database]


@asynccontextmanager
async def changing(place: Place, statement: str) -> AsyncIterator[str]:
    """The store in which somebody did this; PostgreSQL's is mended afterwards by a copy of its tables."""
    if not place.store.startswith("postgresql"):
        with changed(Path(place.store), statement) as copy:
            yield str(copy)
        return
    connection = await asyncpg.connect(place.store, server_settings={"search_path": "pegcount"})
    try:
        for table in ("event", "exception"):
            await connection.execute(f"CREATE TABLE kept_{table} AS TABLE {table}")
        await connection.execute(statement)
        yield place.store
    finally:
        for table in ("event", "exception"):
            await connection.execute(f"TRUNCATE {table}")
            await connection.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE kept_{table}")
            await connection.execute(f"DROP TABLE kept_{table}")
        await connection.close()


@contextmanager
def changed(path: Path, statement: str) -> Iterator[Path]:
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.executescript(statement)
    yield copy
    for part in copy.parent.glob("copy.db*"):
        part.unlink()


ROW = (
    "INSERT INTO event (epoch_id, seq, status, id, meter, time_ms, quantity, unit, body)"
    " VALUES ({}, 0, 'made up', 'call', 0, '1', 'call', x'00')"
)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            "UPDATE event SET body = CAST(replace(CAST(body AS TEXT), '0.7', '0.8') AS BLOB) WHERE seq = 2",
            "the chain where",
        ),
        ("DELETE FROM event WHERE seq = 4 AND epoch_id = 1", "the next event"),
        ("DELETE FROM event WHERE seq = 12 AND epoch_id = 1", "the last event"),
        ("UPDATE event SET body = x'' WHERE seq = 3", "the event"),
        ("UPDATE event SET status = 1 WHERE seq = 3 AND epoch_id = 1", "the column status"),
        ("UPDATE event SET status = 0 WHERE seq = 10 AND epoch_id = 1", "the column status"),
        ("UPDATE epoch SET counted = counted - 1, known = known + 1 WHERE id = 1", "events counted"),
        ("UPDATE call_hour SET quantity = '1000'", "site site-2, 2026-11-20, hour 10: sum of calls"),
        ("UPDATE fleet_total SET events = events + 1", "over all sites, 2026-11-20: events and sum of call"),
        ("UPDATE batch SET first = 2 WHERE first = 1", "the first event of the batch"),
        ("DELETE FROM batch WHERE last = 30", "the last batch"),
        (ROW.format("3, 31"), "the row"),
        ("PRAGMA foreign_keys = OFF; " + ROW.format("99, 1"), "the rows of no epoch"),
        ("UPDATE batch SET chain = zeroblob(32) WHERE last = 11", "the chain where"),
        ("UPDATE epoch SET chain = zeroblob(32)", "the chain after"),
        (
            "UPDATE total SET quantity = '1' WHERE site_id = 1",
            "site site-1, 2026-11-20: events and sum of voice.minutes",
        ),
        ("UPDATE total SET events = events + 1 WHERE site_id = 2", "site site-2"),
        ("DELETE FROM total", "site site-1"),
    ],
)
async def test_what_was_changed_is_found(store: Path, statement: str, what: str) -> None:
    with changed(store, statement) as copy, pytest.raises(Mismatch) as caught:
        await audited(str(copy))
    assert caught.value.what.startswith(what)


COLUMNS = (
    ("status = 1", 7, "status", "counted", "known"),
    ("id = 'another'", 7, "id", "event-7", "another"),
    ("meter = 'download'", 7, "meter", "voice.minutes", "download"),
    ("time_ms = 0", 7, "time_ms", "1795168800000", "0"),
    ("quantity = '70'", 7, "quantity", "0.7", "70"),
    ("unit = 'hour'", 7, "unit", "minute", "hour"),
    ("id = 'billed'", 10, "id", "", "billed"),
    ("status = 0", 12, "status", "rejected", "counted"),
)
"""Whoever changes what is billed changes a column; the bytes beside it stay those that the site signed."""


@pytest.mark.parametrize(("change", "seq", "column", "expected", "found"), COLUMNS)
async def test_a_column_that_its_bytes_do_not_give_is_named(
    filled_places: list[Place], change: str, seq: int, column: str, expected: str, found: str
) -> None:
    where = f"seq = {seq} AND epoch_id = 1"
    for place in filled_places:
        async with changing(place, f"UPDATE event SET {change} WHERE {where}") as copy:
            with pytest.raises(Mismatch) as caught:
                await audited(copy)
        told = caught.value.told()
        assert told == {
            "site": "site-1",
            "epoch": "e-1",
            "sequence": seq,
            "what": f"the column {column}",
            "column": column,
            "expected": expected,
            "found": found,
        }


EXCEPTIONS = (
    ("DELETE FROM exception WHERE seq = 10", "exception.status", "2", "None"),
    ("UPDATE exception SET status = 1 WHERE seq = 10", "exception.status", "2", "1"),
    ("UPDATE exception SET code = 'bad_id' WHERE seq = 10", "exception.code", "unknown_type", "bad_id"),
    (
        "INSERT INTO exception (epoch_id, seq, status, code, message) VALUES (1, 3, 2, 'x', '')",
        "exception.status",
        "None",
        "2",
    ),
)


@pytest.mark.parametrize(("statement", "column", "expected", "found"), EXCEPTIONS)
async def test_why_an_event_was_not_counted_is_a_column_too(
    filled_places: list[Place], statement: str, column: str, expected: str, found: str
) -> None:
    for place in filled_places:
        async with changing(place, statement) as copy:
            with pytest.raises(Mismatch) as caught:
                await audited(copy)
        assert (caught.value.column, caught.value.expected, caught.value.found) == (column, expected, found)


async def test_an_event_that_two_epochs_count_is_found(filled_places: list[Place]) -> None:
    for place in filled_places:
        async with changing(place, "UPDATE event SET status = 0 WHERE seq = 1 AND epoch_id = 2") as copy:
            with pytest.raises(Mismatch, match="the column status: expected known, found counted"):
                await audited(copy)


async def test_what_was_refused_as_unknown_and_is_a_meter_today_is_told_and_holds(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplink.receiver.screen.METERS", METERS | {"electricity"})
    assert (await audited(str(store))).outgrown == 1


def test_the_command_tells_it(store: Path) -> None:
    done = pegcount("platform", "verify", "--store", store)
    assert (done.status, done.out) == (0, "2 sites, 3 epochs, 44 events, 41 of them counted: all hold\n")
    assert pegcount("platform", "verify", "--store", store, "--site", "site-2").out.startswith("1 sites, 1 epochs, 30 ")
    with changed(store, "DELETE FROM event WHERE seq = 4") as copy:
        done = pegcount("platform", "verify", "--store", copy)
    assert (done.status, done.out) == (
        1,
        "does not hold: site site-1, epoch e-1, event 4: the next event: expected 4, found 5\n",
    )
    assert pegcount("platform", "verify", "--store", "/nowhere/at/all.db").status == 74


# --- a log


async def of_log(storage: Place, only_site: str = "", books: str = "") -> LogAudited:
    log = await JetStreamLog.open(storage.store)
    booked = await open_storage(books) if books else None
    try:
        return await audit_log(log, booked, only_site)
    finally:
        if booked:
            await booked.close()
        await log.close()


@pytest.fixture
async def logged(nats_server: NatsServer, tmp_path: Path) -> Place:
    place = Place(nats_server.url, str(tmp_path / "books.db"))
    await filled(place)
    return place


async def test_a_log_holds_and_so_do_the_books_beside_it(logged: Place) -> None:
    # 5 + 8 + 0 + 2 events of the first site (4 and 5 twice), 30 of the other.
    whole = LogAudited(sites=2, messages=5, events=45)
    assert await of_log(logged) == whole
    assert await of_log(logged, books=logged.books) == whole
    assert await of_log(logged, "site-2") == LogAudited(sites=1, messages=1, events=30)
    done = await asyncio.to_thread(pegcount, "platform", "verify", "--store", logged.store, "--books", logged.books)
    assert done.out.splitlines() == [
        "log: 2 sites, 5 messages, 45 events: all hold",
        "2 sites, 3 epochs, 44 events, 41 of them counted: all hold",
    ]


async def test_books_that_are_behind_or_other_ones_show(logged: Place, tmp_path: Path) -> None:
    empty = str(tmp_path / "empty.db")
    assert (await of_log(logged, books=empty)).waiting == 44
    for statement, what in (
        ("UPDATE epoch SET chain = zeroblob(32) WHERE id = 1", "the chain of the books"),
        ("UPDATE epoch SET acked_through = 11, chain = zeroblob(32) WHERE id = 1", "the chain of the books"),
        ("UPDATE epoch SET acked_through = 13 WHERE id = 1", "the last event of the books"),
    ):
        with changed(Path(logged.books), statement) as copy, pytest.raises(Mismatch, match=what):
            await of_log(logged, books=str(copy))


async def republished(storage: Place, change: Callable[[Logged, dict[str, str]], tuple[bytes, dict[str, str]]]) -> None:
    """The whole log of the first site taken out and put in again with other contents."""
    log = await JetStreamLog.open(storage.store)
    messages, seq = [], 0
    while (each := await log.next("site-1", seq + 1)) is not None:
        raw = await log.js.get_msg(log.place.stream, seq=each.seq)
        messages.append((each, dict(raw.headers or {})))
        seq = each.seq
    await log.js.purge_stream(log.place.stream, subject=subject("site-1"))
    for each, headers in messages:
        keep = {name: value for name, value in headers.items() if name.startswith(("Pegcount", "Meter", "Content"))}
        body, told = change(each, keep)
        await log.js.publish(subject("site-1"), body, headers=told)
    await log.close()


async def test_a_message_that_was_changed_is_found(logged: Place) -> None:
    def other_body(each: Logged, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        if each.head.last != 11:
            return each.body, headers
        body = gzip.compress(gzip.decompress(each.body).replace(b"0.7", b"0.8"))
        return body, headers | {"Content-Digest": digest_field(body)}

    await republished(logged, other_body)
    with pytest.raises(Mismatch, match=r"site site-1, epoch e-1, event 4: message \d+: the message") as caught:
        await of_log(logged)
    assert "chain" in caught.value.found


async def test_a_message_of_another_state_or_site_is_found(logged: Place) -> None:
    def denies(each: Logged, headers: dict[str, str]) -> tuple[bytes, dict[str, str]]:
        marks = [msgspec.structs.replace(mark, counted=mark.counted + 1) for mark in each.marks]
        state = base64.b64encode(msgspec.msgpack.encode(marks)).decode()
        return each.body, headers | ({"Pegcount-State": state} if each.head.last == 12 else {})

    await republished(logged, denies)
    with pytest.raises(Mismatch, match="how the site stands after the message"):
        await of_log(logged)
    await republished(logged, lambda each, headers: (each.body, headers | {"Pegcount-Site": "site-2"}))
    with pytest.raises(Mismatch, match="the site of the message"):
        await of_log(logged)
    await republished(logged, lambda each, _: (each.body, {}))
    with pytest.raises(Mismatch, match="site-1: the message"):
        await of_log(logged)


async def test_a_hole_in_a_log_is_found_and_closes_when_its_site_sends_again(nats_server: NatsServer) -> None:
    place = Place(nats_server.url)
    async with running_platform(place) as platform:
        for first in (1, 4, 7):
            assert (await post(platform, batch_of(TEN, first, first + 2)))[0] == 200
        store = platform.store
        assert isinstance(store, JetStreamStore)
        lost = await store.log.holding("site-1", "e-1", 4)
        assert lost is not None
        await store.log.js.delete_msg(store.log.place.stream, lost.seq)
        with pytest.raises(Mismatch, match="event 4: events 4 to 6: expected to be in the log, found nothing"):
            await of_log(place)
        assert (await post(platform, batch_of(TEN, 3, 5)))[0] == 200
        with pytest.raises(Mismatch, match="event 6: events 6 to 6"):
            await of_log(place)
        assert (await post(platform, batch_of(TEN, 6, 8)))[0] == 200
        assert (await of_log(place)).messages == 4
        await store.log.forget_before("site-1", lost.seq + 1)
        assert (await of_log(place)).messages == 3


class Trimmed(JetStreamLog):
    """Its first messages are taken out while somebody reads it."""

    purge_from = 2

    async def next(self, site: str, seq: int) -> Logged | None:
        found = await super().next(site, seq)
        if found and found.seq == self.purge_from:
            self.purge_from = 0
            await self.forget_before(site, 5)
        return found


async def test_what_is_trimmed_while_it_is_read_is_no_hole(nats_server: NatsServer) -> None:
    place = Place(nats_server.url)
    async with running_platform(place) as platform:
        for first in (1, 3, 5, 7, 9):
            assert (await post(platform, batch_of(TEN, first, first + 1)))[0] == 200
    log = await Trimmed.open(place.store)
    assert (await audit_log(log)).messages == 1
    await log.close()


def test_books_are_for_logs_alone(store: Path) -> None:
    assert pegcount("platform", "verify", "--store", store, "--books", store).status == 2
