"""IPv4 and IPv6 headers (RFC 791, RFC 8200): what a packet carries, between whom, and whether it is a fragment.

Laws
- Lengths come from the header, never from the frame, so that padding is not payload.
- A decoder raises NotUnderstood, or IndexError or struct.error where the header is cut off, and nothing else.
"""

from ipaddress import IPv6Address
from struct import Struct as Layout

from collectors.net.links import NotUnderstood

Header = tuple[int, bytes, bytes, int, int, int, int]
"""Protocol, source and destination (packed), where the payload begins, where the packet ends by its header, the
identification, and the fragment's offset in octets with its lowest bit set where more come (0: no fragment)."""

TCP, UDP, SCTP = 6, 17, 132

_IPV4 = Layout(">BxHHHxBxx4s4s")
_IPV6 = Layout(">4xHBx16s16s")
_FRAGMENT = Layout(">BxHI")

SKIPPED = frozenset((0, 43, 60, 135, 139, 140))
"""Hop-by-hop, routing, destination options, mobility, HIP, shim6: each with its length in its second octet (RFC 7045)."""
FRAGMENT, AUTHENTICATION = 44, 51
HEADERS_MAX = 16


def ipv4(frame: bytes, at: int, end: int) -> Header:
    first, total, ident, field, protocol, src, dst = _IPV4.unpack_from(frame, at)
    size = (first & 15) * 4
    if size < 20 or first >> 4 != 4:
        raise NotUnderstood("bad_ip")
    whole = at + total if total else end  # 0: segmentation offload leaves it to the network card
    return protocol, src, dst, at + size, whole, ident, (field & 0x1FFF) << 3 | field >> 13 & 1


def ipv6(frame: bytes, at: int, end: int) -> Header:
    length, following, src, dst = _IPV6.unpack_from(frame, at)
    if frame[at] >> 4 != 6:
        raise NotUnderstood("bad_ip")
    whole = at + 40 + length if length else end
    protocol, at = after_extensions(frame, at + 40, following)
    if protocol != FRAGMENT:
        return protocol, src, dst, at, whole, 0, 0
    protocol, field, ident = _FRAGMENT.unpack_from(frame, at)
    return protocol, src, dst, at + 8, whole, ident, field & 0xFFF9


def after_extensions(frame: bytes, at: int, following: int) -> tuple[int, int]:
    """The first protocol that is no extension header, and where it begins; a fragment header counts as a protocol."""
    for _ in range(HEADERS_MAX):
        if following in SKIPPED:
            following, at = frame[at], at + (frame[at + 1] + 1) * 8
        elif following == AUTHENTICATION:
            following, at = frame[at], at + (frame[at + 1] + 2) * 4
        else:
            return following, at
    raise NotUnderstood("bad_ip")


def address_text(packed: bytes, port: int) -> str:
    if len(packed) == 4:
        return f"{packed[0]}.{packed[1]}.{packed[2]}.{packed[3]}:{port}"
    return f"[{IPv6Address(packed)}]:{port}"


_PORTS = Layout(">HH")


def ends_text(flow_key: bytes) -> tuple[str, str]:
    """The two ends of a flow; its key is both addresses and both ports as they stand in the packet."""
    size = (len(flow_key) - 4) // 2
    source, target = _PORTS.unpack_from(flow_key, 2 * size)
    return address_text(flow_key[:size], source), address_text(flow_key[size : 2 * size], target)
