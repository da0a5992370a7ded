"""SIP as it came off the wire: one datagram, or the bytes of a stream, with its time and its two ends.

Laws
- `at_us` is what the capture says, never this machine's clock; whole microseconds since the Unix epoch, UTC.
- `src` and `dst` are `ip:port`, or `[ip]:port` for IPv6, as text, so that they can be compared, stored and shown.
- For a stream of bytes (`tcp`, `tls`) `payload` is any run of them, in order; for the others, which keep messages apart, it
  is one message.
"""

from functools import lru_cache

from msgspec import Struct

STREAMS = frozenset(("tcp", "tls"))
"""Transports in which Content-Length alone tells where a message ends (RFC 3261 section 18.3)."""


class SipPacket(Struct, frozen=True, gc=False):
    """One datagram, or a run of a stream's bytes. `transport`: `udp`, `tcp`, `tls`, `sctp`, `ws` or `wss`."""

    at_us: int
    transport: str
    src: str
    dst: str
    payload: bytes


@lru_cache(2048)
def host(address: str) -> str:
    """The address without its port: `192.0.2.1` of `192.0.2.1:5060`, `[2001:db8::1]` of `[2001:db8::1]:5060`."""
    return address.rpartition(":")[0]


_FIRST_LINE_BYTES = 4_096
"""How far a start line is looked for: longer Request-URIs are not met."""


_TOKEN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~"
_METHOD_BYTES = 64


def looks_like_sip(data: bytes) -> bool:
    """Whether the first line is a SIP start line, of whatever version: what it holds may still be malformed."""
    data = data[: _FIRST_LINE_BYTES + 64].lstrip(b"\r\n")
    end = data.find(b"\n")
    line = data[: end if end >= 0 else _FIRST_LINE_BYTES].upper()
    if line.startswith(b"SIP/"):
        return True
    method, _, rest = line.partition(b" ")
    return b" SIP/" in rest and 0 < len(method) <= _METHOD_BYTES and not method.translate(None, _TOKEN)


STUN_COOKIE = b"\x21\x12\xa4\x42"
"""RFC 8489 section 5: octets 4 to 7 of a STUN message."""

JUNK_BYTES = 8
"""Phones keep a NAT binding alive by datagrams such as `hello`, two NULs or a blank."""


def is_keepalive(data: bytes) -> bool:
    """What phones send to keep a NAT binding open (RFC 5626 section 3.5, RFC 5389): no message, and no error."""
    return len(data) <= JUNK_BYTES or not data.strip(b"\r\n\0 ") or data[4:8] == STUN_COOKIE
