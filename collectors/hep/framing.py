"""HEP3 packets out of a connection's octets: each tells its own length. Pure.

Laws
- `feed` gives pieces in order: whole packets, and runs of octets between them that are none; it never raises. However the
  octets are cut, the packets are the same.
- What is kept is less than a packet's greatest length, and for how long it has been kept is known.
- After octets that are no packet it goes on at the next `HEP3`.
"""

from msgspec import Struct

from collectors.hep.decode import HEADER_BYTES, MAGIC, packet_length

PACKET_MAX_BYTES = 65_535
"""The length field has 16 bits."""


class HepFramer(Struct, array_like=True):
    """The unfinished rest of one connection, and when the first of it came."""

    rest: bytes = b""
    since_us: int = 0

    def feed(self, data: bytes, at_us: int) -> list[bytes]:
        buffer = self.rest + data if self.rest else data
        pieces: list[bytes] = []
        at, size = 0, len(buffer)
        while at < size:
            length = _piece(buffer, at)
            if not length:
                break
            pieces.append(buffer[at : at + length])
            at += length
        if at or not self.rest:
            self.since_us = at_us
        self.rest = buffer[at:]
        return pieces


def _piece(buffer: bytes, at: int) -> int:
    """The length of the packet at `at`, or of what stands before the next one; 0 where more must come first."""
    if buffer.startswith(MAGIC, at):
        length = packet_length(buffer[at : at + HEADER_BYTES])
        if length:
            return length if at + length <= len(buffer) else 0
        if len(buffer) - at < HEADER_BYTES:
            return 0
        return HEADER_BYTES
    found = buffer.find(MAGIC, at)
    if found >= 0:
        return found - at
    for kept in range(len(MAGIC) - 1, 0, -1):
        if buffer.endswith(MAGIC[:kept]) and len(buffer) - kept >= at:
            return len(buffer) - kept - at
    return len(buffer) - at
