"""What makes the offer of a call recognisable where a phone system passes it on: its origin, and where media shall go. Pure.

Laws
- An address and port serve one call at a time on one host, but many offices use the same private ones. The origin (RFC 8866
  section 5.2) should be unique, but some phones write a constant. So both together name a call, and only where the origin's
  session id was drawn or is a time.
- An offer without a place for media (none, `0.0.0.0`, port 0 or 9) names nothing.
"""

from collectors.sip.address import text
from collectors.sip.sdp import address_of

UNIQUE_DIGITS = 6
"""A session id of that many digits is no constant and no counter: RFC 8866 recommends an NTP timestamp, which has ten."""

ORIGIN_MAX_BYTES = 256
"""An origin with a user name, two numbers and a host name stays below."""

_NOWHERE = frozenset((b"0.0.0.0", b"::", b""))
_NO_PORT = frozenset((b"0", b"9", b""))


def origin_of(body: bytes) -> str:
    """The mark of the session description in this body, or nothing."""
    at = body.find(b"\no=") + 3
    if at < 3:
        return ""
    origin = body[at : body.find(b"\n", at)].rstrip(b"\r")
    parts = origin.split(b" ", 2)
    if len(parts) < 2 or len(parts[1]) < UNIQUE_DIGITS or len(origin) > ORIGIN_MAX_BYTES:
        return ""
    address, media = address_of(body), body.find(b"\nm=", at)
    line = body[media : body.find(b"\n", media + 1)] if media >= 0 else b""
    port = line.partition(b" ")[2].partition(b" ")[0].partition(b"/")[0]
    if address in _NOWHERE or port in _NO_PORT or len(address) > ORIGIN_MAX_BYTES:
        return ""
    return text(b"%b %b %b" % (origin, address, port[:5]))
