"""From a captured frame to the datagram or segment in it: link layer, VLAN tags, IPv4, IPv6, UDP, TCP.

Laws
- `transport_of` gives what it found or says why there is nothing; it never raises, whatever the bytes.
- Lengths come from the IP header, never from the frame, so that padding is not payload; what was cut off by the capture's
  snap length is read as far as it goes.
- Fragments, tunnels and other transports are named as not understood; nothing is guessed of them.
"""

from collections.abc import Callable
from ipaddress import IPv6Address
from struct import Struct as Layout
from struct import error as LayoutError

Found = tuple[str, bytes, bytes, int, int, int]
"""`udp` or `tcp`, source address, destination address (packed), where the transport header begins, where the packet ends by
its IP header, and where it ends in the capture."""

_TWO = Layout(">H")

VLAN_TYPES = frozenset((0x8100, 0x88A8, 0x9100))
"""802.1Q, 802.1ad, and what switches used for QinQ before it."""
VLAN_TAGS_MAX = 4

IPV4, IPV6 = 0x0800, 0x86DD
UDP, TCP = 17, 6
TRANSPORTS = {UDP: "udp", TCP: "tcp"}

IPV6_SKIPPED = frozenset((0, 43, 60, 135, 139, 140))
"""Hop-by-hop, routing, destination options, mobility, HIP, shim6: each with its length in its second octet (RFC 7045)."""
IPV6_FRAGMENT, AUTHENTICATION = 44, 51
IPV6_HEADERS_MAX = 16

NOT_UNDERSTOOD = {4: "ip_in_ip", 41: "ip_in_ip", 47: "gre", 132: "sctp"}
"""Protocol numbers that may carry SIP and are not read here, as counted."""


class NotUnderstood(Exception):
    """Nothing to read in this frame; the argument is the counter's name."""


def ethernet(frame: bytes) -> int:
    return _after_type(frame, 12)


def _after_type(frame: bytes, at: int) -> int:
    """Where the IP header begins, given where the EtherType stands."""
    for _ in range(VLAN_TAGS_MAX + 1):
        kind = _TWO.unpack_from(frame, at)[0]
        if kind in (IPV4, IPV6):
            return at + 2
        if kind not in VLAN_TYPES:
            raise NotUnderstood("not_ip")
        at += 4
    raise NotUnderstood("not_ip")


def linux_cooked(frame: bytes) -> int:
    return _after_type(frame, 14)


def linux_cooked_2(frame: bytes) -> int:
    """LINKTYPE_LINUX_SLL2: the protocol type comes first, the header is 20 octets."""
    kind = _TWO.unpack_from(frame, 0)[0]
    if kind in VLAN_TYPES:
        return _after_type(frame, 22)
    if kind not in (IPV4, IPV6):
        raise NotUnderstood("not_ip")
    return 20


def null(frame: bytes) -> int:
    """BSD loopback: four octets of address family in the writer's byte order; the IP version tells the rest."""
    return 4


def raw(frame: bytes) -> int:
    return 0


def erf(frame: bytes) -> int:
    """Endace's record header: 16 octets, then extension headers while the top bit is set; type 2 is Ethernet, which has
    two octets before it."""
    kind, at = frame[8], 16
    more = kind & 0x80
    while more:
        more = frame[at] & 0x80
        at += 8
    if kind & 0x7F != 2:
        raise NotUnderstood("link_type")
    return _after_type(frame, at + 2 + 12)


LINK_TYPES: dict[int, Callable[[bytes], int]] = {  # https://www.tcpdump.org/linktypes.html
    0: null,
    1: ethernet,
    12: raw,
    14: raw,
    101: raw,
    108: null,
    113: linux_cooked,
    197: erf,
    228: raw,
    229: raw,
    276: linux_cooked_2,
}


def transport_of(link_type: int, frame: bytes) -> Found:
    """Raises NotUnderstood."""
    link = LINK_TYPES.get(link_type)
    if link is None:
        raise NotUnderstood("link_type")
    try:
        at = link(frame)
        version = frame[at] >> 4
        if version == 4:
            return _ipv4(frame, at)
        if version == 6:
            return _ipv6(frame, at)
    except (IndexError, ValueError, LayoutError):
        raise NotUnderstood("cut_off") from None
    raise NotUnderstood("not_ip")


def _ipv4(frame: bytes, at: int) -> Found:
    header, total = (frame[at] & 15) * 4, _TWO.unpack_from(frame, at + 2)[0]
    if header < 20:
        raise NotUnderstood("bad_ip")
    if _TWO.unpack_from(frame, at + 6)[0] & 0x3FFF:
        raise NotUnderstood("fragments")
    end = at + total if total else len(frame)  # 0: segmentation offload leaves it to the network card
    return _transport(frame, frame[at + 9], at + header, end, frame[at + 12 : at + 16], frame[at + 16 : at + 20])


def _ipv6(frame: bytes, at: int) -> Found:
    length, following = _TWO.unpack_from(frame, at + 4)[0], frame[at + 6]
    src, dst = frame[at + 8 : at + 24], frame[at + 24 : at + 40]
    end = at + 40 + length if length else len(frame)
    at += 40
    for _ in range(IPV6_HEADERS_MAX):
        if following in IPV6_SKIPPED:
            following, at = frame[at], at + (frame[at + 1] + 1) * 8
        elif following == AUTHENTICATION:
            following, at = frame[at], at + (frame[at + 1] + 2) * 4
        elif following == IPV6_FRAGMENT:
            if _TWO.unpack_from(frame, at + 2)[0] & 0xFFF9:  # neither offset nor more: an atomic fragment (RFC 6946)
                raise NotUnderstood("fragments")
            following, at = frame[at], at + 8
        else:
            return _transport(frame, following, at, end, src, dst)
    raise NotUnderstood("bad_ip")


def _transport(frame: bytes, protocol: int, at: int, end: int, src: bytes, dst: bytes) -> Found:
    name = TRANSPORTS.get(protocol)
    if name is None:
        raise NotUnderstood(NOT_UNDERSTOOD.get(protocol, "other_protocol"))
    if at + (8 if protocol == UDP else 20) > min(len(frame), end):
        raise NotUnderstood("cut_off")
    return name, src, dst, at, end, min(len(frame), end)


def address_text(packed: bytes, port: int) -> str:
    if len(packed) == 4:
        return f"{packed[0]}.{packed[1]}.{packed[2]}.{packed[3]}:{port}"
    return f"[{IPv6Address(packed)}]:{port}"
