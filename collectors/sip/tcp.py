"""TCP streams put together, one direction of a connection at a time, as far as SIP needs it (RFC 9293 section 3.4).

Laws
- Segments may come twice, overlap, come out of order, or not come at all. What was captured is given in order, once.
- A connection that was joined in its midst is read from the first segment seen; the framing finds the first start line.
- What is kept is bounded, for one stream and for all; a gap that does not close is skipped and counted.
- A stream in which no start line stands within PROBE_BYTES is not SIP: it is remembered as such and read no more.
"""

from msgspec import Struct

from collectors.sip.framing import Framer
from collectors.sip.limits import Limits
from collectors.sip.packets import looks_like_sip

PROBE_BYTES = 8_192
"""How far the first start line of a stream is looked for."""

GAP_SEGMENTS = 64
"""Segments behind a gap until the missing one counts as never captured: the sender's window would long be closed."""

FIN, SYN, RST = 1, 2, 4
_WRAP, _HALF = 2**32, 2**31


class _Stream(Struct):
    framer: Framer
    next: int | None = None
    """the sequence number expected"""
    early: dict[int, bytes] = {}
    early_bytes: int = 0
    seen_bytes: int = 0
    is_sip: bool = False
    is_other: bool = False


class Reassembly:
    """All streams of a capture. `counters` is the reader's."""

    def __init__(self, limits: Limits, counters: dict[str, int]) -> None:
        self.limits = limits
        self.counters = counters
        self._streams: dict[bytes, _Stream] = {}
        self._early_bytes = 0

    def segment(self, flow: bytes, sequence: int, flags: int, payload: bytes) -> list[bytes]:
        """Take one segment; the messages that it completes. `flow` names the direction of the connection."""
        stream = self._streams.get(flow)
        if flags & SYN:
            stream = self._open(flow, (sequence + 1) % _WRAP)
            sequence += 1
        elif stream is None:
            if not payload:
                return []
            stream = self._open(flow, sequence)
        messages = self._add(stream, sequence, payload) if payload and not stream.is_other else []
        if flags & (FIN | RST):
            messages += self._close(flow, stream)
        return messages

    def _open(self, flow: bytes, sequence: int) -> _Stream:
        old = self._streams.pop(flow, None)
        if old is not None:
            self._early_bytes -= old.early_bytes
        if len(self._streams) >= self.limits.streams:
            self._evict()
        stream = self._streams[flow] = _Stream(Framer(self.limits.message_bytes), sequence)
        return stream

    def _evict(self) -> None:
        flow = next(iter(self._streams))
        self._early_bytes -= self._streams.pop(flow).early_bytes
        self.counters["tcp_streams_evicted"] += 1

    def _close(self, flow: bytes, stream: _Stream) -> list[bytes]:
        messages: list[bytes] = []
        while stream.early:
            messages += self._skip_gap(stream)
        del self._streams[flow]
        return messages

    def _add(self, stream: _Stream, sequence: int, payload: bytes) -> list[bytes]:
        expected = sequence if stream.next is None else stream.next
        ahead = (sequence - expected) % _WRAP
        if ahead >= _HALF:  # it begins before: a retransmission, or an overlap
            payload = payload[_WRAP - ahead :]
            if not payload:
                self.counters["tcp_retransmissions"] += 1
                return []
            ahead = 0
        if ahead:
            return self._keep(stream, (expected + ahead) % _WRAP, payload)
        return self._deliver(stream, expected, payload)

    def _keep(self, stream: _Stream, sequence: int, payload: bytes) -> list[bytes]:
        """A segment that came too early."""
        known = stream.early.get(sequence, b"")
        if len(payload) > len(known):
            stream.early[sequence] = payload
            stream.early_bytes += len(payload) - len(known)
            self._early_bytes += len(payload) - len(known)
        messages: list[bytes] = []
        full = stream.early_bytes > self.limits.stream_bytes or self._early_bytes > self.limits.streams_bytes
        if len(stream.early) > GAP_SEGMENTS or full:
            messages = self._skip_gap(stream)
        return messages

    def _skip_gap(self, stream: _Stream) -> list[bytes]:
        expected = stream.next or 0
        sequence = min(stream.early, key=lambda at: (at - expected) % _WRAP)
        self.counters["tcp_gaps"] += 1
        stream.framer.gap()
        return self._deliver(stream, sequence, self._take(stream, sequence))

    def _take(self, stream: _Stream, sequence: int) -> bytes:
        payload = stream.early.pop(sequence)
        stream.early_bytes -= len(payload)
        self._early_bytes -= len(payload)
        return payload

    def _deliver(self, stream: _Stream, sequence: int, payload: bytes) -> list[bytes]:
        """What is next in order, and what came early and follows it."""
        messages = self._frame(stream, payload)
        stream.next = (sequence + len(payload)) % _WRAP
        while stream.early and (found := self._following(stream)) is not None:
            messages += self._frame(stream, found)
            stream.next = (stream.next + len(found)) % _WRAP
        return messages

    def _following(self, stream: _Stream) -> bytes | None:
        """An early segment that begins at or before what is expected, less what of it is known."""
        expected = stream.next or 0
        for sequence in list(stream.early):
            behind = (expected - sequence) % _WRAP
            if behind < _HALF:
                payload = self._take(stream, sequence)[behind:]
                if payload:
                    return payload
        return None

    def _frame(self, stream: _Stream, payload: bytes) -> list[bytes]:
        stream.seen_bytes += len(payload)
        broken = stream.framer.broken
        messages = stream.framer.feed(payload)
        if stream.framer.broken > broken:
            self.counters["stream_messages_lost"] += stream.framer.broken - broken
        if messages:
            stream.is_sip = True
        elif not stream.is_sip and stream.seen_bytes > PROBE_BYTES and not looks_like_sip(stream.framer.rest):
            stream.is_other = True
            stream.framer.rest = b""
            self._early_bytes -= stream.early_bytes
            stream.early, stream.early_bytes = {}, 0
            self.counters["tcp_other_streams"] += 1
        return messages
