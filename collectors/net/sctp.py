"""SCTP's user messages (RFC 9260): DATA chunks, bundled, fragmented, repeated or out of order.

Laws
- A message is given once, when the last of its chunks is there. Among messages the order is that of completion: as over UDP,
  a receiver of single messages has to live with any.
- Chunks of one message have successive TSNs; the first has the B bit, the last E. A TSN that was seen lately is a repetition.
- What is kept is bounded, for one direction of an association and for all; the association heard of longest ago goes first,
  counted, and so do chunks that wait for others longer than TSNS others came.
- Nothing raises; what is cut off is left out.
"""

from collections.abc import Iterator, MutableMapping
from struct import Struct as Layout

from msgspec import Struct

from collectors.net.bounds import Bounds

HEADER_BYTES = 12
DATA, INIT, INIT_ACK, I_DATA = 0, 1, 2, 64
END, BEGIN = 1, 2
_CHUNK = Layout(">BBH")
_DATA = Layout(">IHHI")
DATA_HEADER_BYTES = 16
_WRAP = 2**32

TSNS = 1_024
"""TSNs remembered of one direction: more chunks than any receiver's window leaves under way."""


class Association(Struct, array_like=True):
    """One direction. `parts` are the chunks of unfinished messages: TSN -> (flags, bytes), oldest first; `seen` the TSNs met
    lately."""

    parts: dict[int, tuple[int, bytes]] = {}
    held_bytes: int = 0
    seen: dict[int, None] = {}


class Associations:
    """All of a capture. `counters` is the capture's."""

    def __init__(self, bounds: Bounds, counters: MutableMapping[str, int]) -> None:
        self.bounds = bounds
        self.counters = counters
        self.directions: dict[bytes, Association] = {}
        self._held_bytes = 0

    def packet(self, flow: bytes, packet: bytes) -> list[bytes]:
        """Take one packet, common header included; the messages that are complete now."""
        messages = []
        for kind, flags, body in chunks(packet):
            if kind == DATA and len(body) > DATA_HEADER_BYTES - 4:
                found = self._data(flow, flags, _DATA.unpack_from(body)[0], body[DATA_HEADER_BYTES - 4 :])
                if found is not None:
                    messages.append(found)
            elif kind in (INIT, INIT_ACK):
                self._forget(flow)  # a new association: its TSNs begin anew
            elif kind == I_DATA:
                self.counters["sctp_not_read"] += 1  # RFC 8260, which no SIP implementation is known to negotiate
        return messages

    def _data(self, flow: bytes, flags: int, tsn: int, data: bytes) -> bytes | None:
        direction = self.directions.pop(flow, None) or self._open()
        self.directions[flow] = direction  # at the end: the first one is the one heard of longest ago
        if tsn in direction.seen:
            self.counters["sctp_repeated"] += 1
            return None
        direction.seen[tsn] = None
        if len(direction.seen) > TSNS:
            self._drop(direction, next(iter(direction.seen)))
        if flags & BEGIN and flags & END:
            return data
        direction.parts[tsn] = flags, data
        self._count(direction, len(data))
        run = _run(direction.parts, tsn)
        if run:
            return b"".join(self._take(direction, number) for number in run)
        while direction.held_bytes > self.bounds.stream_bytes or self._held_bytes > self.bounds.streams_bytes:
            self._drop_oldest(direction)
        return None

    def _open(self) -> Association:
        if len(self.directions) >= self.bounds.streams:
            self._forget(next(iter(self.directions)))
            self.counters["sctp_evicted"] += 1
        return Association()

    def _count(self, direction: Association, change: int) -> None:
        direction.held_bytes += change
        self._held_bytes += change

    def _take(self, direction: Association, tsn: int) -> bytes:
        _, data = direction.parts.pop(tsn)
        self._count(direction, -len(data))
        return data

    def _drop(self, direction: Association, tsn: int) -> None:
        """Forget that this TSN was seen, and what waits under it."""
        del direction.seen[tsn]
        if tsn in direction.parts:
            self._take(direction, tsn)
            self.counters["sctp_lost"] += 1

    def _drop_oldest(self, direction: Association) -> None:
        if not direction.parts:  # others hold it all
            direction = next(other for other in self.directions.values() if other.parts)
        self._take(direction, next(iter(direction.parts)))
        self.counters["sctp_lost"] += 1

    def _forget(self, flow: bytes) -> None:
        direction = self.directions.pop(flow, None)
        if direction is not None:
            self._held_bytes -= direction.held_bytes
            if direction.parts:
                self.counters["sctp_lost"] += len(direction.parts)

    def finish(self) -> None:
        """No packet comes any more: what is unfinished is counted."""
        for flow in list(self.directions):
            self._forget(flow)

    def restore(self, directions: dict[bytes, Association]) -> None:
        self.directions = directions
        self._held_bytes = sum(direction.held_bytes for direction in directions.values())


def chunks(packet: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and value of each chunk that is whole."""
    at = HEADER_BYTES
    while at + 4 <= len(packet):
        kind, flags, size = _CHUNK.unpack_from(packet, at)
        if size < 4 or at + size > len(packet):
            return
        yield kind, flags, packet[at + 4 : at + size]
        at += (size + 3) // 4 * 4


def _run(parts: dict[int, tuple[int, bytes]], tsn: int) -> list[int]:
    """The TSNs of the message that `tsn` belongs to, or none where one is missing."""
    first = tsn
    while not parts[first][0] & BEGIN:
        first = (first - 1) % _WRAP
        if first not in parts or parts[first][0] & END:
            return []
    run = [first]
    while not parts[run[-1]][0] & END:
        following = (run[-1] + 1) % _WRAP
        if following not in parts or parts[following][0] & BEGIN:
            return []
        run.append(following)
    return run
