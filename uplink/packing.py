"""Stored events, read and packed: what can be sent next.

Law: what is made depends on its place in the ledger alone. So what was made ahead, in the hope that it will be wanted, is as
good as what is made now for the same place.
"""

import asyncio

import msgspec
from msgspec import Struct

from uplink.batch import EVENT_MAX_BYTES, Batch, BatchError, Head, build, withhold
from uplink.events import CHAIN_START
from uplink.outbox import Chunk, Identity, Outbox


class Place(Struct, frozen=True):
    """The events after number `after` of `epoch`, at most `wanted` of them; with 0 a heartbeat. `withheld` is the code for
    which the one event there stays at the site, or empty. `lost` is the code for which the events there, up to the oldest that
    is held, are no more, or empty."""

    epoch: str
    after: int
    wanted: int
    withheld: str = ""
    lost: str = ""


class Ready(Struct, frozen=True):
    """What can be sent next: the batch of the events at a place, or why there is none."""

    place: Place
    head: Head
    batch: Batch | BatchError

    def is_heartbeat(self) -> bool:
        return not (self.head.count or self.place.withheld or self.place.lost)

    def may_be_followed(self) -> bool:
        """Whether there may be more behind it, and nothing about it is in doubt."""
        return isinstance(self.batch, Batch) and 0 < self.head.count == self.place.wanted and not self.place.withheld


async def prepare(outbox: Outbox, identity: Identity, place: Place, max_bytes: int) -> Ready:
    """What is at `place`, of which events up to `max_bytes` (before gzip) go into one batch; it is stamped when it is sent."""
    if place.lost:
        return await _prepare_loss(outbox, identity, place)
    chunk = await outbox.read(place.epoch, place.after, place.wanted, max_bytes)
    head = _head(identity, place.epoch, chunk)
    try:
        return Ready(place, head, await asyncio.to_thread(_pack, head, chunk.bodies, place.withheld))
    except BatchError as error:
        return Ready(place, head, error)


async def _prepare_loss(outbox: Outbox, identity: Identity, place: Place) -> Ready:
    """The ledger keeps the chain value behind the last event that was pruned."""
    chunk = await outbox.read(place.epoch, await outbox.horizon(place.epoch) - 1, 0, 0)
    held = _head(identity, place.epoch, msgspec.structs.replace(chunk, first=place.after + 1))
    head = msgspec.structs.replace(held, last=chunk.last, chain=chunk.prev, prev=CHAIN_START, lost=place.lost)
    return Ready(place, head, build(head, []))


def _head(identity: Identity, epoch: str, chunk: Chunk) -> Head:
    named = chunk.first == 1
    return Head(
        epoch=epoch,
        first=chunk.first,
        last=chunk.last,
        count=len(chunk.bodies),
        prev=chunk.prev,
        chain=chunk.chain,
        head_time_s=0,
        after_epoch=identity.after_epoch if named else "",
        after_chain=identity.after_chain if named else b"",
    )


def _pack(head: Head, bodies: list[bytes], withheld: str) -> Batch:
    """Runs in a thread: 8 MiB take zlib a quarter of a second. Raises BatchError."""
    if withheld and bodies:
        return build(withhold(head, bodies[0], withheld), [])
    if any(len(body) > EVENT_MAX_BYTES for body in bodies):
        raise BatchError("too_large", f"an event is larger than {EVENT_MAX_BYTES} bytes")
    return build(head, bodies)
