"""What of a batch that comes again fills holes in what is stored? Pure: the chain values that the store still has, and the
batch -> the events that they prove, or where the site has to begin.

A store may lack rows below its watermark: somebody deleted some, a disk or a restored table lost them. Whoever asks the site to
send again (`resending`) gets them back by this.

Laws
- Nothing is believed that the stored chain values do not prove: an event is written when the chain from the last value before
  it to the next one behind it holds. What comes before that is known waits (`Waiting`).
- What is there, and is what the chain proves, is left alone. So are the sums: the transaction that took an event has counted
  it, and no row that is missing has been taken off.
- A row that is written again takes a place that is free between its neighbours', so that whoever reads on by position does
  not get it a second time.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from uplink.batch import Head, chain_through
from uplink.events import chain_next
from uplink.receiver.placing import Conflict, Gap

KIND = "unproven"
"""Of documents, one for each site: its `Waiting`."""
SPAN_MAX = 10_000
"""Numbers between two chain values that the store has: a batch has 1,000 at most. Where batches were deleted as well, more."""


class Waiting(Struct, frozen=True, kw_only=True):
    """Events from `first` of `epoch` on that came again, and stand behind the last chain value that proved any."""

    epoch: str
    first: int
    bodies: list[bytes]


class Anchors(Struct, frozen=True, kw_only=True):
    """Chain values that the store has: `chain` after number `start`, the last before the batch, and `ends` behind it, up to
    the watermark `acked`, or the end of the batch."""

    start: int
    chain: bytes
    ends: dict[int, bytes]
    acked: int


class Proved(Struct, frozen=True, kw_only=True):
    """Events from `first` on, as the site signed them; `waiting` follow them and are not proved yet. Of a withheld event, which
    has no bytes, the number alone."""

    first: int
    bodies: list[bytes]
    waiting: list[bytes]


def prove(
    anchors: Anchors, head: Head, bodies: Sequence[bytes], held: Mapping[int, bytes], waiting: Waiting | None
) -> Proved | Gap | Conflict:
    """`held`: bytes of rows between the anchor and the batch. Gap: the site has to send from the anchor on."""
    before = _before(anchors, head, held, waiting)
    if before is None or chain_through(anchors.chain, before) != head.prev:
        if head.first > anchors.start + 1:
            return Gap(anchors.start + 1)
        return Conflict(f"the chain before event {head.first} is another one")
    if head.withheld:
        same = anchors.ends.get(head.first) == head.chain
        return Proved(first=head.first, bodies=[], waiting=[]) if same else Gap(anchors.start + 1)
    return _proved(anchors, [*before, *bodies[: anchors.acked - head.first + 1]])


def _before(anchors: Anchors, head: Head, held: Mapping[int, bytes], waiting: Waiting | None) -> list[bytes] | None:
    """What stands between the anchor and the batch, None where it is not whole."""
    count = head.first - 1 - anchors.start
    if waiting and (waiting.epoch, waiting.first) == (head.epoch, anchors.start + 1) and len(waiting.bodies) >= count:
        return waiting.bodies[:count]
    found = [held.get(number, b"") for number in range(anchors.start + 1, head.first)]
    return found if all(found) else None


def _proved(anchors: Anchors, bodies: list[bytes]) -> Proved | Conflict:
    chain, proved = anchors.chain, 0
    for count, body in enumerate(bodies, 1):
        chain = chain_next(chain, body)
        known = anchors.ends.get(anchors.start + count)
        if known is None:
            continue
        if known != chain:
            return Conflict(f"events {anchors.start + 1} to {anchors.start + count} are other ones")
        proved = count
    return Proved(first=anchors.start + 1, bodies=bodies[:proved], waiting=bodies[proved:])
