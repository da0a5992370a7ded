"""The store for one machine: SQLite in WAL mode.

Laws
- One thread owns the writing connection. Batches that arrive while a commit is on its way to the disk are committed
  together by the next one (group commit): a busy disk makes groups larger, not sites slower.
- Reading has a connection and a thread of its own, and never waits for writing.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import IO, TypeVar

from sqlite_utils import Database

from uplink.feed import Item
from uplink.receiver.storage import (
    ANY,
    Appended,
    Booked,
    Document,
    EpochState,
    HeldRow,
    Incoming,
    Room,
    SitesQuery,
    SiteState,
    StoredEvent,
    StoreUnavailable,
    Total,
    TotalsQuery,
    documents,
    queries,
    rewriting,
)
from uplink.receiver.storage.booking import book
from uplink.receiver.storage.held import Row
from uplink.receiver.storage.outage import Outage
from uplink.receiver.storage.reckoning import Exemption
from uplink.receiver.storage.schema import changing, lock, open_reader, open_writer

GROUP_MAX = 64
"""Batches in one transaction: 64,000 events take about a second, the longest that one site should wait for others."""

_T = TypeVar("_T")
_Waiting = tuple[Incoming, "asyncio.Future[Appended]"]


class SqliteStore:
    """`Store` and `Documents`. Make one with `await SqliteStore.open(path)`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writing = ThreadPoolExecutor(1, "receiver-writer")
        self._reading = ThreadPoolExecutor(1, "receiver-reader")
        self._lock: IO[bytes] | None = None
        self._unread, self._unwritten = Outage(f"{path} (reading)"), Outage(f"{path} (writing)")
        self._queue: list[_Waiting] = []
        self._flush: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: str, alone: bool = False) -> "SqliteStore":
        """Raises StoreUnavailable where the file is no database of ours or cannot be opened; with `alone` also where another
        process opened it so."""
        store = cls(path)
        loop = asyncio.get_running_loop()
        try:
            if alone:
                store._lock = lock(path)
            store._writer = await loop.run_in_executor(store._writing, open_writer, path)
            store._reader = await loop.run_in_executor(store._reading, open_reader, path)
        except (sqlite3.Error, OSError) as error:
            store._unlock()
            raise StoreUnavailable(f"{path}: {error}") from error
        return store

    _writer: Database
    _reader: Database

    async def append(self, incoming: Incoming) -> Appended:
        waiting: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._queue.append((incoming, waiting))
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._flush_queue(), name="receiver commit")
        return await waiting

    async def close(self) -> None:
        """Waits for what is queued."""
        if self._flush is not None:
            await self._flush
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._reading, self._reader.close)
        await loop.run_in_executor(self._writing, self._writer.close)
        self._reading.shutdown()
        self._writing.shutdown()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    async def _flush_queue(self) -> None:
        while self._queue:
            group, self._queue = self._queue[:GROUP_MAX], self._queue[GROUP_MAX:]
            await self._flush_group(group)

    async def _flush_group(self, group: list[_Waiting]) -> None:
        outcomes: Sequence[Appended | StoreUnavailable] = [StoreUnavailable("failed")] * len(group)
        try:
            outcomes = await self._write(lambda db: book(db, [incoming for incoming, _ in group]))
        except StoreUnavailable as error:
            outcomes = [StoreUnavailable(str(error)) for _ in group]
        finally:  # whatever it was that was not foreseen: nobody waits for ever
            for (_, waiting), outcome in zip(group, outcomes, strict=True):
                _settle(waiting, outcome)

    async def _read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._unread.watched():
            try:
                return await asyncio.get_running_loop().run_in_executor(self._reading, query, self._reader.conn)
            except sqlite3.Error as error:
                raise StoreUnavailable(str(error)) from error

    async def _write(self, change: Callable[[sqlite3.Connection], _T]) -> _T:
        def alone() -> _T:
            with changing(self._writer.conn):
                return change(self._writer.conn)

        with self._unwritten.watched():
            try:
                return await asyncio.get_running_loop().run_in_executor(self._writing, alone)
            except (sqlite3.Error, OSError) as error:
                raise StoreUnavailable(str(error)) from error

    async def check(self) -> None:
        await self._read(queries.newest)

    async def room(self) -> Room:
        try:
            return await asyncio.to_thread(_room, self._path)
        except OSError as error:
            raise StoreUnavailable(str(error)) from error

    async def get(self, kind: str, key: str) -> Document | None:
        return await self._read(lambda db: documents.get(db, kind, key))

    async def put(self, kind: str, key: str, body: bytes, expected: int = ANY) -> int | None:
        return await self._write(lambda db: documents.put(db, kind, key, body, expected))

    async def put_all(self, kind: str, bodies: Mapping[str, bytes]) -> None:
        await self._write(lambda db: [documents.put(db, kind, key, body, ANY) for key, body in bodies.items()])

    async def delete(self, kind: str, key: str, expected: int = ANY) -> bool:
        return await self._write(lambda db: documents.delete(db, kind, key, expected))

    async def listed(self, kind: str, after: str = "", limit: int = 1000) -> list[Document]:
        return await self._read(lambda db: documents.listed(db, kind, after, limit))

    async def epochs(self, site: str) -> list[EpochState]:
        return await self._read(lambda db: queries.epochs(db, site))

    async def totals(self, query: TotalsQuery) -> list[Total]:
        return await self._read(lambda db: queries.totals(db, query))

    async def calls_by_hour(self, site: str, day: str) -> list[Decimal]:
        return await self._read(lambda db: queries.calls_by_hour(db, site, day))

    async def sites(self, query: SitesQuery) -> list[SiteState]:
        return await self._read(lambda db: queries.sites(db, query))

    async def events(self, site: str, after: int, limit: int) -> list[StoredEvent]:
        return await self._read(lambda db: queries.events(db, site, after, limit))

    async def history(self, site: str, epoch: str, after: int, limit: int) -> list[HeldRow]:
        return await self._read(lambda db: queries.history(db, site, epoch, after, limit))

    async def rewrite(self, site: str, epoch: str, rows: Sequence[Row], exemptions: Sequence[Exemption]) -> None:
        await self._write(lambda db: rewriting.rewrite(db, site, epoch, rows, exemptions))

    async def counted_elsewhere(self, site: str, epoch: str, ids: Sequence[str]) -> frozenset[str]:
        return await self._read(lambda db: queries.counted_elsewhere(db, site, epoch, ids))

    async def stray(self) -> int:
        return await self._read(queries.stray)

    async def batches(self, site: str, epoch: str, after: int, limit: int) -> list[Booked]:
        return await self._read(lambda db: queries.batches(db, site, epoch, after, limit))

    async def counted(self, after: int, limit: int) -> list[Item]:
        return await self._read(lambda db: queries.counted(db, after, limit))

    async def newest(self) -> int:
        return await self._read(queries.newest)


def _room(path: str) -> Room:
    """Of the file and its write-ahead log; what SQLite itself would use again counts as used."""
    files = [Path(path + end) for end in ("", "-wal", "-shm")]
    used = sum(file.stat().st_size for file in files if file.exists())
    return Room(used_bytes=used, free_bytes=shutil.disk_usage(files[0].parent).free)


def _settle(waiting: "asyncio.Future[Appended]", outcome: Appended | StoreUnavailable) -> None:
    """A request that was given up meanwhile waits no longer."""
    if waiting.done():
        return
    if isinstance(outcome, StoreUnavailable):
        waiting.set_exception(outcome)
    else:
        waiting.set_result(outcome)
