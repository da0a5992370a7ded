"""Does a receiver's store prove itself? Each epoch's chain from the stored bytes against where batches ended, what became of
each event, and all sums, worked out again.

Laws
- It only reads, a site at a time and page by page, beside a receiver that runs: a site that reported meanwhile is looked at
  again, up to TRIES times.
- The first thing that does not fit ends it (`uplink.proof.Mismatch`).
"""

from collections import defaultdict
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Protocol, runtime_checkable

from msgspec import Struct

from uplink.events import CHAIN_START, chain_next
from uplink.proof import Mismatch
from uplink.receiver.screen import Place, screen
from uplink.receiver.storage import Booked, EpochState, SitesQuery, Store, StoredEvent, TotalsQuery
from uplink.receiver.storage.reckoning import exact_sum

PAGE = 1000
TRIES = 5
_Sums = dict[tuple[str, str, str], tuple[int, Decimal]]


@runtime_checkable
class Auditable(Store, Protocol):
    """A store that can give an epoch's events in the order of their numbers."""

    async def history(self, site: str, epoch: str, after: int, limit: int) -> list[StoredEvent]: ...


class Audited(Struct, frozen=True, kw_only=True):
    """What fits together. `events`: numbers, whatever became of them; `busy`: sites that reported each time they were looked
    at."""

    sites: int
    epochs: int
    events: int
    counted: int
    busy: list[str]


async def audit(store: Auditable, only_site: str = "") -> Audited:
    """Raises Mismatch and StoreUnavailable."""
    sites = epochs = events = counted = 0
    busy: list[str] = []
    async for site in _sites(store, only_site):
        for _ in range(TRIES):
            states = await store.epochs(site)
            sums = await _audited(store, site, states)
            kept = await _kept(store, site)
            if _numbers(await store.epochs(site)) == _numbers(states):
                _compare_sums(site, sums, kept)
                break
        else:
            busy.append(site)
        sites, epochs = sites + 1, epochs + len(states)
        events += sum(state.acked_through for state in states)
        counted += sum(state.counted for state in states)
    return Audited(sites=sites, epochs=epochs, events=events, counted=counted, busy=busy)


async def _sites(store: Auditable, only_site: str) -> AsyncIterator[str]:
    if only_site:
        yield only_site
        return
    after = ""
    while page := await store.sites(SitesQuery(after=after, limit=PAGE)):
        for each in page:
            yield each.site
        after = page[-1].site


def _numbers(states: list[EpochState]) -> list[tuple[str, int]]:
    return [(state.epoch, state.acked_through) for state in states]


async def _audited(store: Auditable, site: str, states: list[EpochState]) -> _Sums:
    """The sums of what these epochs counted."""
    sums: _Sums = defaultdict(lambda: (0, Decimal(0)))
    for state in states:
        walk = _Walk(site, state, sums)
        ends = _ends(store, site, state.epoch)
        end = await anext(ends, None)
        async for event in _history(store, site, state):
            at_end = end is not None and end.last == event.seq
            walk.take(event, end if at_end else None)
            if at_end:
                end = await anext(ends, None)
        walk.finish()
    return sums


async def _history(store: Auditable, site: str, state: EpochState) -> AsyncIterator[StoredEvent]:
    after = 0
    while after < state.acked_through:
        page = await store.history(site, state.epoch, after, min(PAGE, state.acked_through - after))
        for event in page:
            yield event
        if not page:
            return
        after = page[-1].seq


async def _ends(store: Auditable, site: str, epoch: str) -> AsyncIterator[Booked]:
    after = 0
    while page := await store.batches(site, epoch, after, PAGE):
        for end in page:
            yield end
        after = page[-1].last


class _Walk:
    """Over one epoch, event by event."""

    def __init__(self, site: str, state: EpochState, sums: _Sums) -> None:
        self._place = Place(site, state.epoch)
        self._state = state
        self._sums = sums
        self._sequence = 0
        self._chain = CHAIN_START
        self._counts = {"counted": 0, "known": 0, "rejected": 0}

    def take(self, event: StoredEvent, end: Booked | None) -> None:
        """`end`: of the batch that ended with this event."""
        self._sequence += 1
        if event.seq != self._sequence:
            raise self._mismatch("the next event", self._sequence, event.seq)
        if event.body:
            self._chain = chain_next(self._chain, event.body)
        elif end is None:
            raise self._mismatch("the event", "its bytes", "nothing")
        else:  # withheld at the site, which stated its place in the chain alone
            self._chain = end.chain
        if end and end.chain != self._chain:
            raise self._mismatch("the chain where a batch ended", self._chain, end.chain)
        self._counts[event.status] += 1
        if event.status == "counted":
            self._add(event)

    def _add(self, event: StoredEvent) -> None:
        (seen,) = screen(self._place, event.seq, [event.body])
        if seen.refused:
            raise self._mismatch("the counted event", "one that can be counted", seen.message)
        key = (seen.day, seen.meter, seen.unit)
        events, quantity = self._sums[key]
        self._sums[key] = events + 1, exact_sum((quantity, Decimal(seen.quantity)))

    def finish(self) -> None:
        state = self._state
        for what, expected, found in (
            ("the last event", state.acked_through, self._sequence),
            ("the chain after the last event", self._chain, state.chain),
            ("events counted", self._counts["counted"], state.counted),
            ("events known before", self._counts["known"], state.known),
            ("events rejected", self._counts["rejected"], state.rejected),
        ):
            if expected != found:
                raise self._mismatch(what, expected, found)

    def _mismatch(self, what: str, expected: object, found: object) -> Mismatch:
        return Mismatch(what, expected, found, f"{self._place.epoch} of site {self._place.site}", self._sequence)


async def _kept(store: Auditable, site: str) -> _Sums:
    totals = await store.totals(TotalsQuery(site=site, by_day=True))
    return {(each.day, each.meter, each.unit): (each.events, Decimal(each.quantity)) for each in totals}


def _compare_sums(site: str, sums: _Sums, kept: _Sums) -> None:
    for key in sorted(sums.keys() | kept.keys()):
        expected, found = sums.get(key), kept.get(key)
        if expected != found:
            day, meter, unit = key
            raise Mismatch(f"site {site}, {day}: events and sum of {meter} ({unit})", _shown(expected), _shown(found))


def _shown(total: tuple[int, Decimal] | None) -> str:
    return f"{total[0]} and {total[1]:f}" if total else "none"
