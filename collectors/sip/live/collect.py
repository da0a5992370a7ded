"""SIP heard live: from a source of packets (a capture service, dumpcap, pyshark) to the sink.

Laws
- One collector for all sources: what differs between them stays behind `PacketSource`.
- A checkpoint is a place in the source and the stream's state at that place. Between two snapshots a batch leaves the last
  one as it is: what comes again from there has the same keys.
- A source that fails, and an agent that stops, leave a checkpoint of where the stream stands: what a source cannot give
  again (a capture service that is gone) was not heard in vain.
- A source is told that it may forget when a checkpoint behind that place is durable, not before.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from collectors.contract import Batch, Probe, Sink, SourceError
from collectors.io.resuming import Cadence, Checkpoints
from collectors.sip.live.source import Frame, PacketSource
from collectors.sip.live.stream import LiveStream, slices
from collectors.sip.packets import SipPacket

TAKE_AT_MOST = 20_000
"""A batch ends here at the latest, so that its memory is bounded while a backlog is worked off: some 3,000 calls."""
FEED_AT_ONCE = 64
SLICE_S = 0.005
"""How long frames are decoded before others have their turn again; at 200,000 a second 1,000 arrive meanwhile."""
IDLE_S = 1.0
"""How often the clock is looked at while nothing arrives; the shortest of the tracker's spans is two seconds."""
LEAVE_S = 5.0
"""How long the last checkpoint may take: a ledger without room must not hold up the end."""


class LiveCollector:
    """`make_stream` gives the dissector and tracker that the source's configuration asks for."""

    def __init__(self, source: PacketSource, make_stream: Callable[[], LiveStream]) -> None:
        self._source = source
        self._make_stream = make_stream
        self._stream = make_stream()
        self._checkpoints: Checkpoints[bytes] = Checkpoints(bytes)
        self._counters = {"resumed_without_state": 0}
        self._fed_at = time.monotonic()

    async def run(self, sink: Sink, checkpoint: bytes | None) -> None:
        """Collect until cancelled. Raises what the source raises: SourceUnavailable, SourceMisconfigured."""
        known = self._resume(checkpoint)
        try:
            await self._source.open(known)
            await self._process(sink, None if known is not None else self._checkpoint(self._source.position))
        finally:
            await self._source.close()

    def _resume(self, checkpoint: bytes | None) -> bytes | None:
        """Where the last checkpoint stands, its state restored; None where what the source still has is to be taken again."""
        if not checkpoint:
            return None
        known = self._checkpoints.restored(checkpoint, self._stream.restore)
        if known is None:
            self._counters["resumed_without_state"] += 1
            self._stream = self._make_stream()
        return known

    async def _process(self, sink: Sink, checkpoint: bytes | None) -> None:
        """`checkpoint`: what the next batch is to bring, None where the last one holds."""
        source, stream, cadence = self._source, self._stream, Cadence()
        kept, read_bytes = source.position, 0
        while True:
            try:
                taken = await source.take(TAKE_AT_MOST, IDLE_S)
            except (SourceError, asyncio.CancelledError):
                await self._leave(sink)
                raise
            read_bytes += await self._feed(taken)
            records, rejects = stream.drain()
            due = cadence.due(read_bytes)
            if due:
                kept, read_bytes = source.position, 0
                checkpoint = self._checkpoint(kept)
            if not (records or rejects or due):
                continue
            await sink.put(
                Batch(
                    records=records,
                    rejects=rejects,
                    checkpoint=checkpoint,
                    source_time_ms=stream.newest_us // 1000,
                )
            )
            checkpoint = None
            if due:
                await source.release(kept)

    def _checkpoint(self, position: bytes) -> bytes:
        return self._checkpoints.write(position, self._stream.snapshot())

    async def _leave(self, sink: Sink) -> None:
        records, rejects = self._stream.drain()
        newest_ms = self._stream.newest_us // 1000
        last = Batch(
            records=records,
            rejects=rejects,
            checkpoint=self._checkpoint(self._source.position),
            source_time_ms=newest_ms,
        )
        with suppress(TimeoutError):
            await asyncio.wait_for(sink.put(last), LEAVE_S)

    async def _feed(self, taken: Sequence[Frame | SipPacket]) -> int:
        """Gives the octets fed. Where nothing has arrived, time goes on by this machine's clock."""
        if not taken:
            self._stream.tick(round((time.monotonic() - self._fed_at) * 1_000_000))
            return 0
        fed_bytes, turn_at = 0, time.monotonic() + SLICE_S
        for piece in slices(taken, FEED_AT_ONCE):
            fed_bytes += self._stream.feed(piece)
            if time.monotonic() >= turn_at:
                await asyncio.sleep(0)
                turn_at = time.monotonic() + SLICE_S
        self._fed_at = time.monotonic()
        return fed_bytes

    def probe(self) -> Probe:
        """Counters are documented in collectors/sip/README.md."""
        return Probe(
            detail=self._source.detail,
            heard_at_ms=self._stream.newest_us // 1000,
            counters={
                **self._stream.counters,
                **self._source.counters,
                **self._counters,
            },
        )
