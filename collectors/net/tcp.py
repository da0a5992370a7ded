"""TCP streams put together, one direction of a connection at a time (RFC 9293 section 3.4).

Laws
- Segments may come twice, overlap, come out of order, or not come at all. What was captured is given in order, once.
- A connection that was joined in its midst is read from the first segment seen.
- What is kept is bounded, for one stream and for all, and the stream heard of longest ago goes first. A gap that does not close
  within GAP_US or GAP_SEGMENTS is skipped and counted.
- What the bytes mean is the reader's matter: it says itself when a stream is none of its own, and then nothing is kept.
"""

from collections.abc import Callable, MutableMapping
from struct import Struct as Layout
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

from collectors.net.bounds import Bounds

GAP_SEGMENTS = 64
"""Segments behind a gap until the missing one counts as never captured: the sender's window would long be closed."""

GAP_US = 3_000_000
"""Time until it does: a sender repeats what was not acknowledged after one second at first, two at the second time (RFC 6298
section 2)."""

FIN, SYN, RST = 1, 2, 4
_WRAP, _HALF = 2**32, 2**31
HEADER = Layout(">HHIIBB")


class Reader(Protocol):
    """What takes the bytes of one direction of a connection, in order."""

    @property
    def other(self) -> str:
        """Where this stream is none of the reader's, the name of the counter that tells so: it is read no more."""

    @property
    def broken(self) -> int:
        """Messages that were begun and never whole."""

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes."""

    def gap(self) -> None:
        """Bytes are missing here."""


R = TypeVar("R", bound=Reader)

Message = tuple[int, bytes, R, bytes]
"""When its last byte was captured, the flow, the stream's reader, the message."""


class Stream(Struct, Generic[R]):
    reader: R
    first: int
    """the sequence number that the stream began with, where that was seen, else the first one met"""
    next: int
    """the sequence number expected"""
    early: dict[int, tuple[int, bytes]] = {}
    """Segments behind a gap: sequence number -> when captured, and bytes."""
    early_bytes: int = 0
    waiting_since_us: int = 0
    lost: int = 0
    """of the reader's broken messages, those that are counted"""


class Reassembly(Generic[R]):
    """All streams of a capture. `open_reader` makes a new reader, told whether the stream's beginning was captured.
    `counters` is the capture's."""

    def __init__(self, bounds: Bounds, counters: MutableMapping[str, int], open_reader: Callable[[bool], R]) -> None:
        self.bounds = bounds
        self.counters = counters
        self.streams: dict[bytes, Stream[R]] = {}
        self._open_reader = open_reader
        self._waiting: dict[bytes, None] = {}
        """Streams with a gap, longest first."""
        self._early_bytes = 0

    def segment(self, at_us: int, flow: bytes, sequence: int, flags: int, payload: bytes) -> list[Message[R]]:
        """Take one segment; the messages that are complete now. `flow` names the direction of the connection."""
        messages = self._overdue(at_us) if self._waiting else []
        stream = self.streams.pop(flow, None)
        if flags & SYN:
            sequence = (sequence + 1) % _WRAP
            if stream is None or not self._is_same(stream, sequence):
                if stream is not None:
                    messages += self._flush(flow, stream)
                stream = self._open(sequence, True)
        elif stream is None:
            if not payload:
                return messages
            stream = self._open(sequence, False)
        self.streams[flow] = stream  # at the end: the first one is the one heard of longest ago
        if payload and not stream.reader.other:
            messages += self._add(at_us, flow, stream, sequence, payload)
            if stream.reader.other:
                self._drop_early(flow, stream)
                self.counters[stream.reader.other] += 1
        if flags & RST:
            messages += self._flush(flow, stream)
        return messages

    def finish(self) -> list[Message[R]]:
        """No segment comes any more: what stands behind gaps is told."""
        return [message for flow in list(self._waiting) for message in self._flush(flow, self.streams[flow])]

    def _is_same(self, stream: Stream[R], sequence: int) -> bool:
        """Whether a SYN is that of the stream that is known: a repetition, or one that came late."""
        return sequence == stream.first or 0 < (stream.first - sequence) % _WRAP <= self.bounds.stream_bytes

    def _open(self, sequence: int, from_start: bool) -> Stream[R]:
        if len(self.streams) >= self.bounds.streams:
            flow = next(iter(self.streams))
            self._drop_early(flow, self.streams.pop(flow))
            self.counters["tcp_streams_evicted"] += 1
        return Stream(self._open_reader(from_start), sequence, sequence)

    def _drop_early(self, flow: bytes, stream: Stream[R]) -> None:
        self._early_bytes -= stream.early_bytes
        stream.early, stream.early_bytes = {}, 0
        self._waiting.pop(flow, None)

    def _overdue(self, at_us: int) -> list[Message[R]]:
        messages: list[Message[R]] = []
        while self._waiting:
            flow = next(iter(self._waiting))
            stream = self.streams[flow]
            if abs(at_us - stream.waiting_since_us) <= GAP_US:
                break
            messages += self._skip_gap(flow, stream)
        return messages

    def _flush(self, flow: bytes, stream: Stream[R]) -> list[Message[R]]:
        messages: list[Message[R]] = []
        while stream.early:
            messages += self._skip_gap(flow, stream)
        return messages

    def _add(self, at_us: int, flow: bytes, stream: Stream[R], sequence: int, payload: bytes) -> list[Message[R]]:
        ahead = (sequence - stream.next) % _WRAP
        if ahead >= _HALF:  # it begins before: a retransmission, or an overlap
            behind = _WRAP - ahead
            if behind > self.bounds.stream_bytes:  # too far for either: much was not captured, or another connection
                return self._resume(at_us, flow, stream, sequence, payload)
            payload = payload[behind:]
            if not payload:
                self.counters["tcp_retransmissions"] += 1
                return []
            ahead = 0
        if not ahead:
            return self._deliver(at_us, flow, stream, payload)
        if ahead > self.bounds.stream_bytes:
            return self._resume(at_us, flow, stream, sequence, payload)
        return self._keep(at_us, flow, stream, sequence, payload)

    def _resume(self, at_us: int, flow: bytes, stream: Stream[R], sequence: int, payload: bytes) -> list[Message[R]]:
        messages = self._flush(flow, stream)
        self._gap(stream)
        stream.first = stream.next = sequence
        return messages + self._deliver(at_us, flow, stream, payload)

    def _keep(self, at_us: int, flow: bytes, stream: Stream[R], sequence: int, payload: bytes) -> list[Message[R]]:
        """A segment that came too early."""
        _, known = stream.early.get(sequence, (0, b""))
        if len(payload) > len(known):
            if not stream.early:
                stream.waiting_since_us = at_us
                self._waiting[flow] = None
            stream.early[sequence] = at_us, payload
            self._count_early(stream, len(payload) - len(known))
        full = stream.early_bytes > self.bounds.stream_bytes or self._early_bytes > self.bounds.streams_bytes
        return self._skip_gap(flow, stream) if len(stream.early) > GAP_SEGMENTS or full else []

    def _count_early(self, stream: Stream[R], change: int) -> None:
        stream.early_bytes += change
        self._early_bytes += change

    def _gap(self, stream: Stream[R]) -> None:
        self.counters["tcp_gaps"] += 1
        stream.reader.gap()

    def _skip_gap(self, flow: bytes, stream: Stream[R]) -> list[Message[R]]:
        """What stands behind the gap, at the time of its own capture."""
        sequence = min(stream.early, key=lambda at: (at - stream.next) % _WRAP)
        self._gap(stream)
        stream.next = sequence
        at_us, payload = stream.early.pop(sequence)
        self._count_early(stream, -len(payload))
        messages = self._deliver(at_us, flow, stream, payload)
        self._waiting.pop(flow, None)
        if stream.early:
            self._waiting[flow] = None
            stream.waiting_since_us = min(at for at, _ in stream.early.values())
        return messages

    def _deliver(self, at_us: int, flow: bytes, stream: Stream[R], payload: bytes) -> list[Message[R]]:
        """What is next in order, and what came early and follows it."""
        messages = self._read(at_us, flow, stream, payload)
        if stream.early:
            while (found := self._following(stream)) is not None:
                early_us, payload = found
                messages += self._read(max(at_us, early_us), flow, stream, payload)
            if not stream.early:
                self._waiting.pop(flow, None)
        return messages

    def _read(self, at_us: int, flow: bytes, stream: Stream[R], payload: bytes) -> list[Message[R]]:
        stream.next = (stream.next + len(payload)) % _WRAP
        messages = [(at_us, flow, stream.reader, message) for message in stream.reader.feed(payload)]
        if stream.reader.broken > stream.lost:
            self.counters["stream_messages_lost"] += stream.reader.broken - stream.lost
            stream.lost = stream.reader.broken
        return messages

    def _following(self, stream: Stream[R]) -> tuple[int, bytes] | None:
        """An early segment that begins at or before what is expected, less what of it is known."""
        for sequence in list(stream.early):
            behind = (stream.next - sequence) % _WRAP
            if behind < _HALF:
                at_us, payload = stream.early.pop(sequence)
                self._count_early(stream, -len(payload))
                if len(payload) > behind:
                    return at_us, payload[behind:]
        return None

    def restore(self, streams: dict[bytes, Stream[R]]) -> None:
        self.streams = streams
        self._early_bytes = sum(stream.early_bytes for stream in streams.values())
        held = [flow for flow, stream in streams.items() if stream.early]
        self._waiting = dict.fromkeys(sorted(held, key=lambda flow: streams[flow].waiting_since_us))
