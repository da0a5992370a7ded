"""What the shipper asks of the ledger. `agent/ledger` implements it; the shipper sees nothing else of the site.

Laws
- Bodies are the stored bytes of events, never made anew. A chunk is contiguous and within one epoch.
- There is one live epoch. After `begin_epoch` every cursor stands before number 1 of the new one, and the ledger has
  written there again (same id, other epoch and sequence) whatever some destination had not acknowledged.
- A cursor only moves forward: acknowledging at or below it changes nothing. It moves in one transaction with the
  refusals that came with it.
- Nothing here tells the ledger to delete.
"""

from typing import Protocol

from msgspec import Struct

from uplink.receipts import Receipted


class Identity(Struct, frozen=True, kw_only=True):
    """Who speaks. `source` is the site's URN (CloudEvents `source`). `after_epoch` and `after_chain` are the epoch before
    the live one and its last chain value; empty for a site's first epoch."""

    site: str
    source: str
    epoch: str
    after_epoch: str = ""
    after_chain: bytes = b""


class Cursor(Struct, frozen=True, kw_only=True):
    """How far one destination has acknowledged the live epoch: everything up to `acked_through` (0: nothing yet), where the
    chain stood at `chain` (`events.CHAIN_START` at 0). `backoff` is what `save_backoff` stored last, or empty."""

    epoch: str
    acked_through: int
    chain: bytes
    backoff: bytes = b""


class Chunk(Struct, frozen=True, kw_only=True):
    """Stored events `first`..`last`, and the chain before and after them. With no bodies `last` is `first - 1` and the
    two chain values are equal."""

    first: int
    last: int
    prev: bytes
    chain: bytes
    bodies: list[bytes]


class Refusal(Struct, frozen=True, kw_only=True):
    """An event that the platform did not count: `code` is stable, `message` a sentence."""

    seq: int
    code: str
    message: str = ""


class UploadLog(Struct, frozen=True, kw_only=True):
    """One request, for the status page. `count` 0 is a heartbeat; `status` is `acknowledged`, `duplicate`, or the code of the
    problem; `bytes` is the encoded size; `ms` how long the answer took."""

    at_ms: int
    first: int
    last: int
    count: int
    bytes: int
    status: str
    ms: int


class Waiting(Struct, frozen=True, kw_only=True):
    """How many events of the live epoch a destination has not acknowledged, and when the oldest and the newest of them were
    recorded (0 where there is none). `end`, `end_chain`: the last event of that epoch, and the chain there (0: there is
    none)."""

    count: int = 0
    oldest_ms: int = 0
    newest_ms: int = 0
    end: int = 0
    end_chain: bytes = b""


class Outbox(Protocol):
    async def identity(self) -> Identity: ...

    async def cursor(self, destination: str) -> Cursor:
        """A destination not seen before starts at 0 of the live epoch."""

    async def read(self, epoch: str, after: int, max_events: int, max_bytes: int) -> Chunk:
        """The events after number `after`, at most `max_events` and `max_bytes` of bodies, but always one if there is one.
        `after` is at least `horizon(epoch) - 1` and at most the last number."""

    async def acknowledge(
        self,
        destination: str,
        epoch: str,
        through: int,
        refused: list[Refusal],
        answer: bytes,
        receipt: Receipted | None = None,
    ) -> None:
        """Durable on return. Refused events (of which some may never have left the site: too large) go to quarantine with their
        reason. `answer` is the platform's as it came, or empty; its `receipt` is kept in the same transaction, also
        where nothing else changes (a heartbeat)."""

    async def save_backoff(self, destination: str, state: bytes) -> None:
        """Durable on return; the next `cursor` gives it back."""

    async def log_upload(self, destination: str, entry: UploadLog) -> None: ...

    async def begin_epoch(self, reason: str) -> str:
        """Start a new epoch and return it. `reason` is a problem code (`conflict`)."""

    async def waiting(self, destination: str) -> Waiting: ...

    async def horizon(self, epoch: str) -> int:
        """The first number still held; 1 where nothing was pruned."""
