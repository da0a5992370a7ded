"""Books in what speaks ClickHouse's HTTP interface: a table of events, for sums over billions of them.

    clickhouse://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE      clickhouses:// for TLS; CLICKHOUSE_PASSWORD instead of PASSWORD

Laws
- There are no transactions here and none are needed: the log has decided what stands where, so a row is the same whenever and
  however often it is written. `ReplacingMergeTree` by (site, epoch, seq) keeps one of them; until it has merged, FINAL does.
- Partitions are made by the site. By time they could not: rows are not merged across partitions.
- What a later epoch says again is told apart when it is read: `counted` has each id of a site once, as it came first.
- A batch is booked when the server has answered for its insert: nothing is left to `async_insert`.
"""

import asyncio
import os
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

import aiohttp
import msgspec
from msgspec import Struct

from uplink.receiver.placing import Append, Placement
from uplink.receiver.screen import Screened
from uplink.receiver.storage import Incoming, StoreUnavailable, in_words

INSERT_MAX_BYTES = 16 * 1024 * 1024
"""Of rows in one insert, before it is sent; a batch alone may be more."""
ANSWER_S = 60.0
PORT, TLS_PORT = 8123, 8443
FORM = "clickhouse://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE, what is special in a password as %XX"

TABLES = (
    """CREATE TABLE IF NOT EXISTS event (
    site String,
    epoch String,
    seq UInt64,
    status LowCardinality(String),
    code LowCardinality(String),
    id String,
    meter LowCardinality(String),
    time_ms Int64,
    quantity Decimal(38, 12),
    unit LowCardinality(String),
    received_ms Int64,
    body String CODEC(ZSTD(3))
) ENGINE = ReplacingMergeTree PARTITION BY sipHash64(site) % 16 ORDER BY (site, epoch, seq)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1""",
    """CREATE VIEW IF NOT EXISTS counted AS SELECT * FROM event FINAL WHERE status = 'counted'
ORDER BY site, id, received_ms, epoch, seq LIMIT 1 BY site, id""",
)
_INSERT = "INSERT INTO event FORMAT JSONEachRow"
_SETTINGS = {"async_insert": "0", "wait_end_of_query": "1"}


class _Row(Struct, frozen=True, gc=False):
    """A row of `event`. The body as text: what is no UTF-8 in a rejected event is replaced; the log has it as it came."""

    site: str
    epoch: str
    seq: int
    status: str
    code: str
    id: str
    meter: str
    time_ms: int
    quantity: str
    unit: str
    received_ms: int
    body: str


def rows(incoming: Incoming) -> list[bytes]:
    """The rows of a batch, each a line of JSON."""
    return [msgspec.json.encode(row) for row in _rows(incoming)]


def _rows(incoming: Incoming) -> Iterator[_Row]:
    for event in incoming.events:
        yield _row(incoming, event, event.refused)
    if withheld := incoming.head.withheld:
        yield _row(incoming, Screened(seq=incoming.head.first, body=b""), withheld)


def _row(incoming: Incoming, event: Screened, refused: str) -> _Row:
    return _Row(
        site=incoming.site,
        epoch=incoming.head.epoch,
        seq=event.seq,
        status="rejected" if refused else "counted",
        code=refused,
        id=event.id,
        meter=event.meter,
        time_ms=event.time_ms,
        quantity=event.quantity or "0",
        unit=event.unit,
        received_ms=incoming.now_ms,
        body=event.body.decode("utf-8", "replace"),
    )


class ClickHouseBooks:
    """Implements `Books`. Make one with `await ClickHouseBooks.open(url)`."""

    def __init__(self, session: aiohttp.ClientSession, url: str, database: str) -> None:
        self._session = session
        self._url = url
        self._database = database

    @classmethod
    async def open(cls, url: str) -> "ClickHouseBooks":
        """Raises StoreUnavailable where the server is not to be had or refuses the tables."""
        try:
            parts = urlsplit(url)
            tls = parts.scheme == "clickhouses"
            address = f"http{'s' * tls}://{parts.hostname}:{parts.port or (TLS_PORT if tls else PORT)}/"
        except ValueError:  # whose text may be a piece of a password
            raise StoreUnavailable(f"this is none of {FORM}") from None
        login = {
            "X-ClickHouse-User": unquote(parts.username or "default"),
            "X-ClickHouse-Key": unquote(parts.password or os.environ.get("CLICKHOUSE_PASSWORD", "")),
        }
        session = aiohttp.ClientSession(headers=login, timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        books = cls(session, address, parts.path.strip("/") or "default")
        try:
            for statement in TABLES:
                await books._ask(statement, b"")
        except StoreUnavailable:
            await session.close()
            raise
        return books

    async def close(self) -> None:
        await self._session.close()

    async def book(self, batches: list[Incoming]) -> list[Placement]:
        waiting: list[bytes] = []
        size = 0
        for batch in batches:
            lines = await asyncio.to_thread(rows, batch)
            waiting += lines
            size += sum(map(len, lines))
            if size > INSERT_MAX_BYTES:
                await self._insert(waiting)
                waiting, size = [], 0
        await self._insert(waiting)
        return [Append() for _ in batches]

    async def _insert(self, lines: list[bytes]) -> None:
        if lines:
            await self._ask(_INSERT, b"\n".join(lines))

    async def _ask(self, statement: str, body: bytes) -> None:
        """A statement in the URL makes the body its data; without data the statement is the body."""
        query = {"database": self._database, **_SETTINGS} | ({"query": statement} if body else {})
        try:
            async with self._session.post(self._url, params=query, data=body or statement.encode()) as response:
                answer = await response.text(errors="replace")
                if response.status != 200 or "X-ClickHouse-Exception-Code" in response.headers:
                    raise StoreUnavailable(f"{self._url}: {response.status} {answer[:300]}")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"{self._url}: {in_words(error)}") from error
