"""Link layers: from a captured frame to the EtherType of what it carries and where that begins.

Laws
- A decoder takes (frame, at) and returns (EtherType, at); it raises NotUnderstood, or IndexError or struct.error where the
  frame is cut off, and nothing else.
- Nothing is guessed of a protocol that is not named here.

Link types: https://www.tcpdump.org/linktypes.html.
"""

from collections.abc import Callable
from struct import Struct as Layout

Step = tuple[int, int]
"""EtherType, and where what it names begins."""

Decoder = Callable[[bytes, int], Step]

TWO = Layout(">H")

IPV4, IPV6 = 0x0800, 0x86DD
TRANSPARENT_ETHERNET = 0x6558
"""A whole Ethernet frame (RFC 1701), the EtherType that tunnels of frames come to here."""


class NotUnderstood(Exception):
    """Nothing to read in this frame; the argument is the counter's name."""


def ip_by_version(frame: bytes, at: int) -> Step:
    """IP tells its version itself."""
    version = frame[at] >> 4
    if version == 4:
        return IPV4, at
    if version == 6:
        return IPV6, at
    raise NotUnderstood("not_ip")


def ethernet(frame: bytes, at: int) -> Step:
    return TWO.unpack_from(frame, at + 12)[0], at + 14


def vlan(frame: bytes, at: int) -> Step:
    return TWO.unpack_from(frame, at + 2)[0], at + 4


PPP_TYPES = {0x21: IPV4, 0x57: IPV6}
_PPP_ADDRESS = b"\xff\x03"


def ppp(frame: bytes, at: int) -> Step:
    """RFC 1661: the protocol in two octets, or in one, which is odd; before it perhaps HDLC's address and control."""
    if frame.startswith(_PPP_ADDRESS, at):
        at += 2
    if not frame[at]:
        at += 1
    kind = PPP_TYPES.get(frame[at])
    if kind is None:
        raise NotUnderstood("not_ip")
    return kind, at + 1


def pppoe(frame: bytes, at: int) -> Step:
    """RFC 2516: six octets before PPP's own."""
    return ppp(frame, at + 6)


def mpls(frame: bytes, at: int) -> Step:
    """RFC 3032: labels until the one whose bottom-of-stack bit is set; IP behind them tells its version."""
    while not frame[at + 2] & 1:
        at += 4
    return ip_by_version(frame, at + 4)


def linux_cooked(frame: bytes, at: int) -> Step:
    return TWO.unpack_from(frame, at + 14)[0], at + 16


def linux_cooked_2(frame: bytes, at: int) -> Step:
    """LINKTYPE_LINUX_SLL2: the protocol type comes first, the header is 20 octets."""
    return TWO.unpack_from(frame, at)[0], at + 20


def null(frame: bytes, at: int) -> Step:
    """BSD loopback: four octets of address family in the writer's byte order; the IP version tells the rest."""
    return ip_by_version(frame, at + 4)


ERF_ETHERNET, ERF_IP = frozenset((2, 11, 16, 20)), frozenset((22, 23))
"""Endace record types: Ethernet, also with colour or hash; bare IP."""


def erf(frame: bytes, at: int) -> Step:
    """Endace's record header: 16 octets, then extension headers while the top bit is set; Ethernet has two octets before
    it."""
    kind, at = frame[at + 8], at + 16
    more = kind & 0x80
    while more:
        more = frame[at] & 0x80
        at += 8
    if kind & 0x7F in ERF_ETHERNET:
        return ethernet(frame, at + 2)
    if kind & 0x7F in ERF_IP:
        return ip_by_version(frame, at)
    raise NotUnderstood("link_type")


LINK_TYPES: dict[int, Decoder] = {
    0: null,
    1: ethernet,
    12: ip_by_version,
    14: ip_by_version,
    101: ip_by_version,
    108: null,
    113: linux_cooked,
    197: erf,
    228: ip_by_version,
    229: ip_by_version,
    276: linux_cooked_2,
}

TWICE = frozenset((0, 108, 113, 276))
"""Link types of captures on the loopback and on all interfaces at once, which may hold each packet twice."""
