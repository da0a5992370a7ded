"""The ledger as the shipper sees it: `uplink.outbox.Outbox` over the tables `event`, `destination`, `quarantine`, `upload`.

Reading uses a connection of its own and sees only what is committed; all changes go through the writer's thread.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from sqlite_utils import Database

from agent.ledger.store import is_damage, open_for_reading
from agent.ledger.writer import Ledger
from uplink.events import CHAIN_START
from uplink.outbox import Chunk, Cursor, Identity, Refusal, UploadLog, Waiting
from uplink.receipts import Receipted

KEPT_UPLOADS = 500
"""Lines of the upload log: five days at one upload each quarter of an hour."""

T = TypeVar("T")


class Reading:
    """A connection of its own to read by, and the writer's thread to write by."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._reader = open_for_reading(ledger.path)
        self._reading = threading.Lock()

    def close(self) -> None:
        with self._reading:
            self._reader.close()

    async def _read_with(self, query: Callable[[Database], T]) -> T:
        def locked() -> T:
            with self._reading:
                try:
                    return query(self._reader)
                except sqlite3.DatabaseError as error:
                    if is_damage(error):
                        self._ledger.found_damaged(error)
                    raise

        return await asyncio.to_thread(locked)

    async def _write_with(self, action: Callable[[Database], T]) -> T:
        return await asyncio.wrap_future(self._ledger.do(action))


class LedgerOutbox(Reading):
    """Implements `Outbox`. One may serve several destinations."""

    def __init__(self, ledger: Ledger, site: str, source: str) -> None:
        super().__init__(ledger)
        self._site = site
        self._source = source

    # --- reading

    async def identity(self) -> Identity:
        epoch = self._ledger.numbering.epoch
        return Identity(
            site=self._site,
            source=self._source,
            epoch=epoch.id,
            after_epoch=epoch.after_epoch,
            after_chain=epoch.after_chain,
        )

    async def cursor(self, destination: str) -> Cursor:
        return await self._write_with(lambda db: _cursor(db, destination))

    async def read(self, epoch: str, after: int, max_events: int, max_bytes: int) -> Chunk:
        return await self._read_with(lambda db: _chunk(db, epoch, after, max_events, max_bytes))

    async def horizon(self, epoch: str) -> int:
        return await self._read_with(lambda db: _horizon(db, epoch))

    async def waiting(self, destination: str) -> Waiting:
        return await self._read_with(lambda db: _waiting(db, destination))

    # --- changing

    async def acknowledge(
        self,
        destination: str,
        epoch: str,
        through: int,
        refused: list[Refusal],
        answer: bytes,
        receipt: Receipted | None = None,
    ) -> None:
        now_ms = self._ledger.clock_ms()

        def write(db: Database) -> None:
            _acknowledge(db, destination, epoch, through, refused, answer, now_ms)
            if receipt:
                _keep_receipt(db, destination, epoch, receipt)

        await self._write_with(write)

    async def save_backoff(self, destination: str, state: bytes) -> None:
        await self._write_with(
            lambda db: db.execute("UPDATE destination SET backoff = ? WHERE name = ?", (state, destination)).rowcount
        )

    async def log_upload(self, destination: str, entry: UploadLog) -> None:
        await self._write_with(lambda db: log_upload(db, destination, entry))

    async def begin_epoch(self, reason: str) -> str:
        return await self._write_with(lambda db: renew(db, self._ledger, reason))


def _epoch_row(db: Database, epoch: str) -> tuple[int, int]:
    row = db.execute("SELECT n, after_line FROM epoch WHERE id = ?", (epoch,)).fetchone()
    if row is None:
        raise LookupError(f"no epoch {epoch}")
    return row[0], row[1]


def _cursor(db: Database, destination: str) -> Cursor:
    n, epoch = db.execute("SELECT n, id FROM epoch ORDER BY n DESC LIMIT 1").fetchone()
    row = db.execute(
        "SELECT epoch, acked_through, chain, backoff FROM destination WHERE name = ?", (destination,)
    ).fetchone()
    if row is None:
        db.execute("INSERT INTO destination (name, epoch, chain) VALUES (?, ?, ?)", (destination, n, CHAIN_START))
        return Cursor(epoch=epoch, acked_through=0, chain=CHAIN_START)
    return Cursor(epoch=epoch, acked_through=row[1], chain=row[2], backoff=row[3])


def _waiting(db: Database, destination: str) -> Waiting:
    row = db.execute(
        "SELECT after_line, after_line + acked_through, (SELECT coalesce(max(line), 0) FROM event) FROM destination"
        " JOIN epoch ON epoch.n = destination.epoch WHERE name = ?",
        (destination,),
    ).fetchone()
    after, acked, last = row or (0, 0, 0)
    if last <= after:
        return Waiting()
    (end_chain,) = db.execute("SELECT chain FROM event WHERE line = ?", (last,)).fetchone()
    if last <= acked:
        return Waiting(end=last - after, end_chain=end_chain)
    recorded = "SELECT recorded_ms FROM event WHERE line > ? ORDER BY line"
    (oldest_ms,) = db.execute(f"{recorded} LIMIT 1", (acked,)).fetchone()
    (newest_ms,) = db.execute(f"{recorded} DESC LIMIT 1", (acked,)).fetchone()
    return Waiting(count=last - acked, oldest_ms=oldest_ms, newest_ms=newest_ms, end=last - after, end_chain=end_chain)


def _chunk(db: Database, epoch: str, after: int, max_events: int, max_bytes: int) -> Chunk:
    n, after_line = _epoch_row(db, epoch)
    rows = db.execute(
        "SELECT body FROM event WHERE line > ? AND epoch = ? ORDER BY line LIMIT ?", (after_line + after, n, max_events)
    )
    bodies: list[bytes] = []
    size = 0
    for (body,) in rows:
        size += len(body)
        if bodies and size > max_bytes:
            break
        bodies.append(body)
    last = after + len(bodies)
    prev, chain = (_chain_at(db, n, after_line, number) for number in (after, last))
    return Chunk(first=after + 1, last=last, prev=prev, chain=chain, bodies=bodies)


def _chain_at(db: Database, n: int, after_line: int, sequence: int) -> bytes:
    if sequence == 0:
        return CHAIN_START
    row = db.execute("SELECT chain FROM event WHERE line = ? AND epoch = ?", (after_line + sequence, n)).fetchone()
    if row is None:
        raise LookupError(f"event {sequence} is no longer held")
    return bytes(row[0])


def _horizon(db: Database, epoch: str) -> int:
    """The oldest row that pruning left is kept for its chain value alone, unless it is the first there ever was."""
    n, after_line = _epoch_row(db, epoch)
    (oldest,) = db.execute("SELECT min(line) FROM event WHERE epoch = ?", (n,)).fetchone()
    if oldest is None or oldest == after_line + 1:
        return 1
    return int(oldest) - after_line + 1


def _acknowledge(
    db: Database, destination: str, epoch: str, through: int, refused: list[Refusal], answer: bytes, now_ms: int
) -> None:
    n, after_line = _epoch_row(db, epoch)
    db.conn.executemany(
        "INSERT OR IGNORE INTO quarantine (destination, epoch, sequence, at_ms, code, message) VALUES (?, ?, ?, ?, ?, ?)",
        [(destination, n, refusal.seq, now_ms, refusal.code, refusal.message) for refusal in refused],
    )
    db.execute(
        "UPDATE destination SET acked_through = ?, chain = ?, receipt = ?, acked_at_ms = ?"
        " WHERE name = ? AND epoch = ? AND acked_through < ?",
        (through, _chain_at(db, n, after_line, through), answer, now_ms, destination, n, through),
    )


def _keep_receipt(db: Database, destination: str, epoch: str, receipt: Receipted) -> None:
    """The latest one for these numbers: of the heartbeats between two events one is kept."""
    n, _ = _epoch_row(db, epoch)
    db.execute("INSERT OR IGNORE INTO platform_key (key, public) VALUES (?, ?)", (receipt.key, receipt.public))
    db.execute(
        "INSERT OR REPLACE INTO receipt (destination, epoch, first, last, prev, chain, server_time, key, signature)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(destination, n, receipt.first, receipt.last, receipt.prev, receipt.chain),
            *(receipt.server_time, receipt.key, receipt.signature),
        ),
    )


def log_upload(db: Database, destination: str, entry: UploadLog) -> None:
    db.execute(
        "INSERT INTO upload (destination, at_ms, first, last, count, size_bytes, outcome, took_ms)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (destination, entry.at_ms, entry.first, entry.last, entry.count, entry.bytes, entry.status, entry.ms),
    )
    db.execute("DELETE FROM upload WHERE id <= (SELECT max(id) FROM upload) - ?", (KEPT_UPLOADS,))


def renew(db: Database, ledger: Ledger, reason: str) -> str:
    """Begin a new epoch, on the writer's thread; what some destination had not acknowledged is written there again."""
    numbering = ledger.numbering
    old, last_line = numbering.epoch, numbering.line
    (acked,) = db.execute(
        "SELECT min(CASE epoch WHEN ? THEN acked_through ELSE 0 END) FROM destination WHERE active", (old.n,)
    ).fetchone()
    epoch = numbering.begin_epoch(reason, ledger.clock_ms())
    write_again(db, ledger, old.after_line + (acked or 0), last_line)
    return epoch.id


def write_again(db: Database, ledger: Ledger, after_line: int, through_line: int) -> None:
    """The epoch that was just begun holds first what these lines held, and every destination is at its beginning."""
    numbering = ledger.numbering
    reissued = numbering.reissue(after_line, through_line, ledger.clock_ms())
    db.execute("UPDATE epoch SET reissued = ? WHERE n = ?", (reissued, numbering.epoch.n))
    db.execute("UPDATE destination SET epoch = ?, acked_through = 0, chain = ?", (numbering.epoch.n, CHAIN_START))
