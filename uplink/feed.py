"""What a forwarder asks of a store of events: the site's ledger, or the receiver's store when the centre forwards.

Laws
- A position is a number that only grows with the store's own order, over epochs and sites. Positions may have gaps.
- Each event comes once: what a store holds again under other numbers (a new epoch) is not given a second time.
- A cursor only moves forward, in one transaction with the refusals that came with it.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from uplink.outbox import Refusal, UploadLog


class Item(Struct, frozen=True, gc=False):
    """A stored event: where it stands, and its bytes."""

    position: int
    body: bytes


class Place(Struct, frozen=True, kw_only=True):
    """How far a destination is: everything up to position `through` (0: nothing yet) is taken or in quarantine."""

    through: int
    backoff: bytes = b""


class Feed(Protocol):
    async def place(self, destination: str) -> Place:
        """A destination not seen before starts at the oldest event that is held."""

    async def read(self, after: int, max_events: int, max_bytes: int) -> Sequence[Item]:
        """The events behind `after`, at most so many and so long, but always one if there is one."""

    async def taken(self, destination: str, through: int, refused: Sequence[Refusal]) -> None:
        """Durable on return. `Refusal.seq` is a position."""

    async def save_backoff(self, destination: str, state: bytes) -> None: ...

    async def log_upload(self, destination: str, entry: UploadLog) -> None: ...
