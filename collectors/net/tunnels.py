"""Tunnels: what carries IP packets or whole Ethernet frames within IP, as tables of (protocol or port) -> decoder.

Laws
- A decoder takes (frame, at), `at` being where the tunnel's own header begins, and returns (EtherType, at) of what it
  carries. It raises NotUnderstood, or IndexError or struct.error where the header is cut off.
- A decoder behind a UDP port returns None for a datagram that is not of that tunnel: ports are nobody's property.
"""

from collections.abc import Callable

from collectors.net.links import (
    IPV4,
    IPV6,
    TRANSPARENT_ETHERNET,
    TWO,
    Decoder,
    NotUnderstood,
    Step,
    ethernet,
    ip_by_version,
    mpls,
    ppp,
    pppoe,
    vlan,
)

ERSPAN_I_II, ERSPAN_III = 0x88BE, 0x22EB
PPP = 0x880B
_CHECKSUM, _ROUTING, _KEY, _SEQUENCE, _ACKNOWLEDGMENT, _VERSION = 0x8000, 0x4000, 0x2000, 0x1000, 0x0080, 0x0007


def gre(frame: bytes, at: int) -> Step:
    """RFC 2784 and 2890; version 1 is PPTP's (RFC 2637), with PPP in it. Source routes (RFC 1701) are not read."""
    flags, kind = TWO.unpack_from(frame, at)[0], TWO.unpack_from(frame, at + 2)[0]
    version = flags & _VERSION
    if flags & _ROUTING or version > 1 or (version == 1 and kind != PPP):
        raise NotUnderstood("gre")
    words = _CHECKSUM | _KEY | _SEQUENCE | (_ACKNOWLEDGMENT if version else 0)
    at += 4 + 4 * (flags & words).bit_count()
    if kind == ERSPAN_I_II and not flags & _SEQUENCE:  # type I has no header of its own (draft-foschiano-erspan)
        return TRANSPARENT_ETHERNET, at
    return kind, at


def erspan_2(frame: bytes, at: int) -> Step:
    return TRANSPARENT_ETHERNET, at + 8


def erspan_3(frame: bytes, at: int) -> Step:
    """Twelve octets; the last bit tells of eight more, specific to the platform."""
    return TRANSPARENT_ETHERNET, at + (20 if frame[at + 11] & 1 else 12)


def _ipv4(frame: bytes, at: int) -> Step:
    return IPV4, at


def _ipv6(frame: bytes, at: int) -> Step:
    return IPV6, at


def vxlan(frame: bytes, at: int) -> Step | None:
    """RFC 7348: the I flag, all else reserved, but for a bit of its first octet that a group's number (draft-smith) takes."""
    if frame[at] & 0x7F != 0x08 or frame[at + 7]:
        return None
    return TRANSPARENT_ETHERNET, at + 8


def geneve(frame: bytes, at: int) -> Step | None:
    """RFC 8926: version 0, options in words of four octets."""
    if frame[at] >> 6 or frame[at + 7]:
        return None
    return TWO.unpack_from(frame, at + 2)[0], at + 8 + (frame[at] & 0x3F) * 4


_GTP_VERSION_1, _GTP_USER_DATA = 0x30, 255


def gtp_u(frame: bytes, at: int) -> Step | None:
    """3GPP TS 29.281: eight octets, four more where any of E, S and PN is set, then extension headers, whose length counts
    words of four octets and whose last octet names the next."""
    flags = frame[at]
    if flags & 0xF0 != _GTP_VERSION_1 or frame[at + 1] != _GTP_USER_DATA:
        return None
    if not flags & 0x07:
        return ip_by_version(frame, at + 8)
    following = frame[at + 11] if flags & 0x04 else 0
    at += 12
    while following:
        size = frame[at] * 4
        if not size:
            raise NotUnderstood("bad_tunnel")
        following, at = frame[at + size - 1], at + size
    return ip_by_version(frame, at)


ETHERTYPES: dict[int, Decoder] = {
    0x8100: vlan,
    0x88A8: vlan,
    0x9100: vlan,  # what switches used for QinQ before 802.1ad
    0x8864: pppoe,
    PPP: ppp,
    0x8847: mpls,
    0x8848: mpls,
    TRANSPARENT_ETHERNET: ethernet,
    ERSPAN_I_II: erspan_2,
    ERSPAN_III: erspan_3,
}
"""What stands between a frame and its IP packet, beside IP itself."""

IP_PROTOCOLS: dict[int, Decoder] = {4: _ipv4, 41: _ipv6, 47: gre, 137: mpls}

UDP_PORTS: dict[int, Callable[[bytes, int], Step | None]] = {
    4789: vxlan,
    8472: vxlan,  # Linux's own port for it before IANA gave one
    2152: gtp_u,
    6081: geneve,
}
"""By destination port."""
