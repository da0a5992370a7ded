"""What the receiver asks of its storage: `Store` for events, `Documents` for all else. `sqlite.py` is the one for one machine.

Laws
- `append` returns when the batch is durable: the answer may then be given, not before. Watermark, chain, events, totals
  and refusals of a batch commit together.
- A duplicate is answered from what is stored, never from a memory of what was claimed.
- A store that cannot write says StoreUnavailable, and nothing of the batch is stored.
"""

from typing import Protocol

from msgspec import Struct

from uplink.batch import Head
from uplink.receiver.placing import Placement
from uplink.receiver.screen import Screened


class StoreUnavailable(Exception):
    """Disk full, locked or gone: the site should come again later."""


class Exceptional(Struct, frozen=True, kw_only=True):
    """An event that was stored and not counted: `rejected` (with its code) or `known` from an earlier epoch."""

    seq: int
    status: str
    code: str = ""
    message: str = ""


class Appended(Struct, frozen=True, kw_only=True):
    """What became of a batch. `exceptions` are those of the whole range, also for a duplicate."""

    placement: Placement
    acked_through: int = 0
    counted: int = 0
    exceptions: list[Exceptional] = []


class Incoming(Struct, frozen=True, kw_only=True):
    """A batch that proved itself, for `site`, at the receiver's `now_ms`."""

    site: str
    head: Head
    events: list[Screened]
    now_ms: int


class Total(Struct, frozen=True, kw_only=True):
    """`quantity` is the exact sum over `events` counted events (corrections among them). `day` is UTC; empty: all days."""

    meter: str
    unit: str
    quantity: str
    events: int
    day: str = ""


class StoredEvent(Struct, frozen=True, kw_only=True):
    """`position` orders all events of the store as they came; `status` is `counted`, `known` or `rejected`."""

    position: int
    epoch: str
    seq: int
    status: str
    body: bytes


class EpochState(Struct, frozen=True, kw_only=True):
    """`continues`: did the epoch name its predecessor's last chain value as the platform knows it? `first`, `yes`, `no`
    or `unnamed`. `skew_ms` is the site's clock minus the platform's, at the last head."""

    epoch: str
    acked_through: int
    chain: bytes
    began_ms: int
    seen_ms: int
    skew_ms: int
    continues: str
    counted: int
    known: int
    rejected: int


class Document(Struct, frozen=True, kw_only=True):
    """A small thing that the platform keeps beside events: an agent's key, a policy, an operator. `revision` grows with every
    change of it."""

    key: str
    body: bytes
    revision: int


ANY = -1
"""As the expected revision: whatever stands there."""


class Documents(Protocol):
    """Documents by kind and key, each changed as a whole and by one at a time. Every storage has them; all that enrolment,
    policies and operators need is built on these four."""

    async def get(self, kind: str, key: str) -> Document | None: ...

    async def put(self, kind: str, key: str, body: bytes, expected: int = ANY) -> int | None:
        """Its new revision, durable on return; or None where another revision than `expected` stands there (0: none may).
        Raises StoreUnavailable."""

    async def delete(self, kind: str, key: str, expected: int = ANY) -> bool:
        """Whether there was one, of that revision."""

    async def listed(self, kind: str, after: str = "", limit: int = 1000) -> list[Document]:
        """In the order of their keys."""


class Store(Protocol):
    async def append(self, incoming: Incoming) -> Appended:
        """Raises StoreUnavailable."""

    async def epochs(self, site: str) -> list[EpochState]:
        """In the order in which they began; empty for a site that never reported."""

    async def totals(self, site: str, by_day: bool, day: str) -> list[Total]: ...

    async def events(self, site: str, after: int, limit: int) -> list[StoredEvent]: ...

    async def close(self) -> None: ...


class Storage(Store, Documents, Protocol):
    """Both of them: what `serve` opens."""
