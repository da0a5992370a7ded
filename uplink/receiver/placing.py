"""Where does a batch go? Pure: what is stored of an epoch, and a batch that proves itself -> one placement.

Laws
- Numbers are contiguous and the chain says what stands under them: equal chain values mean equal history. So nothing is
  compared but chain values, and nothing is ever merged or overwritten.
- A batch may be cut anywhere: its known part is verified, the rest is taken.
- A site that shows less than the platform holds, or something else, has gone back in time or has a twin.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct

from uplink.batch import Head, chain_through


class Append(Struct, frozen=True):
    """Take the batch but for its first `skip` events, which are stored already."""

    skip: int = 0


class Duplicate(Struct, frozen=True):
    """All of it is stored, the same."""


class Gap(Struct, frozen=True):
    """Events from `expected` on are missing."""

    expected: int


class Conflict(Struct, frozen=True):
    """Other content stands under these numbers."""

    detail: str


Placement = Append | Duplicate | Gap | Conflict


def place(acked: int, head: Head, bodies: Sequence[bytes], chain_at: Callable[[int], bytes]) -> Placement:
    """`acked` is the last number stored, `chain_at(n)` the chain value after number n (0 to `acked`)."""
    if head.first > acked + 1:
        return Gap(acked + 1)
    if head.lost:
        return _lost(acked, head, chain_at)
    if chain_at(head.first - 1) != head.prev:
        return Conflict(f"the chain before event {head.first} is another one")
    if head.first == acked + 1:
        return Append()
    if head.last < head.first:
        return Conflict(f"the site has {head.last} events, the platform {acked}: its ledger went back")
    return _overlap(acked, head, bodies, chain_at)


def _lost(acked: int, head: Head, chain_at: Callable[[int], bytes]) -> Placement:
    """What the platform has of it stays; the rest is gone at both ends, and the chain goes on behind it."""
    if head.last > acked:
        return Append()
    same = chain_at(head.last) == head.chain
    return Duplicate() if same else Conflict(f"events {head.first} to {head.last} are here, and other ones")


def asked(acked: int, head: Head) -> set[int]:
    """The numbers after which `place` may ask for the chain value: for a storage that must fetch them before."""
    return {number for number in (head.first - 1, head.last, acked) if 0 <= number <= acked}


def _overlap(acked: int, head: Head, bodies: Sequence[bytes], chain_at: Callable[[int], bytes]) -> Placement:
    if head.last <= acked:
        same = chain_at(head.last) == head.chain
        return Duplicate() if same else Conflict(f"events {head.first} to {head.last} are other ones")
    skip = acked - head.first + 1
    if chain_at(acked) != chain_through(head.prev, bodies[:skip]):
        return Conflict(f"events {head.first} to {acked} are other ones")
    return Append(skip)
