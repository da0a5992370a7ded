"""The ledger's events, proved: each row against the chain, its neighbours and its own bytes, over a read-only connection.

Laws
- One transaction sees it all, so that what the writer does meanwhile changes nothing. Rows are read as they are needed.
- A period is a range of lines: those between the first and the last event that were recorded in it.
- The oldest row that pruning left is there for its chain value alone, which is where proving begins.

Pruning leaves what is not acknowledged and the last line that is, so that the chain value of each cursor is always there.
"""

from typing import Protocol

from msgspec import Struct
from sqlite_utils import Database

from uplink.events import CHAIN_START, instant
from uplink.proof import Mismatch, Proof, Proved, Span

MS_MAX = (1 << 63) - 1


class Period(Struct, frozen=True, kw_only=True):
    """When events were recorded: from `since_ms` up to, and not at, `until_ms`."""

    since_ms: int = 0
    until_ms: int = MS_MAX


class Taker(Protocol):
    """Takes the parts beside their being proved."""

    def span(self, span: Span) -> None: ...

    def event(self, body: bytes, sequence: int, chain: bytes) -> None: ...


class _Epoch(Struct, frozen=True):
    """A row of `epoch`; `end` is the last line of it."""

    n: int
    id: str
    after_line: int
    after_epoch: str
    after_chain: bytes
    end: int


def prove(db: Database, site: str, period: Period, taker: Taker | None = None) -> Proved:
    """What the ledger holds of `period`, proved, and handed to `taker` as it goes. Raises Mismatch, and sqlite3.Error where
    the file cannot be read."""
    db.execute("BEGIN")
    try:
        return _Proving(db, site, taker).over(period)
    finally:
        db.execute("ROLLBACK")


class _Proving:
    def __init__(self, db: Database, site: str, taker: Taker | None) -> None:
        self._db = db
        self._taker = taker
        self._proof = Proof(site)
        self._oldest, self._newest = self._range(Period())

    def over(self, period: Period) -> Proved:
        epochs = self._epochs()
        self._acknowledged(epochs[-1])
        low, high = self._range(period)
        if high or not self._newest:
            for epoch in epochs:
                if low <= epoch.end and (epoch.after_line < high or high == self._newest):
                    self._over_epoch(epoch, max(low, epoch.after_line + 1), min(high, epoch.end))
        return self._proof.result()

    def _range(self, period: Period) -> tuple[int, int]:
        """The first and the last line of it; 0 where there is none."""
        low, high = self._db.execute(
            "SELECT min(line), max(line) FROM event WHERE recorded_ms >= ? AND recorded_ms < ?",
            (period.since_ms, period.until_ms),
        ).fetchone()
        return low or 0, high or 0

    def _epochs(self) -> list[_Epoch]:
        rows = self._db.execute(
            "SELECT n, id, after_line, after_epoch, after_chain, lead(after_line, 1, ?) OVER (ORDER BY n)"
            " FROM epoch ORDER BY n",
            (self._newest,),
        )
        return [_Epoch(*row) for row in rows]

    def _acknowledged(self, newest: _Epoch) -> None:
        """What a destination has acknowledged must be here, and be the same: an end that was cut off shows by this."""
        for name, acked, chain in self._db.execute(
            "SELECT name, acked_through, chain FROM destination WHERE epoch = ? AND active ORDER BY name", (newest.n,)
        ).fetchall():
            found = self._chain_of(newest, newest.after_line + acked)
            if found != chain:
                raise Mismatch(f"the chain acknowledged by {name}", chain, found, newest.id, acked)
        (through,) = self._db.execute("SELECT coalesce(max(through), 0) FROM forward WHERE active").fetchone()
        if through > self._newest:
            raise Mismatch("the last event of the ledger, by line", f"{through} or more", self._newest)

    def _over_epoch(self, epoch: _Epoch, first: int, last: int) -> None:
        if first == self._oldest and first > epoch.after_line + 1:
            first += 1
        prev = self._chain_of(epoch, first - 1)
        span = Span(
            epoch=epoch.id,
            first=first - epoch.after_line,
            last=last - epoch.after_line,
            prev=prev,
            chain=self._chain_of(epoch, last) if last >= first else prev,
            after_epoch=epoch.after_epoch,
            after_chain=epoch.after_chain,
        )
        self._proof.span(span)
        if self._taker:
            self._taker.span(span)
        self._over_lines(epoch, first, last)

    def _over_lines(self, epoch: _Epoch, first: int, last: int) -> None:
        rows = self._db.execute(
            "SELECT line, id, epoch, recorded_ms, chain, body FROM event WHERE line BETWEEN ? AND ? ORDER BY line",
            (first, last),
        )
        for expected, (line, event_id, n, recorded_ms, chain, body) in enumerate(rows, first):
            sequence = expected - epoch.after_line
            if line != expected:
                raise Mismatch("the next event", sequence, line - epoch.after_line, epoch.id, sequence)
            head = self._proof.event(body)
            row, told = (event_id.hex(), n, instant(recorded_ms)), (head.id, epoch.n, head.recordedtime)
            if row != told:
                raise self._proof.mismatch("id, epoch and time of recording in the row", told, row)
            self._proof.chain(sequence, chain, "the ledger")
            if self._taker:
                self._taker.event(body, sequence, chain)

    def _chain_of(self, epoch: _Epoch, line: int) -> bytes:
        """What the ledger says. Raises Mismatch where the event is missing; what was pruned was proved to the platform."""
        if line == epoch.after_line:
            return CHAIN_START
        row = self._db.execute("SELECT chain FROM event WHERE line = ? AND epoch = ?", (line, epoch.n)).fetchone()
        if row is None:
            sequence = line - epoch.after_line
            raise Mismatch("the event", "to be in the ledger", "nothing", epoch.id, sequence)
        return bytes(row[0])
