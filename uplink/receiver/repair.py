"""A batch that a site was asked to send again, into a store that may lack some of it (`mending`): what is missing is filled.

Laws
- It happens only while an operator's request stands (`resending`). What came without being asked is placed as ever.
- Reading, proving and writing need no transaction between them: what is proved once stays so, and is written by number.
- What was mended is noted as an act (`acts`) of the site.
"""

import logging
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec
from msgspec import Struct

from uplink.events import CHAIN_START
from uplink.receiver import acts
from uplink.receiver.acts import Act
from uplink.receiver.audit import Auditable
from uplink.receiver.mending import KIND, SPAN_MAX, Anchors, Proved, Waiting, prove
from uplink.receiver.placing import Conflict, Duplicate, Gap
from uplink.receiver.screen import Place, screen
from uplink.receiver.storage import Appended, Documents, EpochState, HeldRow, Incoming, Store
from uplink.receiver.storage.held import Row, is_sound, row_of
from uplink.receiver.storage.reckoning import Exemption, reckon

log = logging.getLogger(__name__)

PAGE = 200
"""Batches read at once: of sites that upload every few seconds, some thousand lie within SPAN_MAX."""
WHO = "the site, asked again"


@runtime_checkable
class Mendable(Auditable, Documents, Protocol):
    """A store of rows that can be written again."""

    async def rewrite(self, site: str, epoch: str, rows: Sequence[Row], exemptions: Sequence[Exemption]) -> None:
        """Write the rows, each in the place of its number, and their exceptions; durable on return. A row that was missing
        gets a free position between its neighbours'. Sums and watermarks stay. Raises StoreUnavailable."""


async def append(store: Store, incoming: Incoming, documents: Documents) -> Appended:
    """`store.append`, with what is missing behind the watermark filled before; that is noted in `documents`. Raises
    StoreUnavailable."""
    if not incoming.mend or not isinstance(store, Mendable):
        return await store.append(incoming)
    head = incoming.head
    states = {state.epoch: state for state in await store.epochs(incoming.site)}
    state = states.get(head.epoch)
    if state is None or head.lost or not head.first <= min(head.last, state.acked_through):
        return await store.append(incoming)
    mended = await _mend(store, state, incoming, alone=len(states) == 1)
    if isinstance(mended, Gap | Conflict):
        return Appended(placement=mended, acked_through=state.acked_through)
    if mended.rows:
        await _note(documents, incoming, mended.rows)
    if mended.whole:
        return msgspec.structs.replace(await store.append(incoming), mended=mended.rows)
    return Appended(placement=Duplicate(), acked_through=head.last, mended=mended.rows)


class _Mended(Struct, frozen=True):
    """So many rows were written. `whole`: the store has the batch now, as far as it ever had, or cannot be mended further;
    else what is behind the last known chain value waits."""

    rows: int
    whole: bool = True


async def _note(documents: Documents, incoming: Incoming, mended: int) -> None:
    head = incoming.head
    detail = f"{mended} rows, of events {head.first} to {head.last} of {head.epoch} and before"
    log.warning("site %s: rows that were missing or changed are back: %s", incoming.site, detail)
    await acts.note(documents, Act(site=incoming.site, at_ms=incoming.now_ms, who=WHO, what="mended", detail=detail))


async def _mend(store: Mendable, state: EpochState, incoming: Incoming, *, alone: bool) -> _Mended | Gap | Conflict:
    head, site = incoming.head, incoming.site
    anchors = await _anchors(store, state, incoming)
    if anchors is None:
        return _Mended(0)
    last = min(head.last, state.acked_through)
    held = await _held(store, site, head.epoch, anchors.start, last)
    bodies = [event.body for event in incoming.events]
    noted = await store.get(KIND, site)
    waiting = msgspec.msgpack.decode(noted.body, type=Waiting) if noted else None
    proved = prove(anchors, head, bodies, {seq: row.body for seq, row in held.items()}, waiting)
    if not isinstance(proved, Proved):
        return proved
    written = await _write(store, incoming, proved, held, alone=alone)
    await _keep_waiting(store, site, head.epoch, proved, was=waiting)
    return _Mended(written, whole=not proved.waiting)


async def _anchors(store: Mendable, state: EpochState, incoming: Incoming) -> Anchors | None:
    """None where the store lacks too many chain values to prove anything, or the site said that these events are lost."""
    head = incoming.head
    after = max(0, head.first - 1 - SPAN_MAX)
    known = {0: CHAIN_START}
    last = min(head.last, state.acked_through)
    while page := await store.batches(incoming.site, head.epoch, after, PAGE):
        if any(each.lost and each.last >= head.first and each.first <= last for each in page):
            return None
        known |= {each.last: each.chain for each in page if each.last <= last}
        after = page[-1].last
        if after >= last:
            break
    known[state.acked_through] = state.chain
    start = max(number for number in known if number < head.first)
    if head.first - 1 - start > SPAN_MAX:
        return None
    ends = {number: chain for number, chain in known.items() if start < number <= last}
    return Anchors(start=start, chain=known[start], ends=ends, acked=state.acked_through)


async def _held(store: Mendable, site: str, epoch: str, after: int, last: int) -> dict[int, HeldRow]:
    rows = await store.history(site, epoch, after, last - after)
    return {row.seq: row for row in rows if row.seq <= last}


async def _write(store: Mendable, incoming: Incoming, proved: Proved, held: dict[int, HeldRow], *, alone: bool) -> int:
    head, site = incoming.head, incoming.site
    events = screen(Place(site, head.epoch), proved.first, proved.bodies)
    ids = [event.id for event in events if not event.refused]
    known = frozenset() if alone else await store.counted_elsewhere(site, head.epoch, ids)
    reckoned = reckon(head, events, known)
    exemptions = {each.seq: each for each in reckoned.exemptions}
    all_rows = map(row_of, reckoned.events, reckoned.statuses)
    rows = [row for row in all_rows if not is_sound(row, _code(exemptions, row.seq), held.get(row.seq))]
    if rows:
        await store.rewrite(site, head.epoch, rows, [exemptions[row.seq] for row in rows if row.seq in exemptions])
    return len(rows)


def _code(exemptions: dict[int, Exemption], seq: int) -> str:
    return exemptions[seq].code if seq in exemptions else ""


async def _keep_waiting(store: Mendable, site: str, epoch: str, proved: Proved, was: Waiting | None) -> None:
    if proved.waiting:
        first = proved.first + len(proved.bodies)
        waiting = Waiting(epoch=epoch, first=first, bodies=proved.waiting)
        await store.put(KIND, site, msgspec.msgpack.encode(waiting))
    elif was:
        await store.delete(KIND, site)
