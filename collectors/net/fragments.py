"""IP datagrams put together from their fragments (RFC 791, RFC 815; RFC 8200 section 4.5, RFC 5722).

Laws
- The order of the fragments does not matter, nor do exact duplicates.
- Overlapping fragments of IPv6 void their datagram (RFC 5722); of IPv4, what came first stays. Either is counted.
- What is kept is bounded in number and bytes; the datagram begun longest ago goes first, counted. One whose pieces do not all
  come within the timeout is given up, counted.
"""

from bisect import bisect
from collections.abc import MutableMapping

from msgspec import Struct

from collectors.net.bounds import Bounds

IPV4_TIMEOUT_US = 30_000_000
"""Linux's net.ipv4.ipfrag_time; RFC 791 asks for at least 15 seconds."""
IPV6_TIMEOUT_US = 60_000_000
"""RFC 8200 section 4.5."""

DATAGRAM_MAX_BYTES = 65_535
PIECE_BYTES = 64
"""What a piece takes beside its octets: a flood of the smallest ones must not hold many times the bound."""


class Unfinished(Struct, array_like=True):
    """A datagram of which something is there. `starts` are the sorted offsets of `pieces`; `size` is known from the last
    fragment; `protocol` from the first (RFC 8200: the others may name anything)."""

    begun_us: int
    starts: list[int] = []
    pieces: list[bytes] = []
    held_bytes: int = 0
    size: int = -1
    protocol: int = -1
    void: bool = False
    """Overlapping: nothing of it is taken any more until it is forgotten."""

    @property
    def cost_bytes(self) -> int:
        return self.held_bytes + PIECE_BYTES * len(self.pieces)


class Fragments:
    """The fragmented datagrams of one IP version. `counters` is the reader's."""

    def __init__(
        self, bounds: Bounds, counters: MutableMapping[str, int], *, timeout_us: int, void_overlaps: bool
    ) -> None:
        self.unfinished: dict[bytes, Unfinished] = {}
        self.held_bytes = 0
        self._bounds, self._counters = bounds, counters
        self._timeout_us, self._void_overlaps = timeout_us, void_overlaps

    def add(
        self, at_us: int, key: bytes, offset: int, more: bool, protocol: int, data: bytes
    ) -> tuple[int, bytes] | None:
        """Take a fragment; the protocol and payload of the datagram that it completes. `key` names the datagram."""
        self._expire(at_us)
        self._counters["fragments"] += 1
        if offset + len(data) > DATAGRAM_MAX_BYTES or (more and len(data) % 8) or not data:
            self._counters["fragments_bad"] += 1
            return None
        found = self.unfinished.get(key)
        if found is None:
            found = self.unfinished[key] = Unfinished(at_us)
        if not found.void:
            self.held_bytes -= found.cost_bytes
            if offset == 0:
                found.protocol = protocol
            if not self._place(found, offset, more, data):
                found.starts, found.pieces, found.held_bytes, found.void = [], [], 0, True
            elif found.held_bytes == found.size:  # so the first is there too
                del self.unfinished[key]
                return found.protocol, b"".join(found.pieces)
            self.held_bytes += found.cost_bytes
            self._bound()
        return None

    def _place(self, found: Unfinished, offset: int, more: bool, data: bytes) -> bool:
        """Put a piece where it belongs; False where it makes the datagram void."""
        end = offset + len(data)
        if not more:
            if found.size not in (-1, end):
                self._counters["fragments_bad"] += 1
                return False
            found.size = end
        if 0 <= found.size < max(end, _reach(found)):
            self._counters["fragments_bad"] += 1
            return False
        return self._insert(found, offset, data)

    def _insert(self, found: Unfinished, offset: int, data: bytes) -> bool:
        """What of `data` is not there yet, hole by hole (RFC 815)."""
        starts, pieces = found.starts, found.pieces
        at = bisect(starts, offset)
        if at and starts[at - 1] == offset and pieces[at - 1] == data:
            self._counters["fragments_repeated"] += 1
            return True
        before = starts[at - 1] + len(pieces[at - 1]) if at else 0
        end = offset + len(data)
        overlaps = before > offset or (at < len(starts) and starts[at] < end)
        if overlaps:
            self._counters["fragments_overlapping"] += 1
            if self._void_overlaps:
                return False
        begin = max(offset, before)
        while begin < end:
            hole_end = min(end, starts[at]) if at < len(starts) else end
            if begin < hole_end:
                starts.insert(at, begin)
                pieces.insert(at, data[begin - offset : hole_end - offset])
                found.held_bytes += hole_end - begin
                at += 1
            if at >= len(starts):
                break
            begin = max(begin, starts[at] + len(pieces[at]))
            at += 1
        return True

    def _bound(self) -> None:
        while len(self.unfinished) > self._bounds.fragmented or self.held_bytes > self._bounds.fragmented_bytes:
            self._forget("fragmented_evicted")

    def _expire(self, at_us: int) -> None:
        while self.unfinished:
            begun_us = next(iter(self.unfinished.values())).begun_us
            if abs(at_us - begun_us) <= self._timeout_us:  # a clock that is set back must not keep them for ever
                return
            self._forget("fragmented_lost")

    def _forget(self, counter: str) -> None:
        found = self.unfinished.pop(next(iter(self.unfinished)))
        self.held_bytes -= found.cost_bytes
        self._counters[counter] += 1

    def finish(self) -> None:
        """Nothing comes any more."""
        while self.unfinished:
            self._forget("fragmented_lost")

    def restore(self, unfinished: dict[bytes, Unfinished]) -> None:
        self.unfinished = unfinished
        self.held_bytes = sum(found.cost_bytes for found in unfinished.values())


def _reach(found: Unfinished) -> int:
    return found.starts[-1] + len(found.pieces[-1]) if found.starts else 0
