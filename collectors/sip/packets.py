"""SIP as it came off the wire: one datagram, or the bytes of a stream, with its time and its two ends.

Laws
- `at_us` is what the capture says, never this machine's clock; whole microseconds since the Unix epoch, UTC.
- `src` and `dst` are `ip:port`, or `[ip]:port` for IPv6, as text, so that they can be compared, stored and shown.
- For a stream (`tcp`, `tls`, `sctp`, `ws`) `payload` is any run of its bytes, in order; for `udp` it is one datagram.
"""

from msgspec import Struct


class SipPacket(Struct, frozen=True, gc=False):
    """One datagram, or a run of a stream's bytes. `transport`: `udp`, `tcp`, `tls`, `sctp`, `ws` or `wss`."""

    at_us: int
    transport: str
    src: str
    dst: str
    payload: bytes


def host(address: str) -> str:
    """The address without its port: `192.0.2.1` of `192.0.2.1:5060`, `[2001:db8::1]` of `[2001:db8::1]:5060`."""
    return address.rpartition(":")[0]
