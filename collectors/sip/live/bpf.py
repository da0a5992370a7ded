"""The kernel's packet filter for a capture: a program of classic BPF, made from the configuration. Pure.

It looks at a packet from its network layer on, where the kernel itself has found it, and asks the kernel which protocol that
is: one program fits Ethernet, loopback, PPP and tunnel interfaces, and all of them at once.

What passes:
- SIP over UDP on any port, told by the first four octets of the datagram; all UDP, TCP and SCTP on the SIP ports;
- the further fragments of UDP, TCP and SCTP, IPv4 and IPv6: they show no port, and large INVITEs are fragmented (a filter
  `port 5060` loses them);
- the same behind VLAN tags that stand in the packet (the kernel takes off the outer one), and behind IPv6 extension headers;
- the frames of the tunnels that are asked for, whole;
- RTCP and RTP as the media setting asks, told by their looks (RFC 7983: first octet 128 to 191; RFC 5761 section 4: packet
  types 192 to 223 are RTCP's), since their ports are anybody's; of RTP its headers only. With RTP the media ports pass
  whole: T.38 has no looks of its own.

Not: what leaves by a loopback interface, since the same comes in by it.

Laws
- A load behind the packet's end rejects it (the kernel's own rule): nothing here needs to check lengths.
- Programs jump forward only and have at most INSTRUCTIONS_MAX instructions; more raises ValueError.

Source: Documentation/networking/filter.rst of the kernel; struct sock_filter and SKF_AD_* of linux/filter.h.
"""

from collections.abc import Iterable, Sequence

from collectors.sip.live.ports import Ranges
from collectors.sip.media.desk import MediaSetting
from collectors.sip.names import METHODS

Instruction = tuple[int, int, int, int]
"""code, jt, jf, k"""
Program = tuple[Instruction, ...]

INSTRUCTIONS_MAX = 4_096
"""BPF_MAXINSNS."""
WHOLE = 0x40000
"""Octets to keep of a packet: all of any that there are."""
RTP_BYTES = 144
"""Octets to keep of an RTP packet: Ethernet, IPv6, UDP, RTP's header and 70 octets of a tag, contributing sources, extension
or a telephone event (RFC 4733: four octets)."""

# Codes of instructions: class | size | mode
_LD, _LDH, _LDB = 0x40, 0x48, 0x50  # at [x + k]
_LD_ABS, _LD_MEM, _LDX_IMM, _ST = 0x20, 0x60, 0x01, 0x02
_ADD, _ADD_X, _AND, _LSH, _TAX, _TXA = 0x04, 0x0C, 0x54, 0x64, 0x07, 0x87
_JA, _JEQ, _JGT, _JGE, _JSET, _RET = 0x05, 0x15, 0x25, 0x35, 0x45, 0x06

# Ancillary data: what the kernel knows of a packet beside its octets
_NETWORK_LAYER = 0xFFF00000
"""SKF_NET_OFF: offsets from here on are those from the network layer."""
_AD_PROTOCOL, _AD_PKTTYPE, _AD_HATYPE = 0xFFFFF000, 0xFFFFF004, 0xFFFFF01C
_ARPHRD_LOOPBACK, _PACKET_OUTGOING = 772, 4

_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_VLAN_TAGS_MAX = 2
_IPV4, _IPV6, _PPPOE_SESSION = 0x0800, 0x86DD, 0x8864
_TCP, _UDP, _SCTP = 6, 17, 132
_CARRIERS = (_UDP, _TCP, _SCTP)
_IPV6_OPTIONS, _IPV6_FRAGMENT, _AUTHENTICATION = (0, 43, 60), 44, 51
_IPV6_HEADERS_MAX = 3

TUNNEL_PROTOCOLS = {"gre": (47,), "erspan": (47,), "ipip": (4, 41)}
TUNNEL_UDP_PORTS = {"vxlan": (4789, 8472), "geneve": (6081,), "gtp": (2152,)}
"""RFC 7348; 8472 is what Linux took before it, and still does unless told. RFC 8926; TS 29.281 section 4.4.2."""

SIP_STARTS = frozenset({b"SIP/"} | {(method + b" ")[:4] for method in METHODS})
"""How a datagram of SIP begins: an answer, or a request of a method that is known."""


def program(ports: Ranges, tunnels: Iterable[str], media: MediaSetting, media_ports: Ranges = ()) -> Program:
    """Raises ValueError where the kernel would not take it for its length."""
    made = _Assembler()
    tunnels = tuple(tunnels)
    _not_twice(made)
    _link(made, "pppoe" in tunnels)
    protocols = sorted({number for name in tunnels for number in TUNNEL_PROTOCOLS.get(name, ())})
    _ipv4(made)
    _ipv6(made)
    _fragment(made, (*_CARRIERS, *protocols))
    _transport(made, ports, protocols)
    _udp(made, ports, [port for name in tunnels for port in TUNNEL_UDP_PORTS.get(name, ())], media, media_ports)
    return made.program()


class _Assembler:
    """Instructions with labels. A conditional jump is one over the next instruction, so that no distance is too far."""

    def __init__(self) -> None:
        self._made: list[Instruction] = []
        self._jumps: list[tuple[int, str]] = []
        self._labels: dict[str, int] = {}

    def add(self, code: int, k: int = 0) -> None:
        self._made.append((code, 0, 0, k))

    def mark(self, label: str) -> None:
        self._labels[label] = len(self._made)

    def go(self, label: str) -> None:
        self._jumps.append((len(self._made), label))
        self.add(_JA)

    def go_if(self, test: int, k: int, label: str) -> None:
        self._made.append((test, 0, 1, k))
        self.go(label)

    def end_if(self, test: int, k: int, verdict: int) -> None:
        self._made.append((test, 0, 1, k))
        self.add(_RET, verdict)

    def unless(self, test: int, k: int, skipped: int) -> None:
        """Over so many instructions where the test fails."""
        self._made.append((test, 0, skipped, k))

    def end_if_between(self, low: int, high: int, verdict: int) -> None:
        self._made.append((_JGE, 0, 2, low))
        self._made.append((_JGT, 1, 0, high))
        self.add(_RET, verdict)

    def step(self, *more: tuple[int, int]) -> None:
        """X goes on by what A holds after `more`."""
        for code, k in more:
            self.add(code, k)
        self.add(_ADD_X)
        self.add(_TAX)

    def program(self) -> Program:
        for at, label in self._jumps:
            self._made[at] = (_JA, 0, 0, self._labels[label] - at - 1)
        if len(self._made) > INSTRUCTIONS_MAX:
            raise ValueError(f"a filter of {len(self._made)} instructions; the kernel takes {INSTRUCTIONS_MAX}")
        return tuple(self._made)


_PROTOCOL, _LENGTH = 0, 1
"""Cells of the program's memory: the protocol that comes next, and a length that is being reckoned."""


def _not_twice(made: _Assembler) -> None:
    made.add(_LD_ABS, _AD_HATYPE)
    made.unless(_JEQ, _ARPHRD_LOOPBACK, 3)
    made.add(_LD_ABS, _AD_PKTTYPE)
    made.end_if(_JEQ, _PACKET_OUTGOING, 0)


def _link(made: _Assembler, pppoe: bool) -> None:
    """To the network layer, by VLAN tags that stand in the packet. X is where we are."""
    made.add(_LDX_IMM, _NETWORK_LAYER)
    made.add(_LD_ABS, _AD_PROTOCOL)
    for tag in range(_VLAN_TAGS_MAX):
        for kind in _VLAN_TYPES:
            made.go_if(_JEQ, kind, f"tag {tag}")
        made.go("untagged")
        made.mark(f"tag {tag}")
        made.add(_LDH, 2)
        made.add(_ST, _PROTOCOL)
        made.add(_TXA)
        made.add(_ADD, 4)
        made.add(_TAX)
        made.add(_LD_MEM, _PROTOCOL)
    made.mark("untagged")
    made.go_if(_JEQ, _IPV4, "ipv4")
    made.go_if(_JEQ, _IPV6, "ipv6")
    if pppoe:
        made.end_if(_JEQ, _PPPOE_SESSION, WHOLE)
    made.add(_RET, 0)


def _ipv4(made: _Assembler) -> None:
    made.mark("ipv4")
    made.add(_LDB, 9)
    made.add(_ST, _PROTOCOL)
    made.add(_LDH, 6)
    made.go_if(_JSET, 0x1FFF, "fragment")
    made.add(_LDB, 0)
    made.step((_AND, 15), (_LSH, 2))
    made.go("transport")


def _ipv6(made: _Assembler) -> None:
    made.mark("ipv6")
    made.add(_LDB, 6)
    made.add(_ST, _PROTOCOL)
    made.add(_TXA)
    made.add(_ADD, 40)
    made.add(_TAX)
    for header in range(_IPV6_HEADERS_MAX):
        made.add(_LD_MEM, _PROTOCOL)
        made.go_if(_JEQ, _IPV6_FRAGMENT, f"fragment header {header}")
        made.go_if(_JEQ, _AUTHENTICATION, f"authentication {header}")
        for kind in _IPV6_OPTIONS:
            made.go_if(_JEQ, kind, f"options {header}")
        made.go("transport")
        _ipv6_header(made, f"options {header}", f"next {header}", ((_LDB, 1), (_ADD, 1), (_LSH, 3)))
        _ipv6_header(made, f"authentication {header}", f"next {header}", ((_LDB, 1), (_ADD, 2), (_LSH, 2)))
        made.mark(f"fragment header {header}")
        made.add(_LDB, 0)
        made.add(_ST, _PROTOCOL)
        made.add(_LDH, 2)
        made.go_if(_JSET, 0xFFF8, "fragment")
        made.add(_TXA)
        made.add(_ADD, 8)
        made.add(_TAX)
        made.mark(f"next {header}")
    made.go("transport")


def _ipv6_header(made: _Assembler, label: str, following: str, length: Sequence[tuple[int, int]]) -> None:
    """Over a header that tells its length (RFC 7045)."""
    made.mark(label)
    for code, k in length:
        made.add(code, k)
    made.add(_ST, _LENGTH)
    made.add(_LDB, 0)
    made.add(_ST, _PROTOCOL)
    made.step((_LD_MEM, _LENGTH))
    made.go(following)


def _fragment(made: _Assembler, carriers: Iterable[int]) -> None:
    made.mark("fragment")
    made.add(_LD_MEM, _PROTOCOL)
    for number in carriers:
        made.end_if(_JEQ, number, WHOLE)
    made.add(_RET, 0)


def _transport(made: _Assembler, ports: Ranges, tunnels: Iterable[int]) -> None:
    made.mark("transport")
    made.add(_LD_MEM, _PROTOCOL)
    made.go_if(_JEQ, _UDP, "udp")
    made.go_if(_JEQ, _TCP, "ports")
    made.go_if(_JEQ, _SCTP, "ports")
    for number in tunnels:
        made.end_if(_JEQ, number, WHOLE)
    made.add(_RET, 0)
    made.mark("ports")
    _either_port(made, ports)
    made.add(_RET, 0)


def _either_port(made: _Assembler, ranges: Ranges) -> None:
    for offset in (0, 2) if ranges else ():
        made.add(_LDH, offset)
        for low, high in ranges:
            if low == high:
                made.end_if(_JEQ, low, WHOLE)
            else:
                made.end_if_between(low, high, WHOLE)


def _udp(made: _Assembler, ports: Ranges, tunnels: Sequence[int], media: MediaSetting, media_ports: Ranges) -> None:
    made.mark("udp")
    _either_port(made, ports)
    if tunnels:
        made.add(_LDH, 2)
        for port in tunnels:
            made.end_if(_JEQ, port, WHOLE)
    if media == "rtp":
        _either_port(made, media_ports)
    if media != "off":
        made.add(_LDB, 8)
        made.add(_AND, 0xC0)
        made.go_if(_JEQ, 0x80, "media")
    made.add(_LD, 8)
    for start in sorted(SIP_STARTS):
        made.end_if(_JEQ, int.from_bytes(start, "big"), WHOLE)
    made.add(_RET, 0)
    made.mark("media")
    made.add(_LDB, 9)
    made.end_if_between(192, 223, WHOLE)
    made.add(_RET, RTP_BYTES if media == "rtp" else 0)
