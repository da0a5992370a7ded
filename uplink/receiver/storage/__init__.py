"""What the receiver asks of its storage: `Store` for events, `Documents` for all else. `sqlite.py` is the one for one machine.

Laws
- `append` returns when the batch is durable: the answer may then be given, not before. Watermark, chain, events, totals
  and refusals of a batch commit together.
- A duplicate is answered from what is stored, never from a memory of what was claimed.
- A store that cannot write says StoreUnavailable, and nothing of the batch is stored.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol

from msgspec import Struct

from uplink.batch import Head
from uplink.feed import Item
from uplink.receiver.placing import Placement
from uplink.receiver.screen import Screened


class StoreUnavailable(Exception):
    """Disk full, locked or gone: the site should come again later."""


class ReadElsewhere(StoreUnavailable):
    """It only keeps batches: no sense in coming again. Says where it is read."""


def in_words(error: BaseException) -> str:
    """Some errors of libraries have no text but their name."""
    return str(error) or type(error).__name__


class Exceptional(Struct, frozen=True, kw_only=True):
    """An event that was stored and not counted: `rejected` (with its code) or `known` from an earlier epoch."""

    seq: int
    status: str
    code: str = ""
    message: str = ""


class Appended(Struct, frozen=True, kw_only=True):
    """What became of a batch. `exceptions` are those of the whole range, also for a duplicate. `mended`: rows that were
    missing, or others, and were written as the site sent them."""

    placement: Placement
    acked_through: int = 0
    counted: int = 0
    mended: int = 0
    exceptions: list[Exceptional] = []


class Incoming(Struct, frozen=True, kw_only=True):
    """A batch that proved itself, for `site`, at the receiver's `now_ms`. `encoded` is its body as it came. `mend`: the site
    was asked to send again, so that rows that are missing come back."""

    site: str
    head: Head
    events: list[Screened]
    now_ms: int
    encoded: bytes
    mend: bool = False


class Total(Struct, frozen=True, kw_only=True):
    """`quantity` is the exact sum over `events` counted events (corrections among them). `day` is UTC; empty: several days."""

    meter: str
    unit: str
    quantity: str
    events: int
    day: str = ""


class TotalsQuery(Struct, frozen=True, kw_only=True):
    """Which sums. `site`: of one site; empty: over all sites. UTC days from `first_day` to `last_day`, empty: no
    bound; apart with `by_day`. `meter`: only that one."""

    site: str = ""
    first_day: str = ""
    last_day: str = ""
    meter: str = ""
    by_day: bool = False


class SitesQuery(Struct, frozen=True, kw_only=True):
    """Which sites: behind `after` by name, at most `limit`, those whose name holds `search` (letters in either case). With
    `silent_before_ms`: only those that have a gap: last heard before then, or with an epoch that does not continue."""

    after: str = ""
    limit: int = 100
    search: str = ""
    silent_before_ms: int | None = None


class SiteState(Struct, frozen=True, kw_only=True, gc=False):
    """A site over all its epochs. `epoch`, `acked_through`, `skew_ms`: of the one that began last. `broken`: how many of them
    do not continue what came before (`EpochState.continues` is `no` or `unnamed`). `lost`: as there, over all of them."""

    site: str
    epoch: str
    acked_through: int
    skew_ms: int
    began_ms: int
    seen_ms: int
    epochs: int
    broken: int
    counted: int
    known: int
    rejected: int
    lost: int = 0


class Booked(Struct, frozen=True, kw_only=True):
    """What was taken of one batch: events `first` to `last`, and the chain value there. `lost`: there are none, for the site
    stated that it does not hold them any more."""

    first: int
    last: int
    chain: bytes
    received_ms: int
    lost: bool = False


EVENTS_MAX_BYTES = 8 * 1024 * 1024
"""Of the bodies of one page of events, but for its last one: as much as a batch may be."""


class StoredEvent(Struct, frozen=True, kw_only=True):
    """`position` orders all events of the store as they came; `status` is `counted`, `known` or `rejected`."""

    position: int
    epoch: str
    seq: int
    status: str
    body: bytes


class HeldRow(Struct, frozen=True, gc=False):
    """An event's row, column by column as the store has it, for whoever works them out again. `quantity` is empty where the
    store keeps none; `exempted` and `code` are those of its exception, None and empty where it has none."""

    site: str
    seq: int
    status: int
    id: str
    meter: str
    time_ms: int
    quantity: str
    unit: str
    body: bytes
    exempted: int | None
    code: str


class EpochState(Struct, frozen=True, kw_only=True):
    """`continues`: did the epoch name its predecessor's last chain value as the platform knows it? `first`, `yes`, `no`
    or `unnamed`. `skew_ms` is the site's clock minus the platform's, at the last head. `lost`: how
    many of the numbers neither end holds any more."""

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
    lost: int = 0


class Room(Struct, frozen=True, kw_only=True):
    """What a store takes, and what it could take besides; None where it cannot know."""

    used_bytes: int
    free_bytes: int | None = None


class Document(Struct, frozen=True, kw_only=True, gc=False):
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

    async def put_all(self, kind: str, bodies: Mapping[str, bytes]) -> None:
        """By key, over whatever stands there, in one go. Durable on return. Raises StoreUnavailable, when some may be there."""

    async def delete(self, kind: str, key: str, expected: int = ANY) -> bool:
        """Whether there was one, of that revision."""

    async def listed(self, kind: str, after: str = "", limit: int = 1000) -> list[Document]:
        """In the order of their keys."""


class Store(Protocol):
    async def check(self) -> None:
        """Raises StoreUnavailable where no batch could be stored now, as far as that can be told without one."""

    async def append(self, incoming: Incoming) -> Appended:
        """Raises StoreUnavailable."""

    async def epochs(self, site: str) -> list[EpochState]:
        """In the order in which they began; empty for a site that never reported."""

    async def totals(self, query: TotalsQuery) -> list[Total]:
        """In the order of day, meter and unit."""

    async def calls_by_hour(self, site: str, day: str) -> list[Decimal]:
        """24 exact sums of the meter `call`, by the UTC hour in which a call began."""

    async def sites(self, query: SitesQuery) -> list[SiteState]:
        """In the order of their names; only sites of which something was stored."""

    async def events(self, site: str, after: int, limit: int) -> list[StoredEvent]:
        """Those behind position `after`, in order: at most `limit`, and fewer where they pass EVENTS_MAX_BYTES."""

    async def batches(self, site: str, epoch: str, after: int, limit: int) -> list[Booked]:
        """Those that end behind number `after`, in order."""

    async def counted(self, after: int, limit: int) -> list[Item]:
        """The counted events of all sites behind position `after`. What appears later stands behind all that was given: who
        reads on from the last position misses nothing."""

    async def newest(self) -> int:
        """The last position that was given to an event; 0 where there is none."""

    async def room(self) -> Room:
        """Raises StoreUnavailable."""

    async def close(self) -> None: ...


class Storage(Store, Documents, Protocol):
    """Both of them: what `serve` opens."""
