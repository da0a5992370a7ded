"""The contract between what hears (collectors) and what keeps (the ledger).

Laws
- A collector pushes `Batch`es into a `Sink`; `put` returns only when the batch is durable, together with its
  checkpoint. Nothing downstream ever calls a collector.
- A checkpoint is the collector's own bytes, opaque to everybody else. Given the last durable one, the collector goes on
  so that every record comes again or comes first, never not at all; what comes again has the same key.
- A collector raises one of the two source errors below and nothing else; the supervisor restarts it, the collector does
  not retry by itself. A record that is bad is a `Reject` in a batch, never an exception.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from collectors.records import Call, Leg, Record, Reject


class SourceError(Exception):
    """A source cannot go on. `hint` says what a technician can do about it; `code` is the problem's own, where the cause
    has one (docs/reference/problems.md), else empty."""

    def __init__(self, message: str, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


class SourceUnavailable(SourceError):
    """Try again later: the file, port or peer is not there now."""


class SourceMisconfigured(SourceError):
    """Trying again does not help: the configuration, a password or a permission must be mended."""


class Batch(Struct, frozen=True, kw_only=True):
    """What a source said since its last checkpoint. `checkpoint`: None where the last one still holds. `source_time_ms` is the
    source's own clock (newest record or packet seen): a call settles by it, so that an old file read late settles as it would
    have done live. `on_commit` may be called, from any thread, when nothing but the commit is left to do: the disk works and
    the processor is free, so this is the time to prepare the next batch. It says nothing of durability, and must neither
    block nor raise."""

    records: Sequence[Record] = ()
    rejects: Sequence[Reject] = ()
    checkpoint: bytes | None = b""
    source_time_ms: int = 0
    on_commit: Callable[[], None] | None = None


class Probe(Struct, frozen=True, kw_only=True):
    """What a collector says of itself now. `detail` is a sentence for the status page; `counters` are totals since the
    start, by name (each name is documented in the collector's README)."""

    detail: str
    heard_at_ms: int = 0
    backlog_bytes: int = 0
    counters: dict[str, int] = {}


class Sink(Protocol):
    async def put(self, batch: Batch) -> None:
        """Return when `batch` is durable. Slow on purpose when the ledger cannot keep up: this is the back-pressure."""


class Collector(Protocol):
    async def run(self, sink: Sink, checkpoint: bytes | None) -> None:
        """Collect until cancelled. Returns only where the source has an end (a capture file)."""

    def probe(self) -> Probe: ...


class Context(Struct, frozen=True, kw_only=True):
    """What the agent lends a collector: the source's configured name, a folder of its own for files that must outlive the
    process, the wall clock, and a socket that the service manager holds for it (by name), if any."""

    name: str
    folder: Path
    clock_ms: Callable[[], int]
    timezone: str = "UTC"
    inherited_sockets: dict[str, int] = {}


class Kind(Struct, frozen=True, kw_only=True):
    """One kind of source. `config` is its table in the configuration file (a msgspec Struct tagged with the kind's
    name), `leg` its own type of leg, `join` the pure function that makes a call of legs; `read` gives the batches of one
    file without storing anything, or None where a kind has no files; `sniff` says how sure it is (0 to 100) that a
    file with this name and these first bytes is one of its own."""

    name: str
    config: type[Struct]
    leg: type[Leg]
    join: Callable[[Sequence[Any]], Call]
    open: Callable[[Any, Context], Collector]
    read: Callable[[Path, Any], Iterator[Batch]] | None = None
    sniff: Callable[[str, bytes], int] | None = None
