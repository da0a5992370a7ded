"""Where a piece of a journal came from, as a few octets before it: a datagram's sender, or a connection. Pure.

Laws
- A connection's number is its own within one run of the process; `RESTART` says that a new run begins here and that all
  connections of the one before are gone.
- What stands in a journal without such octets is a datagram of an unknown sender: either older, or received by a process that
  was killed before it could write them (then they are zeros).
"""

from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from struct import Struct as Layout

from msgspec import Struct

from collectors.io.segment import OwnLength

DATAGRAM, CHUNK, END, RESTART = range(4)
"""A whole datagram; a run of a connection's octets; its end; see above."""

_MAGIC = b"\0FRM"
_LAYOUT = Layout(">4sBxHI16s")
ORIGIN_BYTES = _LAYOUT.size
NO_ORIGIN = bytes(ORIGIN_BYTES)
_MAPPED = bytes(10) + b"\xff\xff"
"""RFC 4291 section 2.5.5.2: an IPv4 address as one of IPv6."""


class Origin(Struct, frozen=True, gc=False):
    """`host` and `port` are the sender's; `connection` is 0 for a datagram."""

    kind: int
    host: str = ""
    port: int = 0
    connection: int = 0


UNKNOWN = Origin(DATAGRAM)


@lru_cache(8_192)
def packed(kind: int, host: str, port: int, connection: int = 0) -> bytes:
    """The cache holds a large site's senders."""
    return _LAYOUT.pack(_MAGIC, kind, port, connection, _address(host))


def _address(host: str) -> bytes:
    host = host.partition("%")[0]
    if not host:
        return bytes(16)
    return inet_pton(AF_INET6, host) if ":" in host else _MAPPED + inet_pton(AF_INET, host)


@lru_cache(8_192)
def _unpacked(head: bytes) -> Origin:
    _, kind, port, connection, address = _LAYOUT.unpack(head)
    if not port:
        return Origin(kind, connection=connection)
    host = inet_ntop(AF_INET, address[12:]) if address.startswith(_MAPPED) else inet_ntop(AF_INET6, address)
    return Origin(kind, host, port, connection)


def split(data: bytes) -> tuple[Origin, bytes]:
    """Where it came from, and what came."""
    if data.startswith(_MAGIC) and len(data) >= ORIGIN_BYTES:
        return _unpacked(data[:ORIGIN_BYTES]), data[ORIGIN_BYTES:]
    if data.startswith(NO_ORIGIN):
        return UNKNOWN, data[ORIGIN_BYTES:]
    return UNKNOWN, data


def length_behind_origin(own_length: OwnLength) -> OwnLength:
    """`own_length` of what stands behind an origin. Of a connection's octets nobody knows: they end where they end."""

    def length(data: memoryview) -> int:
        head = bytes(data[:ORIGIN_BYTES])
        if head != NO_ORIGIN and not head.startswith(_MAGIC):
            return own_length(data)
        if head.startswith(_MAGIC) and head[4] != DATAGRAM:
            return 0
        behind = own_length(data[ORIGIN_BYTES:])
        return behind and behind + ORIGIN_BYTES

    return length
