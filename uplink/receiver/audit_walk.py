"""Over the rows of one epoch: does each say what its bytes say, and do the bytes give the chain? Pure.

Laws
- Every column is worked out again from the bytes beside it. Where both are at odds the chain says which was changed: a column
  is named only after the bytes have given the chain value at the end of their batch.
- What was refused may be refused for a reason that no longer is one (`held.GROWING`): that is told, and no mismatch.
- Memory does not grow with the rows.
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from uplink.events import CHAIN_START, chain_next
from uplink.proof import Mismatch
from uplink.receiver.screen import Place, Screened, screen
from uplink.receiver.storage import Booked, EpochState, HeldRow
from uplink.receiver.storage.held import difference, is_outgrown, row_of
from uplink.receiver.storage.reckoning import CALL, COUNTED, HOUR_MS, KNOWN, REJECTED, exact_sum

Sums = dict[tuple[str, str, str], tuple[int, Decimal]]
"""By UTC day, meter and unit: how many events, and their sum."""
Hours = dict[tuple[str, int], Decimal]
"""By UTC day and hour: the sum of calls."""


class Tally:
    """What a site's rows give, over all its epochs. `outgrown`: refused, and would be counted today. `beyond`: a row behind the
    last event of its epoch."""

    def __init__(self) -> None:
        self.sums: Sums = defaultdict(lambda: (0, Decimal(0)))
        self.hours: Hours = defaultdict(Decimal)
        self.outgrown = 0
        self.beyond: Mismatch | None = None

    def add(self, seen: Screened) -> None:
        key, quantity = (seen.day, seen.meter, seen.unit), Decimal(seen.quantity)
        events, total = self.sums[key]
        self.sums[key] = events + 1, exact_sum((total, quantity))
        if seen.meter == CALL:
            hour = seen.day, seen.time_ms // HOUR_MS % 24
            self.hours[hour] = exact_sum((self.hours[hour], quantity))


class Walk:
    """Give it the rows in the order of their numbers, each with what its bytes say (`seen`), the batch that ended there, and
    whether another epoch of the site has counted its id; then `finish`. Each call but `seen` raises Mismatch."""

    def __init__(self, site: str, state: EpochState, tally: Tally) -> None:
        self._place = Place(site, state.epoch)
        self._state = state
        self._tally = tally
        self._sequence = 0
        self._chain = CHAIN_START
        self._began = 1
        self._lost = 0
        self._counts = {COUNTED: 0, KNOWN: 0, REJECTED: 0}
        self._doubt: Mismatch | None = None

    def seen(self, rows: Sequence[HeldRow]) -> list[Screened]:
        """What the bytes of each row say. Rows that follow each other are screened together, at a third of the cost."""
        bodies = [row.body for row in rows]
        if all(bodies) and rows[-1].seq - rows[0].seq == len(rows) - 1:
            found = screen(self._place, rows[0].seq, bodies)
        else:
            found = [seen for row in rows for seen in screen(self._place, row.seq, [row.body])]
        return [self._as_stored(row, seen) for row, seen in zip(rows, found, strict=True)]

    def _as_stored(self, row: HeldRow, seen: Screened) -> Screened:
        """What has no bytes was withheld, and what was refused for a reason that is none today is stored as refused."""
        if not row.body:
            return Screened(row.seq, b"", refused=row.code or "withheld")
        if is_outgrown(row) and not seen.refused:
            self._tally.outgrown += 1
            return Screened(row.seq, row.body, refused=row.code)
        return seen

    def take(self, row: HeldRow, seen: Screened, end: Booked | None, elsewhere: bool) -> None:
        self._sequence += 1
        if row.seq != self._sequence:
            raise self._mismatch("the next event", self._sequence, row.seq)
        if row.body:
            self._chain = chain_next(self._chain, row.body)
        elif end is None or end.first != end.last:
            raise self._mismatch("the event", "its bytes", "nothing")
        else:  # withheld at the site, which stated its place in the chain alone
            self._chain = end.chain
        self._doubt = self._doubt or self._compared(row, seen, elsewhere)
        if end:
            self._end(end)

    def pass_over(self, end: Booked) -> None:
        """A batch that states that its events are lost."""
        if end.first != self._sequence + 1:
            raise self._mismatch("the next event", self._sequence + 1, f"{end.first} is said to be lost")
        self._sequence, self._chain, self._began = end.last, end.chain, end.last + 1
        self._lost += end.last - end.first + 1

    def _end(self, end: Booked) -> None:
        if end.chain != self._chain:
            raise self._mismatch("the chain where a batch ended", self._chain, end.chain)
        if self._doubt:
            raise self._doubt
        if end.first != self._began:
            raise self._mismatch("the first event of the batch", self._began, end.first)
        self._began = end.last + 1

    def _compared(self, held: HeldRow, seen: Screened, elsewhere: bool) -> Mismatch | None:
        """The first column that says something else than the bytes."""
        if held.site != self._place.site:
            return self._mismatch("the column site", self._place.site, held.site, "site")
        status = REJECTED if seen.refused else KNOWN if elsewhere else COUNTED
        self._counts[status] += 1
        if status == COUNTED:
            self._tally.add(seen)
        found = difference(row_of(seen, status), seen.refused, held)
        return (
            self._mismatch(f"the column {found.column}", found.expected, found.found, found.column) if found else None
        )

    def beyond(self, rows: list[HeldRow]) -> None:
        """What stands behind the last event. It may have come meanwhile."""
        for row in rows:
            told = Mismatch("the row", "none", row.id, self._place.epoch, row.seq, self._place.site)
            self._tally.beyond = self._tally.beyond or told

    def finish(self) -> None:
        state = self._state
        if self._doubt and self._chain == state.chain:
            raise self._doubt
        for what, expected, found in (
            ("the last event", state.acked_through, self._sequence),
            ("the chain after the last event", self._chain, state.chain),
            ("the last batch", self._sequence + 1, self._began),
            ("events counted", self._counts[COUNTED], state.counted),
            ("events known before", self._counts[KNOWN], state.known),
            ("events rejected", self._counts[REJECTED], state.rejected),
            ("events lost", self._lost, state.lost),
        ):
            if expected != found:
                raise self._mismatch(what, expected, found)

    def _mismatch(self, what: str, expected: object, found: object, column: str = "") -> Mismatch:
        return Mismatch(what, expected, found, self._place.epoch, self._sequence, self._place.site, column)
