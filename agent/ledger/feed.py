"""The ledger as a forwarder sees it: `uplink.feed.Feed` over the tables `event`, `forward`, `quarantine`, `upload`.

A position is the event's line, which goes on over epochs. What a new epoch writes again is passed over: it has the same id
and was given under its first line.
"""

import json
from collections.abc import Sequence, Set

from sqlite_utils import Database

from agent.ledger.outbox import Reading, log_upload
from agent.ledger.writer import Ledger
from uplink.feed import Item, Place
from uplink.outbox import Refusal, UploadLog

NO_EPOCH = 0
"""Under which quarantine keeps lines: the epochs' own numbers begin at 1."""


class LedgerFeed(Reading):
    """Implements `Feed`. One serves all forwarders. `newest`: the destinations that begin behind what is held already when they
    are first seen."""

    def __init__(self, ledger: Ledger, newest: frozenset[str] = frozenset()) -> None:
        super().__init__(ledger)
        self._newest = newest

    async def place(self, destination: str) -> Place:
        return await self._write_with(lambda db: _place(db, destination, destination in self._newest))

    async def only(self, platforms: Set[str], forwards: Set[str]) -> None:
        """These are the destinations that there are: what another one lacks is not kept for its sake any more. It goes on
        where it stood if it comes back before that is pruned."""
        await self._write_with(lambda db: _only(db, platforms, forwards))

    async def read(self, after: int, max_events: int, max_bytes: int) -> Sequence[Item]:
        return await self._read_with(lambda db: _items(db, after, max_events, max_bytes))

    async def taken(self, destination: str, through: int, refused: Sequence[Refusal]) -> None:
        now_ms = self._ledger.clock_ms()
        await self._write_with(lambda db: _taken(db, destination, through, refused, now_ms))

    async def save_backoff(self, destination: str, state: bytes) -> None:
        await self._write_with(
            lambda db: db.execute("UPDATE forward SET backoff = ? WHERE name = ?", (state, destination)).rowcount
        )

    async def log_upload(self, destination: str, entry: UploadLog) -> None:
        await self._write_with(lambda db: log_upload(db, destination, entry))


def _place(db: Database, destination: str, newest: bool) -> Place:
    row = db.execute("SELECT through, backoff FROM forward WHERE name = ?", (destination,)).fetchone()
    if row is None:
        (last,) = db.execute("SELECT coalesce(max(line), 0) FROM event").fetchone()
        row = (last if newest else 0, b"")
        db.execute("INSERT INTO forward (name, through) VALUES (?, ?)", (destination, row[0]))
    return Place(through=row[0], backoff=row[1])


def _only(db: Database, platforms: Set[str], forwards: Set[str]) -> None:
    for table, names in (("destination", platforms), ("forward", forwards)):
        listed = json.dumps(sorted(names))
        db.execute(f"UPDATE {table} SET active = name IN (SELECT value FROM json_each(?))", (listed,))


def _items(db: Database, after: int, max_events: int, max_bytes: int) -> list[Item]:
    rows = db.execute(
        "SELECT line, body FROM event JOIN epoch ON epoch.n = event.epoch"
        " WHERE line > ? AND line > epoch.after_line + epoch.reissued ORDER BY line LIMIT ?",
        (after, max_events),
    )
    items: list[Item] = []
    size = 0
    for line, body in rows:
        size += len(body)
        if items and size > max_bytes:
            break
        items.append(Item(line, body))
    return items


def _taken(db: Database, destination: str, through: int, refused: Sequence[Refusal], now_ms: int) -> None:
    db.conn.executemany(
        "INSERT OR IGNORE INTO quarantine (destination, epoch, sequence, at_ms, code, message) VALUES (?, ?, ?, ?, ?, ?)",
        [(destination, NO_EPOCH, refusal.seq, now_ms, refusal.code, refusal.message) for refusal in refused],
    )
    db.execute(
        "UPDATE forward SET through = ?, acked_at_ms = ? WHERE name = ? AND through < ?",
        (through, now_ms, destination, through),
    )
