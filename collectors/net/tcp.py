"""All TCP streams of a capture, one direction of a connection at a time, each with a reader of its bytes.

Laws
- A reader is given what was captured, in order, once, and is told where bytes are missing.
- A connection that was joined in its midst is read from the first segment seen.
- A gap that does not close within GAP_US is skipped, at the next segment of whatever stream or when time is said to pass.
- What is kept is bounded, for one stream and for all. The stream heard of longest ago goes first, or what is unfinished of it
  where there are too many octets; either is counted.
- What the bytes mean is the reader's matter: it says itself when a stream is none of its own, and then nothing is kept.
"""

from collections.abc import Callable, MutableMapping
from struct import Struct as Layout
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from collectors.net.bounds import Bounds
from collectors.net.segments import WRAP, Run, Segments

GAP_US = 3_000_000
"""A sender repeats what was not acknowledged after one second at first, two at the second time (RFC 6298 section 2)."""

SYN, RST = 2, 4
HEADER = Layout(">HHIIBB")


class Reader(Protocol):
    """What takes the bytes of one direction of a connection, in order."""

    @property
    def other(self) -> str:
        """Where this stream is none of the reader's, the name of the counter that tells so: it is read no more."""

    @property
    def broken(self) -> int:
        """Messages that were begun and never whole."""

    @property
    def held_bytes(self) -> int:
        """What is kept of an unfinished message."""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes."""

    def gap(self) -> None:
        """Bytes are missing here: what was begun cannot be finished."""


R = TypeVar("R", bound=Reader)

Message = tuple[int, bytes, R, bytes]
"""When its last byte was captured, the flow, the stream's reader, the message."""


class Stream(Struct, Generic[R], array_like=True):
    """`lost`: of the reader's broken messages, those that are counted; `held_bytes`: what is kept of this stream."""

    segments: Segments
    reader: R
    lost: int = 0
    held_bytes: int = 0


class Reassembly(Generic[R]):
    """`open_reader` makes a new reader, told whether the stream's beginning was captured. `counters` is the capture's."""

    def __init__(self, bounds: Bounds, counters: MutableMapping[str, int], open_reader: Callable[[bool], R]) -> None:
        self.bounds = bounds
        self.counters = counters
        self.streams: dict[bytes, Stream[R]] = {}
        """The one heard of longest ago first."""
        self.held_bytes = 0
        self._open_reader = open_reader
        self._holding: dict[bytes, None] = {}
        """Streams of which something is kept; the one heard of longest ago first."""
        self._waiting: dict[bytes, None] = {}
        """Streams with a gap; the one that waits longest first."""

    @property
    def waiting(self) -> list[bytes]:
        return list(self._waiting)

    def segment(self, at_us: int, flow: bytes, sequence: int, flags: int, payload: bytes) -> list[Message[R]]:
        """Take one segment; the messages that are complete now. `flow` names the direction of the connection."""
        messages = self.overdue(at_us)
        stream = self.streams.pop(flow, None)
        if flags & SYN:
            sequence = (sequence + 1) % WRAP
            if stream is None or not stream.segments.is_beginning(sequence, self.bounds.stream_bytes):
                if stream is not None:
                    messages += self._flush(flow, stream)
                    self._drop(flow, stream)
                stream = self._open(sequence, True)
        elif stream is None:
            if not payload:
                return messages
            stream = self._open(sequence, False)
        self.streams[flow] = stream
        self._holding.pop(flow, None)  # it comes behind the others again, like in `streams`
        if payload and not stream.reader.other:
            messages += self._add(at_us, flow, stream, sequence, payload)
        if flags & RST:
            messages += self._flush(flow, stream)
        self._account(flow, stream)
        return messages

    def finish(self) -> list[Message[R]]:
        """No segment comes any more: what stands behind gaps is told."""
        return [message for flow in list(self._waiting) for message in self._flush(flow, self.streams[flow])]

    def _open(self, sequence: int, from_start: bool) -> Stream[R]:
        if len(self.streams) >= self.bounds.streams:
            flow = next(iter(self.streams))
            self._drop(flow, self.streams.pop(flow))
            self.counters["tcp_streams_evicted"] += 1
        return Stream(Segments(sequence, sequence), self._open_reader(from_start))

    def overdue(self, at_us: int) -> list[Message[R]]:
        """Time has come to `at_us`: what stands behind gaps that did not close is told."""
        messages: list[Message[R]] = []
        while self._waiting:
            flow = next(iter(self._waiting))
            stream = self.streams[flow]
            if abs(at_us - stream.segments.waiting_since_us) <= GAP_US:
                break
            del self._waiting[flow]
            messages += self._read(flow, stream, stream.segments.skip_gap())
            self._account(flow, stream)
        return messages

    def _flush(self, flow: bytes, stream: Stream[R]) -> list[Message[R]]:
        return self._read(flow, stream, stream.segments.flush())

    def _add(self, at_us: int, flow: bytes, stream: Stream[R], sequence: int, payload: bytes) -> list[Message[R]]:
        early_bytes = stream.segments.early_bytes
        runs = stream.segments.take(at_us, sequence, payload, self.bounds.stream_bytes)
        if not runs and stream.segments.early_bytes == early_bytes:
            self.counters["tcp_retransmissions"] += 1
        messages = self._read(flow, stream, runs)
        if stream.reader.other:
            stream.segments.drop()
            self.counters[stream.reader.other] += 1
        return messages

    def _read(self, flow: bytes, stream: Stream[R], runs: list[Run]) -> list[Message[R]]:
        reader, messages = stream.reader, []
        for at_us, data, missing in runs:
            if missing:
                self.counters["tcp_gaps"] += 1
                reader.gap()
            messages += [(at_us, flow, reader, message) for message in reader.feed(data)]
        self._count_lost(stream)
        return messages

    def _count_lost(self, stream: Stream[R]) -> None:
        if stream.reader.broken > stream.lost:
            self.counters["stream_messages_lost"] += stream.reader.broken - stream.lost
            stream.lost = stream.reader.broken

    def _account(self, flow: bytes, stream: Stream[R]) -> None:
        """Note what is kept of a stream now, and keep all of them within their bound."""
        held_bytes = stream.segments.early_bytes + stream.reader.held_bytes
        self.held_bytes += held_bytes - stream.held_bytes
        stream.held_bytes = held_bytes
        if held_bytes:
            self._holding.setdefault(flow)
        else:
            self._holding.pop(flow, None)
        if stream.segments.early:
            self._waiting.setdefault(flow)
        else:
            self._waiting.pop(flow, None)
        while self.held_bytes > self.bounds.streams_bytes:
            oldest = next(iter(self._holding))
            self._drop(oldest, self.streams[oldest])
            self.counters["tcp_unfinished_evicted"] += 1

    def _drop(self, flow: bytes, stream: Stream[R]) -> None:
        """Forget what is unfinished of a stream."""
        stream.segments.drop()
        stream.reader.gap()
        self._count_lost(stream)
        self.held_bytes -= stream.held_bytes
        stream.held_bytes = 0
        self._holding.pop(flow, None)
        self._waiting.pop(flow, None)

    def restore(self, streams: dict[bytes, Stream[R]], waiting: list[bytes]) -> None:
        """Go on with what `streams` and `waiting` were."""
        self.streams = streams
        self._waiting = dict.fromkeys(waiting)
        self.held_bytes = sum(stream.held_bytes for stream in streams.values())
        self._holding = {flow: None for flow, stream in streams.items() if stream.held_bytes}
