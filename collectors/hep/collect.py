"""HEP over UDP: from a socket to the sink, by way of a journal.

Laws
- Receiving waits for nobody: it moves datagrams from the socket into the journal, whatever the ledger does meanwhile.
- Processing reads the journal and nothing else, so that after a restart the same datagrams give the same records.
- A checkpoint is a place in the journal and the stream's state at that place. Between two snapshots a batch repeats the
  last one: what is read again from there has the same keys.
- A journal segment is deleted when a checkpoint behind it is durable, not before.
"""

import asyncio
import socket
import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from collectors.contract import Batch, Context, Probe, Sink, SourceUnavailable
from collectors.hep.config import HepConfig, refuse_open_door
from collectors.hep.decode import packet_length
from collectors.hep.stream import HepStream
from collectors.io.cadence import Cadence
from collectors.io.datagrams import kernel_drops, open_datagrams, receive_buffer_bytes
from collectors.io.journal import Journal, Position
from collectors.sip.tracker import Tracker

RECEIVE_AT_ONCE = 8_192
"""Datagrams taken off the socket before anything else has its turn: more than its receive buffer holds, so that a buffer
that has filled meanwhile is emptied at once, in some 20 ms."""
READ_AT_ONCE = 32
SLICE_S = 0.005
"""How long datagrams are decoded before the socket has its turn again. At 200,000 a second, which no site sends, 1,000
arrive meanwhile: the receive buffer bridges that six times."""
BATCH_DATAGRAMS = 20_000
"""A batch ends here at the latest, so that its memory is bounded while a backlog is worked off: some 3,000 calls."""
IDLE_S = 1.0
"""How often the clock is looked at while nothing arrives; the shortest of the tracker's spans is two seconds."""


class Checkpoint(Struct, frozen=True, array_like=True):
    version: int
    position: Position
    state: bytes


VERSION = 1
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Checkpoint).decode


class HepCollector:
    """One listening port. `make_tracker` gives the SIP tracker that the source's configuration asks for."""

    def __init__(self, config: HepConfig, context: Context, make_tracker: Callable[[], Tracker]) -> None:
        self._config = config
        self._context = context
        self._make_tracker = make_tracker
        self._stream = self._new_stream()
        self._journal: Journal | None = None
        self._socket: socket.socket | None = None
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
        self._heard_at_ms = 0
        self._fed_at = time.monotonic()
        self._detail = "not listening yet"

    def _new_stream(self) -> HepStream:
        return HepStream(self._make_tracker(), self._config.password.encode())

    async def run(self, sink: Sink, checkpoint: bytes | None) -> None:
        """Collect until cancelled. Raises SourceUnavailable where the port, the folder or the disk cannot be used,
        SourceMisconfigured where the listening address may not be."""
        self._socket = open_datagrams(self._context.name, self._config.listen, self._context.inherited_sockets)
        try:
            refuse_open_door(self._socket.getsockname()[0], self._config.password)
            known = self._resume(checkpoint)
            self._journal = self._open_journal(known.position if known else None)
            self._detail = self._describe(self._socket)
            asyncio.get_running_loop().add_reader(self._socket, self._receive)
            self._receive()
            await self._process(sink, checkpoint if known and not self._journal.missing else None)
        finally:
            self._close()

    def _resume(self, checkpoint: bytes | None) -> Checkpoint | None:
        """The state at the last checkpoint. Where its bytes are of another version, the whole journal is read again
        without it: what stood in the state is calls in progress, and what has been handed in keeps its key."""
        if not checkpoint:
            return None
        try:
            known = _decode(checkpoint)
            if known.version != VERSION:
                raise ValueError(f"checkpoint version {known.version}")
            self._stream.restore(known.state)
        except (msgspec.DecodeError, ValueError):
            self._counters["resumed_without_state"] += 1
            self._stream = self._new_stream()
            return None
        return known

    def _open_journal(self, start: Position | None) -> Journal:
        folder = self._context.folder / "journal"
        try:
            journal = Journal(
                folder,
                start,
                now_us=self._now_us(),
                own_length=packet_length,
                limit_bytes=self._config.journal_limit_mb * 1024 * 1024,
            )
        except OSError as error:
            raise SourceUnavailable(
                f"the journal in {folder} cannot be used: {error.strerror}",
                "it needs a writable folder and a few megabytes of free disk",
            ) from error
        self._counters["journal_recovered"] += journal.recovered
        self._counters["journal_missing"] += journal.missing
        return journal

    def _describe(self, opened: socket.socket) -> str:
        host, port = opened.getsockname()[:2]
        inherited = self._context.name in self._context.inherited_sockets
        origin = ", a socket held by the service manager" if inherited else ""
        return f"listening on {host} port {port}/udp{origin}; receive buffer {receive_buffer_bytes(opened) >> 10} KiB"

    def _now_us(self) -> int:
        return self._context.clock_ms() * 1000

    def _receive(self) -> None:
        """Called by the event loop whenever datagrams wait."""
        assert self._journal is not None
        assert self._socket is not None
        now_us = self._now_us()
        try:
            taken = self._journal.receive(self._socket, RECEIVE_AT_ONCE, now_us)
        except OSError as error:
            self._failure = SourceUnavailable(f"receiving failed: {error.strerror}")
            self._pause(True)
            self._arrived.set()
            return
        if taken:
            self._counters["datagrams"] += taken
            self._heard_at_ms = now_us // 1000
            self._arrived.set()
        self._pause(self._journal.full)

    def _pause(self, paused: bool) -> None:
        """Leave the datagrams in the socket while the journal has no room, and count how often it came to that."""
        if paused == self._paused:
            return
        self._paused = paused
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        if paused:
            self._counters["journal_full"] += 1
            loop.remove_reader(self._socket)
        else:
            loop.add_reader(self._socket, self._receive)

    async def _process(self, sink: Sink, checkpoint: bytes | None) -> None:
        assert self._journal is not None
        journal, stream = self._journal, self._stream
        last = journal.position
        checkpoint = checkpoint or self._checkpoint(last)
        cadence = Cadence()
        while True:
            await self._read_on()
            records, rejects = stream.drain()
            due = cadence.due(journal.bytes_since(last))
            if due:
                last = journal.position
                checkpoint = self._checkpoint(last)
            if not (records or rejects or due):
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
            journal.release(last)
            if self._paused:
                self._receive()

    def _checkpoint(self, position: Position) -> bytes:
        return _encode(Checkpoint(VERSION, position, self._stream.snapshot()))

    async def _read_on(self) -> None:
        """Feed what the journal holds, up to a batch; where it holds nothing, wait for a datagram or a second."""
        assert self._journal is not None
        fed, turn_at = 0, time.monotonic() + SLICE_S
        while fed < BATCH_DATAGRAMS and (found := self._journal.read(READ_AT_ONCE)):
            for one in found:
                self._stream.feed(one.data, one.received_us, f"journal {one.segment}:{one.offset}")
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
            await asyncio.wait_for(self._arrived.wait(), IDLE_S)
        except TimeoutError:
            self._receive()
            if not journal.backlog_bytes:
                self._stream.tick(round((time.monotonic() - self._fed_at) * 1_000_000))

    def _close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def probe(self) -> Probe:
        """Counters are documented in README.md."""
        counters = {**self._stream.counters, **self._counters}
        counters.update((f"sip_{name}", count) for name, count in self._stream.sip_counters.items())
        if self._socket is not None:
            counters["kernel_drops"] = kernel_drops(self._socket)
        full = "; the journal is full, nothing more is received" if self._paused else ""
        return Probe(
            detail=self._detail + full,
            heard_at_ms=self._heard_at_ms,
            backlog_bytes=self._journal.backlog_bytes if self._journal else 0,
            counters=counters,
        )
