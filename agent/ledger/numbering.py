"""Events get their number, their bytes and their place in the chain; nothing else writes the table `event`.

Laws
- Lines are numbered 1, 2, 3, ... without gaps over the ledger's whole life. An epoch begins after a line; within it the
  sequence on the wire is `line - after_line`.
- `chain` of a line is over the chain of the line before in the same epoch; the first one starts from CHAIN_START.
- The last line is never pruned, so the table itself says where numbering and chain stand.
- An id stands once in an epoch. The same id again is the same fact and is not written again.
"""

import os
import sqlite3
from collections.abc import Sequence

from msgspec import Struct
from sqlite_utils import Database

from agent.ledger.store import insert
from uplink.events import CHAIN_START, MicroTransaction, chain_next, decode, encode

REISSUED_AT_ONCE = 10_000
"""Events that are in memory while what was not acknowledged is written again: about 20 MB. There may be millions."""


class Epoch(Struct, frozen=True):
    n: int
    id: str
    after_line: int
    after_epoch: str
    after_chain: bytes


def new_epoch_id(now_ms: int) -> str:
    """128 bits in the form of a UUIDv7 (RFC 9562 section 5.7)."""
    value = now_ms << 80 | 0x7 << 76 | 0b10 << 62 | int.from_bytes(os.urandom(10)) & ((1 << 76) - 1) & ~(0b11 << 62)
    text = f"{value:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


class Numbering:
    """The writing end of the table `event`. Used only by the writer's thread, within its transaction."""

    def __init__(self, db: Database, source: str, now_ms: int) -> None:
        self._db = db
        self._source = source
        self.load()
        if self.epoch.n == 0:
            self.begin_epoch("first start", now_ms)

    def load(self) -> None:
        """Read again where the table stands: at the start, and after a transaction was rolled back."""
        row = self._db.execute(
            "SELECT n, id, after_line, after_epoch, after_chain FROM epoch ORDER BY n DESC LIMIT 1"
        ).fetchone()
        self.epoch = Epoch(*row) if row else Epoch(0, "", 0, "", b"")
        last = self._db.execute("SELECT line, chain FROM event ORDER BY line DESC LIMIT 1").fetchone()
        self.line: int = last[0] if last else 0
        self.chain: bytes = last[1] if last else CHAIN_START
        if self.line <= self.epoch.after_line:
            self.chain = CHAIN_START

    def begin_epoch(self, reason: str, now_ms: int, *, first: bool = False) -> Epoch:
        """Events from here on are numbered from 1 again. The new epoch names the old one and its last chain value, unless it is
        the `first` of its site."""
        after = ("", b"") if first or self.epoch.n == 0 else (self.epoch.id, self.chain)
        epoch = Epoch(self.epoch.n + 1, new_epoch_id(now_ms), self.line, *after)
        self._db.execute(
            "INSERT INTO epoch (n, id, started_at_ms, reason, after_line, after_epoch, after_chain)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (epoch.n, epoch.id, now_ms, reason, epoch.after_line, epoch.after_epoch, epoch.after_chain),
        )
        self.epoch, self.chain = epoch, CHAIN_START
        return epoch

    def append(self, events: Sequence[MicroTransaction], now_ms: int) -> int:
        """Number, chain and write events; returns how many were new."""
        try:
            return self._write(events, now_ms)
        except sqlite3.IntegrityError:
            self._db.execute("DELETE FROM event WHERE line > ?", (self.line,))
            return self._write(self._unknown(events), now_ms)

    def _write(self, events: Sequence[MicroTransaction], now_ms: int) -> int:
        rows = []
        line, chain, epoch = self.line, self.chain, self.epoch
        for event in events:
            line += 1
            body = encode(event, self._source, epoch.id, line - epoch.after_line, now_ms)
            chain = chain_next(chain, body)
            rows.append((line, bytes.fromhex(event.id), epoch.n, now_ms, chain, body))
        insert(self._db.conn, "INSERT INTO event (line, id, epoch, recorded_ms, chain, body)", rows)
        self.line, self.chain = line, chain
        return len(rows)

    def _unknown(self, events: Sequence[MicroTransaction]) -> list[MicroTransaction]:
        by_id = {event.id: event for event in events}
        known = "SELECT 1 FROM event WHERE id = ? AND epoch = ?"
        return [
            event
            for event in by_id.values()
            if self._db.execute(known, (bytes.fromhex(event.id), self.epoch.n)).fetchone() is None
        ]

    def reissue(self, after_line: int, through_line: int, now_ms: int) -> int:
        """Write the events of the lines after `after_line` again in the present epoch: same ids, other number and chain."""
        written = 0
        for after in range(after_line, through_line, REISSUED_AT_ONCE):
            rows = self._db.execute(
                "SELECT body FROM event WHERE line > ? AND line <= ? ORDER BY line",
                (after, min(after + REISSUED_AT_ONCE, through_line)),
            ).fetchall()
            written += self.append([decode(body) for (body,) in rows], now_ms)
        return written
