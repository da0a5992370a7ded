"""The ledger's events, proved: each row against the chain, its neighbours and its own bytes, over a read-only connection.

Laws
- One transaction sees it all, so that what the writer does meanwhile changes nothing. Rows are read as they are needed.
- A period is a range of lines: those between the first and the last event that were recorded in it.
- The oldest row that pruning left is there for its chain value alone, which is where proving begins.
- A history is one site's: epochs from when the ledger was another site's are left out.

Pruning leaves what is not acknowledged and the last line that is, so that the chain value of each cursor is always there.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec
from msgspec import Struct
from sqlite_utils import Database

from agent.ledger import another_site
from uplink.events import CHAIN_START, instant
from uplink.proof import Claim, Mismatch, Proof, Proved, Span
from uplink.receipts import Receipted

MS_MAX = (1 << 63) - 1


class Period(Struct, frozen=True, kw_only=True):
    """When events were recorded: from `since_ms` up to, and not at, `until_ms`."""

    since_ms: int = 0
    until_ms: int = MS_MAX


class Taker(Protocol):
    """Takes the parts beside their being proved."""

    def span(self, span: Span) -> None: ...

    def event(self, body: bytes, sequence: int, chain: bytes) -> None: ...

    def receipt(self, receipt: Receipted) -> None: ...


class _Epoch(Struct, frozen=True):
    """A row of `epoch`; `end` is the last line of it."""

    n: int
    id: str
    after_line: int
    after_epoch: str
    after_chain: bytes
    end: int


def prove(
    db: Database,
    site: str,
    period: Period,
    taker: Taker | None = None,
    trusted: frozenset[str] = frozenset(),
    claims: Sequence[Claim] = (),
) -> Proved:
    """What the ledger holds of `period`, proved, and handed to `taker` as it goes; `trusted` as in `Proof`. `claims`: what is
    known of it from elsewhere. Raises Mismatch, and sqlite3.Error where the file cannot be read."""
    db.execute("BEGIN")
    try:
        proving = _Proving(db, taker, Proof(site, trusted))
        for claim in claims:
            proving.check(claim)
        proved = proving.over(period)
        return msgspec.structs.replace(proved, against=list(dict.fromkeys(claim.by for claim in claims)))
    finally:
        db.execute("ROLLBACK")


class _Proving:
    def __init__(self, db: Database, taker: Taker | None, proof: Proof) -> None:
        self._db = db
        self._taker = taker
        self._proof = proof
        self._oldest, self._newest = self._range(Period())
        self._by_id = {epoch.id: epoch for epoch in self._epochs()}

    def over(self, period: Period) -> Proved:
        epochs = self._epochs()
        if not epochs:
            raise Mismatch("the epochs", "one at least", "none")
        self._acknowledged(epochs[-1])
        self._receipted(epochs)
        low, high = self._range(period)
        if high or not self._newest:
            begins = another_site.begins_at(self._db)
            for epoch in epochs:
                if epoch.n >= begins and low <= epoch.end and (epoch.after_line < high or high == self._newest):
                    self._over_epoch(epoch, max(low, epoch.after_line + 1), min(high, epoch.end))
        return self._proof.result()

    def check(self, claim: Claim) -> None:
        """That what is known from elsewhere is here, or was pruned."""
        epoch = self._by_id.get(claim.epoch)
        if epoch is None:
            raise Mismatch(f"the epoch that {claim.by} tells of", claim.epoch, "nothing")
        line, place = epoch.after_line + claim.sequence, (claim.epoch, claim.sequence)
        if line > epoch.end:
            raise Mismatch(f"the end of the epoch, by {claim.by}", claim.sequence, epoch.end - epoch.after_line, *place)
        if claim.receipted:
            self._has_receipt(epoch, claim)
        if claim.sequence and line < self._oldest:
            return
        if (found := self._chain_of(epoch, line)) != claim.chain:
            raise Mismatch(f"the chain, by {claim.by}", claim.chain, found, *place)

    def _has_receipt(self, epoch: _Epoch, claim: Claim) -> None:
        (last,) = self._db.execute("SELECT max(last) FROM receipt WHERE epoch = ?", (epoch.n,)).fetchone()
        if last is None or last < claim.sequence:
            found = "none" if last is None else last
            raise Mismatch(f"the last receipt, by {claim.by}", claim.sequence, found, claim.epoch, claim.sequence)

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

    def _receipted(self, epochs: list[_Epoch]) -> None:
        """Each receipt has its epoch, its destination and its last event here, and none is missing at the end."""
        ends = {epoch.n: epoch.end - epoch.after_line for epoch in epochs}
        rows = self._db.execute(
            "SELECT destination, receipt.epoch, max(last), acked_through, destination.epoch FROM receipt"
            " LEFT JOIN destination ON name = destination GROUP BY destination, receipt.epoch"
        )
        for destination, n, last, acked, at in rows.fetchall():
            if acked is None or last > ends.get(n, -1):
                raise Mismatch(
                    "the receipt's last event", f"at most {ends.get(n, 0)}", f"{last} of {destination}, epoch {n}"
                )
            if n == at and last < acked:
                raise Mismatch(f"the last receipt of {destination}", acked, last, epochs[-1].id, last)

    def _receipts(self, epoch: _Epoch, first: int, last: int) -> Iterator[Receipted]:
        """Those that end from before event `first` to `last`, in the order of where they end."""
        rows = self._db.execute(
            "SELECT first, last, prev, chain, server_time, receipt.key, coalesce(public, x''), signature FROM receipt"
            " LEFT JOIN platform_key ON platform_key.key = receipt.key"
            " WHERE epoch = ? AND last BETWEEN ? AND ? ORDER BY last, first",
            (epoch.n, first - 1, last),
        )
        for row in rows:
            yield Receipted(**dict(zip(Receipted.__struct_fields__, row, strict=True)))

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
        self._over_lines(epoch, first, last, _Receipts(self._receipts(epoch, span.first, span.last)))

    def _over_lines(self, epoch: _Epoch, first: int, last: int, receipts: "_Receipts") -> None:
        self._take(receipts.at(first - epoch.after_line - 1))
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
            self._take(receipts.at(sequence))

    def _take(self, receipts: list[Receipted]) -> None:
        for receipt in receipts:
            self._proof.receipt(receipt)
            if self._taker:
                self._taker.receipt(receipt)

    def _chain_of(self, epoch: _Epoch, line: int) -> bytes:
        """What the ledger says. Raises Mismatch where the event is missing; what was pruned was proved to the platform."""
        if line == epoch.after_line:
            return CHAIN_START
        row = self._db.execute("SELECT chain FROM event WHERE line = ? AND epoch = ?", (line, epoch.n)).fetchone()
        if row is None:
            sequence = line - epoch.after_line
            raise Mismatch("the event", "to be in the ledger", "nothing", epoch.id, sequence)
        return bytes(row[0])


class _Receipts:
    """Those of an epoch, given out as the events that they end at come by."""

    def __init__(self, rows: Iterator[Receipted]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def at(self, sequence: int) -> list[Receipted]:
        found: list[Receipted] = []
        while self._next and self._next.last == sequence:
            found.append(self._next)
            self._next = next(self._rows, None)
        return found
