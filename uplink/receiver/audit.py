"""Does a receiver's store prove itself? Each epoch's chain from the stored bytes against where batches ended, every column of
every row against its bytes, and all sums, worked out again.

Laws
- It only reads, a site at a time and page by page, beside a receiver that runs: a site that reported meanwhile is looked at
  again, up to TRIES times.
- The first thing that does not fit ends it (`uplink.proof.Mismatch`).
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Protocol, runtime_checkable

from msgspec import Struct

from uplink.proof import Mismatch
from uplink.receiver.audit_walk import Sums, Tally, Walk
from uplink.receiver.storage import Booked, EpochState, HeldRow, SitesQuery, Store, TotalsQuery
from uplink.receiver.storage.reckoning import KNOWN, exact_sum

PAGE = 1000
TRIES = 5


@runtime_checkable
class Auditable(Store, Protocol):
    """A store that can give an epoch's rows in the order of their numbers."""

    async def history(self, site: str, epoch: str, after: int, limit: int) -> list[HeldRow]: ...

    async def counted_elsewhere(self, site: str, epoch: str, ids: Sequence[str]) -> frozenset[str]:
        """Which of these ids another epoch of the site has counted."""

    async def stray(self) -> int:
        """The position of a row that is of no epoch; 0 where there is none."""


class Audited(Struct, frozen=True, kw_only=True):
    """What fits together. `events`: numbers, whatever became of them; `lost`: those of them that neither end holds any more;
    `outgrown`: refused as of an unknown meter that is known now; `busy`: sites that reported each time they were looked at;
    `fleet`: whether sums over all sites were compared."""

    sites: int
    epochs: int
    events: int
    counted: int
    outgrown: int = 0
    lost: int = 0
    busy: list[str] = []
    fleet: bool = True


async def audit(store: Auditable, only_site: str = "") -> Audited:
    """Raises Mismatch and StoreUnavailable."""
    sites = epochs = events = counted = outgrown = lost = 0
    busy: list[str] = []
    fleet: Sums = defaultdict(lambda: (0, Decimal(0)))
    before = None if only_site else await _kept(store, "")
    async for site in _sites(store, only_site):
        for _ in range(TRIES):
            states = await store.epochs(site)
            tally = await _audited(store, site, states)
            kept = await _kept(store, site)
            if _numbers(await store.epochs(site)) == _numbers(states):
                if tally.beyond:
                    raise tally.beyond
                _compare_sums(f"site {site}, ", tally.sums, kept)
                await _compare_hours(store, site, tally)
                break
        else:
            busy.append(site)
        _merge(fleet, tally.sums)
        sites, epochs, outgrown = sites + 1, epochs + len(states), outgrown + tally.outgrown
        events += sum(state.acked_through for state in states)
        counted += sum(state.counted for state in states)
        lost += sum(state.lost for state in states)
    if not only_site and (stray := await store.stray()):
        raise Mismatch("the rows of no epoch", "none", f"one at position {stray}")
    quiet = before is not None and not busy and await _kept(store, "") == before
    if before is not None and quiet:
        _compare_sums("over all sites, ", fleet, before)
    return Audited(
        sites=sites, epochs=epochs, events=events, counted=counted, outgrown=outgrown, lost=lost, busy=busy, fleet=quiet
    )


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


async def _audited(store: Auditable, site: str, states: list[EpochState]) -> Tally:
    """What these epochs' rows give."""
    tally = Tally()
    for state in states:
        walk = Walk(site, state, tally)
        ends = _ends(store, site, state)
        end = await _next(ends, walk)
        async for page in _history(store, site, state):
            elsewhere = await _elsewhere(store, site, state.epoch, page, alone=len(states) == 1)
            for row, seen in zip(page, await asyncio.to_thread(walk.seen, page), strict=True):
                at_end = end is not None and end.last == row.seq
                walk.take(row, seen, end if at_end else None, row.id in elsewhere)
                if at_end:
                    end = await _next(ends, walk)
        walk.finish()
        walk.beyond(await store.history(site, state.epoch, state.acked_through, 1))
    return tally


async def _next(ends: AsyncIterator[Booked], walk: Walk) -> Booked | None:
    """The next batch that has events."""
    async for end in ends:
        if not end.lost:
            return end
        walk.pass_over(end)
    return None


async def _history(store: Auditable, site: str, state: EpochState) -> AsyncIterator[list[HeldRow]]:
    after = 0
    while after < state.acked_through:
        page = await store.history(site, state.epoch, after, min(PAGE, state.acked_through - after))
        if not page:
            return
        yield page
        after = page[-1].seq


async def _elsewhere(store: Auditable, site: str, epoch: str, page: list[HeldRow], *, alone: bool) -> frozenset[str]:
    """Which ids of a page another epoch has counted. Where there is no other, none has."""
    if alone:
        return frozenset()
    return await store.counted_elsewhere(site, epoch, [row.id for row in page if row.status <= KNOWN])


async def _ends(store: Auditable, site: str, state: EpochState) -> AsyncIterator[Booked]:
    after = 0
    while page := await store.batches(site, state.epoch, after, PAGE):
        for end in page:
            if end.last > state.acked_through:  # it came meanwhile
                return
            yield end
        after = page[-1].last


def _merge(into: Sums, sums: Sums) -> None:
    for key, (events, quantity) in sums.items():
        so_far, total = into[key]
        into[key] = so_far + events, exact_sum((total, quantity))


async def _kept(store: Auditable, site: str) -> Sums:
    totals = await store.totals(TotalsQuery(site=site, by_day=True))
    return {(each.day, each.meter, each.unit): (each.events, Decimal(each.quantity)) for each in totals}


def _compare_sums(where: str, sums: Sums, kept: Sums) -> None:
    for key in sorted(sums.keys() | kept.keys()):
        expected, found = sums.get(key), kept.get(key)
        if expected != found:
            day, meter, unit = key
            raise Mismatch(f"{where}{day}: events and sum of {meter} ({unit})", _shown(expected), _shown(found))


async def _compare_hours(store: Auditable, site: str, tally: Tally) -> None:
    for day in sorted({day for day, _, _ in tally.sums}):
        for hour, found in enumerate(await store.calls_by_hour(site, day)):
            expected = tally.hours.get((day, hour), Decimal(0))
            if expected != found:
                raise Mismatch(f"site {site}, {day}, hour {hour}: sum of calls", f"{expected:f}", f"{found:f}")


def _shown(total: tuple[int, Decimal] | None) -> str:
    return f"{total[0]} and {total[1]:f}" if total else "none"
