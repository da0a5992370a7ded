"""A source that others send to (HEP, syslog): from its sockets to the sink, by way of a journal.

Laws
- Receiving waits for nobody: it moves what comes from the sockets into the journal, whatever the ledger does meanwhile.
- Processing reads the journal and nothing else, so that after a restart the same octets give the same records.
- A checkpoint is a place in the journal and the stream's state at that place. A batch between two snapshots has none: what is
  read again from the last one has the same keys.
- A journal segment is deleted when a checkpoint behind it is durable, not before.
"""

import asyncio
import itertools
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from collectors.contract import Batch, Context, Probe, Sink, SourceUnavailable
from collectors.io.datagrams import Datagrams, kernel_drops, open_datagrams, receive_buffer_bytes
from collectors.io.journal import Journal, Position
from collectors.io.listeners import Listener, Tls, open_listener, tls_context
from collectors.io.origin import RESTART, Origin, length_behind_origin, packed, split
from collectors.io.resuming import Cadence, Checkpoints
from collectors.io.segment import OwnLength
from collectors.io.server import COUNTERS as SERVER_COUNTERS
from collectors.io.server import StreamServer
from collectors.records import Record, Reject

RECEIVE_AT_ONCE = 8_192
"""Datagrams taken off a socket before anything else has its turn: more than its receive buffer holds, so that a buffer
that has filled meanwhile is emptied at once, in some 20 ms."""
READ_AT_ONCE = 32
SLICE_S = 0.005
"""How long datagrams are decoded before the sockets have their turn again. At 200,000 a second, which no site sends, 1,000
arrive meanwhile: the receive buffer bridges that six times."""
BATCH_DATAGRAMS = 20_000
"""A batch ends here at the latest, so that its memory is bounded while a backlog is worked off: some 3,000 calls."""
IDLE_S = 1.0
"""How often the clock is looked at while nothing arrives; the shortest of the tracker's spans is two seconds."""


class Stream(Protocol):
    """What makes records of what came. Pure: what comes out depends on what is fed, its times of receipt and the ticks."""

    @property
    def counters(self) -> dict[str, int]:
        """Totals by name; the README names them all."""

    @property
    def newest_us(self) -> int:
        """The newest time told; 0 before the first."""

    def feed(self, origin: Origin, data: bytes, received_us: int, position: str) -> None:
        """`position`: where it stands, for the reject that it may become."""

    def tick(self, idle_us: int) -> None:
        """Nothing has arrived for `idle_us`."""

    def drain(self) -> tuple[Sequence[Record], Sequence[Reject]]:
        """What became final since the last drain."""

    def to_cut(self) -> Sequence[int]:
        """Connections, since last asked, whose senders cannot be listened to any longer."""

    def snapshot(self) -> bytes: ...

    def restore(self, state: bytes) -> None:
        """Raises ValueError where these bytes are no snapshot of this version."""


class Ears(Struct, frozen=True, kw_only=True):
    """What a collector listens on, and how. `own_length`: how to tell the length of a datagram that was received but not
    sealed; `check`: raises where a socket that was bound or inherited may not be listened on."""

    listeners: tuple[Listener, ...]
    tls: Tls
    own_length: OwnLength
    journal_limit_bytes: int
    check: Callable[[Listener], None]


class JournaledCollector:
    """`make_stream` gives the stream that the source's configuration asks for, as it is before anything was fed."""

    def __init__(self, ears: Ears, context: Context, make_stream: Callable[[], Stream]) -> None:
        self._ears = ears
        self._context = context
        self._make_stream = make_stream
        self._stream = make_stream()
        self._checkpoints: Checkpoints[Position] = Checkpoints(Position)
        self._journal: Journal | None = None
        self._sockets: list[socket.socket] = []
        self._servers: list[StreamServer] = []
        self._arrived = asyncio.Event()
        self._failure: SourceUnavailable | None = None
        self._counters = {
            "datagrams": 0,
            "journal_full": 0,
            "journal_recovered": 0,
            "resumed_without_state": 0,
            "journal_missing": 0,
        }
        self._paused = False
        self._has_announced = False
        self._heard_at_ms = 0
        self._fed_at = time.monotonic()
        self._detail = "not listening yet"

    async def run(self, sink: Sink, checkpoint: bytes | None) -> None:
        """Collect until cancelled. Raises SourceUnavailable where a port, the folder or the disk cannot be used,
        SourceMisconfigured where an address may not be listened on or a certificate is none."""
        try:
            opened = self._open_sockets()
            known = self._resume(checkpoint)
            self._journal = self._open_journal(known)
            self._serve(self._journal, opened)
            self._pause(not self._announced())
            self._receive_all()
            await self._process(sink, fresh=known is None or self._journal.missing)
        finally:
            self._close()

    def _open_sockets(self) -> list[tuple[Listener, socket.socket]]:
        """The sockets that take connections. Those for datagrams are kept; one that is inherited stands for the first."""
        name, inherited = self._context.name, dict(self._context.inherited_sockets)
        servers: list[tuple[Listener, socket.socket]] = []
        told: list[str] = []
        for listener in self._ears.listeners:
            if listener.transport == "udp":
                one = open_datagrams(name, f"{listener.host}:{listener.port}", inherited)
                self._sockets.append(one)
                origin = ", a socket held by the service manager" if inherited.pop(name, None) is not None else ""
                listener = Listener("udp", *one.getsockname()[:2])
                told.append(f"{listener}{origin}; receive buffer {receive_buffer_bytes(one) >> 10} KiB")
            else:
                servers.append((listener, open_listener(listener)))
                told.append(str(listener))
            self._ears.check(listener)
        self._detail = f"listening on {', '.join(told)}"
        return servers

    def _serve(self, journal: Journal, opened: Sequence[tuple[Listener, socket.socket]]) -> None:
        numbers = itertools.count(1)
        tls = tls_context(self._ears.tls) if any(listener.transport == "tls" for listener, _ in opened) else None
        for listener, one in opened:
            context = tls if listener.transport == "tls" else None
            self._servers.append(StreamServer(one, journal, numbers, context, self._now_us, self._heard))
        for one in self._sockets:
            asyncio.get_running_loop().add_reader(one, self._receive, one)

    def _announced(self) -> bool:
        """Whether the journal says that a new run begins here: before it does no connection is read."""
        assert self._journal is not None
        if not self._has_announced:
            self._has_announced = self._journal.append(packed(RESTART, "", 0), self._now_us())
        return self._has_announced

    def _resume(self, checkpoint: bytes | None) -> Position | None:
        """Where the last checkpoint stands, its state restored; None where the whole journal is to be read."""
        if not checkpoint:
            return None
        known = self._checkpoints.restored(checkpoint, self._stream.restore)
        if known is None:
            self._counters["resumed_without_state"] += 1
            self._stream = self._make_stream()
        return known

    def _open_journal(self, start: Position | None) -> Journal:
        folder = self._context.folder / "journal"
        try:
            journal = Journal(
                folder,
                start,
                now_us=self._now_us(),
                own_length=length_behind_origin(self._ears.own_length),
                limit_bytes=self._ears.journal_limit_bytes,
            )
        except OSError as error:
            raise SourceUnavailable(
                f"the journal in {folder} cannot be used: {error.strerror}",
                "it needs a writable folder and a few megabytes of free disk",
            ) from error
        self._counters["journal_recovered"] += journal.recovered
        self._counters["journal_missing"] += journal.missing
        return journal

    def _now_us(self) -> int:
        return self._context.clock_ms() * 1000

    def _receive_all(self) -> None:
        for one in self._sockets:
            self._receive(one)

    def _receive(self, opened: socket.socket) -> None:
        """Called by the event loop whenever datagrams wait."""
        assert self._journal is not None
        try:
            taken = self._journal.receive(Datagrams(opened), RECEIVE_AT_ONCE, self._now_us())
        except OSError as error:
            self._failure = SourceUnavailable(f"receiving failed: {error.strerror}")
            self._pause(True)
            self._arrived.set()
            return
        if taken:
            self._counters["datagrams"] += taken
            self._heard()
        self._pause(self._journal.full)

    def _heard(self) -> None:
        """Something was read into the journal."""
        assert self._journal is not None
        self._heard_at_ms = self._context.clock_ms()
        self._arrived.set()
        self._pause(self._journal.full)

    def _pause(self, paused: bool) -> None:
        """Leave what comes in the sockets while the journal has no room, and count how often it came to that."""
        if paused == self._paused:
            return
        self._paused = paused
        loop = asyncio.get_running_loop()
        self._counters["journal_full"] += paused
        for one in self._sockets:
            if paused:
                loop.remove_reader(one)
            else:
                loop.add_reader(one, self._receive, one)
        for server in self._servers:
            server.pause(paused)

    async def _process(self, sink: Sink, fresh: bool) -> None:
        """`fresh`: what the ledger has as this source's checkpoint is no longer of use."""
        assert self._journal is not None
        journal, stream = self._journal, self._stream
        last = journal.position
        checkpoint = self._checkpoint(last) if fresh else None
        cadence = Cadence()
        while True:
            await self._read_on()
            self._cut(stream.to_cut())
            records, rejects = stream.drain()
            if cadence.due(journal.bytes_since(last)):
                last = journal.position
                checkpoint = self._checkpoint(last)
            if not (records or rejects or checkpoint):
                continue
            await asyncio.to_thread(journal.flush())
            await sink.put(
                Batch(
                    records=records,
                    rejects=rejects,
                    checkpoint=checkpoint,
                    source_time_ms=stream.newest_us // 1000,
                )
            )
            checkpoint = None
            journal.release(last)
            if self._paused:
                self._pause(not (self._announced() and journal.has_room()))

    def _cut(self, connections: Sequence[int]) -> None:
        for server in self._servers if connections else ():
            server.cut(connections)

    def _checkpoint(self, position: Position) -> bytes:
        return self._checkpoints.write(position, self._stream.snapshot())

    async def _read_on(self) -> None:
        """Feed what the journal holds, up to a batch; where it holds nothing, wait for news or a second."""
        assert self._journal is not None
        fed, turn_at = 0, time.monotonic() + SLICE_S
        while fed < BATCH_DATAGRAMS and (found := self._journal.read(READ_AT_ONCE)):
            for one in found:
                origin, data = split(one.data)
                self._stream.feed(origin, data, one.received_us, f"journal {one.segment}:{one.offset}")
            fed += len(found)
            self._fed_at = time.monotonic()
            if self._fed_at >= turn_at:
                await asyncio.sleep(0)
                turn_at = time.monotonic() + SLICE_S
        if not fed:
            if self._failure:
                raise self._failure
            await self._wait(self._journal)

    async def _wait(self, journal: Journal) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(
                IDLE_S
            ):  # wait_for of Python 3.11 may swallow a cancellation that comes with the news
                await self._arrived.wait()
        except TimeoutError:
            self._receive_all()
            if not journal.backlog_bytes:
                self._stream.tick(round((time.monotonic() - self._fed_at) * 1_000_000))

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for server in self._servers:
            server.close()
        for one in self._sockets:
            loop.remove_reader(one)
            one.close()
        self._servers, self._sockets = [], []
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def probe(self) -> Probe:
        """Counters are documented in the source's README.md."""
        counters = {**self._stream.counters, **self._counters}
        for name in SERVER_COUNTERS:
            counters[name] = sum(server.counters[name] for server in self._servers)
        if self._sockets:
            counters["kernel_drops"] = sum(kernel_drops(one) for one in self._sockets)
        full = "; the journal is full, nothing more is received" if self._paused else ""
        return Probe(
            detail=self._detail + full,
            heard_at_ms=self._heard_at_ms,
            backlog_bytes=self._journal.backlog_bytes if self._journal else 0,
            counters=counters,
        )
