"""What carries SIP, written out by hand: link layers, tunnels, fragments, and transports that keep a connection.

A tunnel takes an IP packet and gives the IP packet that carries it; a link takes an IP packet and gives a frame.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import count, pairwise

from collectors.sip.packets import SipPacket
from tests.collectors.sip.flows import ETHERNET_HEAD, ethernet, split_address, tcp, udp

Wrap = Callable[[bytes], bytes]

NEAR, FAR = "172.16.0.1:0", "172.16.0.2:0"
NEAR6, FAR6 = "[fd00::1]:0", "[fd00::2]:0"
"""The ends of the tunnels."""

IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
UDP, TCP, SCTP = 17, 6, 132


_idents = count()
"""Identifications: packets between the same ends never share one while they are under way."""


def kind(packet: bytes) -> bytes:
    return IPV6 if packet[0] >> 4 == 6 else IPV4


def ppp_type(packet: bytes) -> bytes:
    return b"\x57" if kind(packet) == IPV6 else b"\x21"


def ipv4(src: str, dst: str, protocol: int, payload: bytes, fragment: int = 0, ident: int | None = None) -> bytes:
    (source, _), (target, _) = split_address(src), split_address(dst)
    number = next(_idents) & 0xFFFF if ident is None else ident
    total = 20 + len(payload)
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, total, number, fragment, 64, protocol, 0, source, target) + payload


def ipv6(src: str, dst: str, protocol: int, payload: bytes) -> bytes:
    (source, _), (target, _) = split_address(src), split_address(dst)
    return struct.pack(">IHBB16s16s", 6 << 28, len(payload), protocol, 64, source, target) + payload


def ip(src: str, dst: str, protocol: int, payload: bytes) -> bytes:
    return (ipv6 if src.startswith("[") else ipv4)(src, dst, protocol, payload)


# --- fragments


def fragments(packet: bytes, cuts: Sequence[int], ident: int | None = None) -> list[bytes]:
    """An IP packet in pieces that begin at these multiples of eight octets of its payload."""
    head = 40 if packet[0] >> 4 == 6 else 20
    payload = packet[head:]
    number = next(_idents) if ident is None else ident
    edges = [0, *sorted({cut * 8 for cut in cuts if 0 < cut * 8 < len(payload)}), len(payload)]
    if len(edges) == 2:
        return [packet]
    return [piece(packet, begin, payload[begin:end], end < len(payload), number) for begin, end in pairwise(edges)]


def piece(packet: bytes, offset: int, data: bytes, more: bool, ident: int) -> bytes:
    """One fragment of a packet."""
    if packet[0] >> 4 == 6:
        header = struct.pack(">BBHI", packet[6], 0, offset | more, ident & 0xFFFFFFFF)
        return packet[:4] + struct.pack(">HB", 8 + len(data), 44) + packet[7:40] + header + data
    head = struct.pack(">HHH", 20 + len(data), ident & 0xFFFF, more << 13 | offset >> 3)
    return packet[:2] + head + packet[8:20] + data


def every(size: int) -> range:
    """Cuts each so many octets."""
    return range(size // 8, 9000, size // 8)


# --- tunnels

ERSPAN_2 = bytes.fromhex("1001 0064 0000 0001".replace(" ", ""))
ERSPAN_3 = bytes.fromhex("2001 0064 00000000 0000 0000".replace(" ", ""))
ERSPAN_3_MORE = ERSPAN_3[:-1] + b"\x01" + bytes(8)


def _gre(inner: bytes, protocol: bytes, flags: int = 0, options: bytes = b"") -> bytes:
    return ipv4(NEAR, FAR, 47, struct.pack(">H", flags) + protocol + options + inner)


def _udp(port: int, payload: bytes, six: bool = False) -> bytes:
    near, far = (NEAR6, FAR6) if six else (NEAR, FAR)
    src, dst = near[:-1] + "50000", far[:-1] + str(port)
    return ip(src, dst, UDP, udp(src, dst, payload))


def _ethernet(packet: bytes) -> bytes:
    return ethernet(packet, [(0x8100, 7)])


TUNNELS: dict[str, Wrap] = {
    "4 in 4, 6 in 4": lambda packet: ipv4(NEAR, FAR, 41 if kind(packet) == IPV6 else 4, packet),
    "4 in 6, 6 in 6": lambda packet: ipv6(NEAR6, FAR6, 41 if kind(packet) == IPV6 else 4, packet),
    "GRE": lambda packet: _gre(packet, kind(packet)),
    "GRE over IPv6": lambda packet: ipv6(NEAR6, FAR6, 47, b"\0\0" + kind(packet) + packet),
    "GRE with key": lambda packet: _gre(packet, kind(packet), 0x2000, b"\0\0\0\7"),
    "GRE with all": lambda packet: _gre(packet, kind(packet), 0xB000, b"\x12\x34\0\0" + b"\0\0\0\7" + b"\0\0\0\1"),
    "Ethernet in GRE": lambda packet: _gre(ethernet(packet), b"\x65\x58"),
    "PPTP": lambda packet: _gre(b"\xff\x03\0" + ppp_type(packet) + packet, b"\x88\x0b", 0x3081, bytes(4) + bytes(8)),
    "PPTP, short": lambda packet: _gre(ppp_type(packet) + packet, b"\x88\x0b", 0x2001, bytes(4)),
    "MPLS in GRE": lambda packet: _gre(b"\0\0\x10\x40" + b"\0\0\x21\x40" + packet, b"\x88\x47"),
    "ERSPAN I": lambda packet: _gre(_ethernet(packet), b"\x88\xbe"),
    "ERSPAN II": lambda packet: _gre(ERSPAN_2 + _ethernet(packet), b"\x88\xbe", 0x1000, b"\0\0\0\1"),
    "ERSPAN III": lambda packet: _gre(ERSPAN_3 + ethernet(packet), b"\x22\xeb", 0x1000, b"\0\0\0\1"),
    "ERSPAN III with subheader": lambda packet: _gre(
        ERSPAN_3_MORE + ethernet(packet), b"\x22\xeb", 0x1000, b"\0\0\0\1"
    ),
    "VXLAN": lambda packet: _udp(4789, b"\x08\0\0\0\0\0\x2a\0" + _ethernet(packet)),
    "VXLAN on Linux's old port, IPv6": lambda packet: _udp(8472, b"\x08\0\0\0\0\0\x2a\0" + ethernet(packet), six=True),
    "GENEVE": lambda packet: _udp(6081, b"\0\0\x65\x58\0\0\x2a\0" + ethernet(packet)),
    "GENEVE with options, bare IP": lambda packet: _udp(6081, b"\x02\0" + kind(packet) + bytes(4 + 8) + packet),
    "GTP-U": lambda packet: _udp(2152, b"\x30\xff" + struct.pack(">HI", len(packet), 9) + packet),
    "GTP-U with extensions": lambda packet: _udp(
        2152, b"\x36\xff" + struct.pack(">HIHBB", len(packet) + 16, 9, 1, 0, 0x85) + b"\1\0\0\x40" + b"\2" + bytes(7) + packet
    ),
}  # fmt: skip


def _erf(kind: int, record: bytes) -> bytes:
    """With the lengths of the record and of what was on the wire, which our reader does not need."""
    return bytes(8) + struct.pack(">BBHHH", kind, 4, 16 + len(record), 0, len(record)) + record


LINKS: dict[str, tuple[int, Wrap]] = {
    "Ethernet": (1, ethernet),
    "VLAN": (1, lambda packet: ethernet(packet, [(0x8100, 100)])),
    "QinQ": (1, lambda packet: ethernet(packet, [(0x88A8, 200), (0x8100, 100)])),
    "old QinQ": (1, lambda packet: ethernet(packet, [(0x9100, 200), (0x8100, 100)])),
    "padded": (1, lambda packet: ethernet(packet, padding=20)),
    "PPPoE": (
        1,
        lambda packet: (
            ETHERNET_HEAD
            + b"\x88\x64\x11\0\0\1"
            + struct.pack(">H", len(packet) + 2)
            + b"\x00"
            + ppp_type(packet)
            + packet
        ),
    ),
    "MPLS": (1, lambda packet: ETHERNET_HEAD + b"\x88\x47" + b"\0\0\x10\x40" + b"\0\0\x21\x40" + packet),
    "Linux cooked": (113, lambda packet: bytes(14) + kind(packet) + packet),
    "Linux cooked with VLAN": (113, lambda packet: bytes(14) + b"\x81\x00\x00\x64" + kind(packet) + packet),
    "Linux cooked 2": (276, lambda packet: kind(packet) + bytes(18) + packet),
    "Linux cooked 2 with VLAN": (276, lambda packet: b"\x81\x00" + bytes(18) + b"\x00\x64" + kind(packet) + packet),
    "raw": (101, lambda packet: packet),
    "raw as OpenBSD has it": (14, lambda packet: packet),
    "BSD loopback": (0, lambda packet: b"\x02\x00\x00\x00" + packet),
    "OpenBSD loopback": (108, lambda packet: b"\x00\x00\x00\x02" + packet),
    "ERF": (197, lambda packet: _erf(2, b"\0\0" + ethernet(packet))),
    "ERF with extension": (197, lambda packet: _erf(0x82, bytes(8) + b"\0\0" + ethernet(packet))),
    "ERF of bare IP": (197, lambda packet: _erf(22, packet)),
}


# --- transports: SIP packets to IP packets

Carried = Iterator[tuple[int, bytes]]
"""at_us, IP packet"""


def over_udp(packets: Sequence[SipPacket]) -> Carried:
    for packet in packets:
        yield packet.at_us, ip(packet.src, packet.dst, UDP, udp(packet.src, packet.dst, packet.payload))


def over_tcp(packets: Sequence[SipPacket], size: int = 1_400) -> Carried:
    for packet, at, data in _streamed(packets, size):
        yield packet.at_us, ip(packet.src, packet.dst, TCP, tcp(packet.src, packet.dst, at, data))


def _streamed(packets: Sequence[SipPacket], size: int) -> Iterator[tuple[SipPacket, int, bytes]]:
    """Each packet's payload in segments, with where they stand in the stream of its direction."""
    stands: dict[str, int] = {}
    for packet in packets:
        at = stands.get(packet.src, 0)
        for begin in range(0, len(packet.payload), size):
            data = packet.payload[begin : begin + size]
            yield packet, at + begin, data
        stands[packet.src] = at + len(packet.payload)


def sctp(src: str, dst: str, chunks: Sequence[bytes]) -> bytes:
    (_, source), (_, target) = split_address(src), split_address(dst)
    tag = 1 + (src < dst)  # the receiver's, so one for each direction (RFC 9260 section 3.1)
    return struct.pack(">HHII", source, target, tag, 0) + b"".join(chunks)


def chunk(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, flags, 4 + len(body)) + body + bytes(-len(body) % 4)


def data_chunks(tsn: int, message: bytes, size: int, stream: int = 0) -> list[bytes]:
    """A message as DATA chunks of `size` octets each."""
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    last = len(parts) - 1
    return [
        chunk(0, 2 * (at == 0) | (at == last), struct.pack(">IHHI", (tsn + at) % 2**32, stream, 0, 0) + part)
        for at, part in enumerate(parts)
    ]


def over_sctp(packets: Sequence[SipPacket], size: int = 400) -> Carried:
    """Each message in chunks, two to a packet."""
    tsns: dict[str, int] = {}
    for packet in packets:
        tsn = tsns.get(packet.src, 2**32 - 3)
        chunks = data_chunks(tsn, packet.payload, size)
        tsns[packet.src] = tsn + len(chunks)
        for at in range(0, len(chunks), 2):
            yield packet.at_us, ip(packet.src, packet.dst, SCTP, sctp(packet.src, packet.dst, chunks[at : at + 2]))


ASKS = (
    b"GET / HTTP/1.1\r\nHost: pbx.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
GRANTS = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: sip\r\n\r\n"
)
PING = b"\x89\x04ping"


def ws_frame(payload: bytes, opcode: int = 1, fin: bool = True, mask: bytes = b"") -> bytes:
    size = len(payload)
    bits = 0x80 if mask else 0
    if size < 126:
        head = struct.pack(">BB", fin << 7 | opcode, bits | size)
    elif size < 65_536:
        head = struct.pack(">BBH", fin << 7 | opcode, bits | 126, size)
    else:
        head = struct.pack(">BBQ", fin << 7 | opcode, bits | 127, size)
    masked = bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload)) if mask else payload
    return head + mask + masked


def ws_message(payload: bytes, cuts: Sequence[int] = (), mask: bytes = b"") -> bytes:
    """A message in frames that begin at these octets, with a ping between them."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(payload)}), len(payload)]
    frames = [
        ws_frame(payload[begin:end], 1 if begin == 0 else 0, end == len(payload), mask)
        for begin, end in pairwise(edges)
    ]
    return PING.join(frames)


def over_websocket(packets: Sequence[SipPacket], size: int = 1_400, handshake: bool = True) -> Carried:
    """The first sender is the client, whose frames are masked."""
    client = packets[0].src
    sent = [
        SipPacket(
            packet.at_us,
            "ws",
            packet.src,
            packet.dst,
            ws_message(packet.payload, [100, 300], b"\x37\xfa\x21\x3d" if packet.src == client else b""),
        )
        for packet in packets
    ]
    first = packets[0]
    if handshake:
        opening = [
            SipPacket(first.at_us, "ws", first.src, first.dst, ASKS),
            SipPacket(first.at_us, "ws", first.dst, first.src, GRANTS),
        ]
        sent = [*opening, *sent]
    yield from over_tcp(sent, size)


TRANSPORTS: dict[str, Callable[[Sequence[SipPacket]], Carried]] = {
    "udp": over_udp,
    "tcp": over_tcp,
    "sctp": over_sctp,
    "ws": over_websocket,
}
