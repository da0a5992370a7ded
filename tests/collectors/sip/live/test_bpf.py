"""What the kernel's filter lets pass: the program is run on packets, and beside tcpdump's own program."""

import ctypes
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sip.live.bpf import INSTRUCTIONS_MAX, RTP_BYTES, WHOLE, program
from collectors.sip.live.ports import RANGES_MAX, parse_ports
from collectors.sip.media.desk import MediaSetting
from tests.collectors.sip.flows import PBX, Exchange, ip, phone, tcp, udp
from tests.collectors.sip.live.machine import Instruction, run

IPV4, IPV6, VLAN, QINQ, PPPOE, ARP = 0x0800, 0x86DD, 0x8100, 0x88A8, 0x8864, 0x0806
A, B = "10.0.1.1:40000", "10.0.0.10:5060"
A6, B6 = "[2001:db8::1]:40000", "[2001:db8::2]:5060"
FAR, FAR6 = "10.0.0.10:40002", "[2001:db8::2]:40002"
INVITE = Exchange("c1", phone(101), PBX, "101", "300").invite(0).payload
NOISE = b"\x17\x01noise that is no SIP"
RTP = b"\x80\x00" + bytes(170)
RTP_MARKED = b"\x80\xe0" + bytes(170)
RTCP = b"\x80\xc8" + bytes(26)
OUTGOING = 4
LOOPBACK = 772

BASE = program(parse_ports(["5060-5061", "5080"]), (), "off")


def verdict(
    packet: bytes, made: tuple[Instruction, ...] = BASE, *, protocol: int = 0, kind: int = 0, hardware: int = 1
) -> int:
    told = protocol or (IPV6 if packet[0] >> 4 == 6 else IPV4)
    return run(made, packet, protocol=told, kind=kind, hardware=hardware)


def of(
    tunnels: tuple[str, ...] = (), media: MediaSetting = "off", media_ports: tuple[str, ...] = ()
) -> tuple[Instruction, ...]:
    return program(parse_ports(["5060"]), tunnels, media, parse_ports(media_ports))


@pytest.mark.parametrize(("src", "dst"), [(A, B), (B, A), (A6, B6), (B6, A6)])
def test_what_is_on_a_sip_port_passes_whole_and_what_is_not_does_not(src: str, dst: str) -> None:
    other = FAR6 if "[" in dst else FAR
    away = A6 if "[" in dst else A
    assert verdict(ip(src, dst, 17, udp(src, dst, NOISE))) == WHOLE
    assert verdict(ip(src, dst, 6, tcp(src, dst, 1, NOISE))) == WHOLE
    assert verdict(ip(src, dst, 132, udp(src, dst, NOISE))) == WHOLE
    assert verdict(ip(away, other, 17, udp(away, other, NOISE))) == 0
    assert verdict(ip(away, other, 6, tcp(away, other, 1, INVITE))) == 0
    assert verdict(ip(src, dst, 50, udp(src, dst, NOISE))) == 0


@pytest.mark.parametrize(
    "start", [INVITE, b"SIP/2.0 200 OK\r\n", b"ACK sip:a SIP/2.0", b"BYE sip:a SIP/2.0", b"REFER x"]
)
def test_sip_over_udp_passes_on_any_port(start: bytes) -> None:
    assert verdict(ip(A, FAR, 17, udp(A, FAR, start))) == WHOLE
    assert verdict(ip(A6, FAR6, 17, udp(A6, FAR6, start))) == WHOLE


def test_the_further_fragments_of_what_may_carry_sip_pass_and_other_fragments_do_not() -> None:
    more, last = 0x2000, 0x00B9
    first = ip(A, B, 17, udp(A, B, INVITE)[:1024], fragment=more)
    assert verdict(first) == WHOLE
    for carrier in (17, 6, 132):
        assert verdict(ip(A, B, carrier, INVITE[1016:], fragment=last)) == WHOLE
    assert verdict(ip(A, B, 1, NOISE, fragment=last)) == 0
    assert verdict(ip(A, FAR, 17, udp(A, FAR, NOISE), fragment=more)) == 0


def test_fragments_and_extension_headers_of_ipv6_are_followed() -> None:
    datagram = udp(A6, B6, NOISE)

    def chain(*headers: bytes) -> bytes:
        body = b"".join(headers)
        packet = ip(A6, B6, 17, datagram, extensions=body)
        return packet[:6] + bytes([kinds[0]]) + packet[7:]

    kinds = [44]
    assert verdict(chain(struct.pack(">BBHI", 17, 0, 0x0001, 7))) == WHOLE, "the first"
    assert verdict(chain(struct.pack(">BBHI", 17, 0, 0x0100, 7))) == WHOLE, "a further one"
    assert verdict(chain(struct.pack(">BBHI", 58, 0, 0x0100, 7))) == 0, "of ICMP"
    kinds = [0]
    assert verdict(chain(bytes([60, 0, *bytes(6)]), bytes([17, 1, *bytes(14)]))) == WHOLE
    kinds = [51]
    assert verdict(chain(bytes([17, 4, *bytes(22)]))) == WHOLE
    kinds = [60]
    assert verdict(chain(bytes([44, 0, *bytes(6)]), struct.pack(">BBHI", 6, 0, 0x0100, 7))) == WHOLE


@pytest.mark.parametrize("outer", [VLAN, QINQ, 0x9100])
def test_tags_that_stand_in_the_packet_are_passed_over(outer: int) -> None:
    inner, noise = ip(A, B, 17, udp(A, B, NOISE)), ip(A, FAR, 17, udp(A, FAR, NOISE))
    assert verdict(struct.pack(">HH", 5, IPV4) + inner, protocol=outer) == WHOLE
    assert verdict(struct.pack(">HH", 5, IPV4) + noise, protocol=outer) == 0
    assert verdict(struct.pack(">HHHH", 5, VLAN, 6, IPV4) + inner, protocol=outer) == WHOLE
    assert verdict(struct.pack(">HHHH", 5, VLAN, 6, ARP) + inner, protocol=outer) == 0


def test_ip_options_do_not_hide_the_ports() -> None:
    packet = bytearray(ip(A, B, 17, udp(A, B, NOISE)))
    packet[0] = 0x47
    packet[20:20] = bytes(8)
    assert verdict(bytes(packet)) == WHOLE


def test_tunnels_pass_where_they_are_asked_for() -> None:
    carried = {
        "gre": ip(A, FAR, 47, bytes(40)),
        "erspan": ip(A, FAR, 47, bytes(40)),
        "ipip": ip(A, FAR, 4, bytes(40)),
        "vxlan": ip(A, FAR, 17, udp(A, "10.0.0.10:4789", bytes(40))),
        "geneve": ip(A, FAR, 17, udp(A, "10.0.0.10:6081", bytes(40))),
        "gtp": ip(A, FAR, 17, udp(A, "10.0.0.10:2152", bytes(40))),
    }
    for name, packet in carried.items():
        assert verdict(packet) == 0
        assert verdict(packet, of(tunnels=(name,))) == WHOLE
        assert verdict(ip(A, FAR, 17, udp(A, FAR, NOISE)), of(tunnels=(name,))) == 0
    assert verdict(ip(A6, FAR6, 41, bytes(40)), of(tunnels=("ipip",))) == WHOLE
    assert verdict(ip(A, FAR, 47, bytes(40), fragment=0x00B9), of(tunnels=("gre",))) == WHOLE
    session = struct.pack(">BBHHH", 0x11, 0, 1, 42, 0x0021) + ip(A, B, 17, udp(A, B, NOISE))
    assert verdict(session, protocol=PPPOE) == 0
    assert verdict(session, of(tunnels=("pppoe",)), protocol=PPPOE) == WHOLE


@pytest.mark.parametrize(("media", "rtp", "rtcp"), [("off", 0, 0), ("rtcp", 0, WHOLE), ("rtp", RTP_BYTES, WHOLE)])
def test_media_passes_as_it_is_asked_for_told_by_its_looks(media: MediaSetting, rtp: int, rtcp: int) -> None:
    for src, dst in ((A, FAR), (A6, FAR6)):
        assert verdict(ip(src, dst, 17, udp(src, dst, RTP)), of(media=media)) == rtp
        assert verdict(ip(src, dst, 17, udp(src, dst, RTP_MARKED)), of(media=media)) == rtp
        assert verdict(ip(src, dst, 17, udp(src, dst, RTCP)), of(media=media)) == rtcp
        assert verdict(ip(src, dst, 17, udp(src, dst, NOISE)), of(media=media)) == 0
        assert verdict(ip(src, dst, 17, udp(src, dst, INVITE)), of(media=media)) == WHOLE


def test_the_ports_of_t38_pass_whole_with_rtp_and_only_then() -> None:
    packet = ip(A, FAR, 17, udp(A, FAR, NOISE))
    assert verdict(packet, of(media="rtp", media_ports=("40000-40009",))) == WHOLE
    assert verdict(packet, of(media="rtp", media_ports=("50000",))) == 0
    assert verdict(packet, of(media="rtcp", media_ports=("40000-40009",))) == 0


def test_what_leaves_by_loopback_does_not_pass_since_it_comes_in_again() -> None:
    packet = ip(A, B, 17, udp(A, B, INVITE))
    assert verdict(packet, hardware=LOOPBACK) == WHOLE
    assert verdict(packet, hardware=LOOPBACK, kind=OUTGOING) == 0
    assert verdict(packet, kind=OUTGOING) == WHOLE


# tcpdump 4.99.3: tcpdump -ddd -y EN10MB 'port 5060 or port 5061 or port 5080'
TCPDUMP = """40 0 0 12;21 0 10 34525;48 0 0 20;21 2 0 132;21 1 0 6;21 0 23 17;40 0 0 54;21 20 0 5060;21 19 0 5061;21 18 0 5080;
40 0 0 56;21 16 14 5060;21 0 16 2048;48 0 0 23;21 2 0 132;21 1 0 6;21 0 12 17;40 0 0 20;69 10 0 8191;177 0 0 14;72 0 0 14;
21 6 0 5060;21 5 0 5061;21 4 0 5080;72 0 0 16;21 2 0 5060;21 1 0 5061;21 0 1 5080;6 0 0 262144;6 0 0 0"""


def _theirs() -> list[Instruction]:
    made = []
    for line in TCPDUMP.replace("\n", "").split(";"):
        op, jt, jf, k = map(int, line.split())
        made.append((op, jt, jf, k))
    return made


PORTS = st.one_of(st.sampled_from([5059, 5060, 5061, 5062, 5079, 5080, 5081]), st.integers(1, 65_535))


@given(
    source=PORTS,
    target=PORTS,
    carrier=st.sampled_from([6, 17, 132, 1, 47]),
    six=st.booleans(),
    fragment=st.sampled_from([0, 0x4000, 0x2000]),
)
def test_of_whole_packets_that_do_not_look_like_sip_the_filter_says_what_tcpdumps_says(
    source: int, target: int, carrier: int, six: bool, fragment: int
) -> None:
    ends = ("[2001:db8::1]", "[2001:db8::2]") if six else ("10.0.0.1", "10.0.0.2")
    src, dst = f"{ends[0]}:{source}", f"{ends[1]}:{target}"
    packet = ip(src, dst, carrier, udp(src, dst, NOISE), fragment=fragment)
    frame = bytes(12) + struct.pack(">H", IPV6 if six else IPV4) + packet
    assert bool(verdict(packet)) == bool(run(_theirs(), frame))


FULL = program(
    parse_ports([str(port) for port in range(5000, 5000 + 2 * RANGES_MAX, 2)]),
    ("gre", "erspan", "vxlan", "geneve", "ipip", "gtp", "pppoe"),
    "rtp",
    parse_ports([f"{port}-{port + 1}" for port in range(20_000, 20_000 + 4 * RANGES_MAX, 4)]),
)


@given(st.binary(max_size=120), st.sampled_from([IPV4, IPV6, VLAN, QINQ, PPPOE, ARP]), st.sampled_from([1, LOOPBACK]))
def test_whatever_the_octets_each_program_comes_to_a_verdict(packet: bytes, protocol: int, hardware: int) -> None:
    for made in (BASE, FULL):
        assert run(made, packet, protocol=protocol, hardware=hardware) in (0, WHOLE, RTP_BYTES)


@pytest.mark.parametrize("made", [BASE, FULL, program((), (), "off")], ids=["usual", "full", "no ports"])
def test_the_kernel_takes_the_program(made: tuple[Instruction, ...]) -> None:
    octets = b"".join(struct.pack("=HBBI", *one) for one in made)
    kept = ctypes.create_string_buffer(octets)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HP", len(made), ctypes.addressof(kept)))


def test_too_many_ports_are_told_and_not_cut() -> None:
    with pytest.raises(ValueError, match="65 ranges of ports are too many: at most 64"):
        parse_ports([str(port) for port in range(5000, 5000 + 2 * 65, 2)])
    assert len(FULL) < INSTRUCTIONS_MAX


def test_ports_and_ranges_that_touch_become_one() -> None:
    assert parse_ports(["5062", "5060-5061", "5080", "5070-5090"]) == ((5060, 5062), (5070, 5090))
    for wrong in ("", "0", "5080-5060", "70000", "sip", "-1", "5060-"):
        with pytest.raises(ValueError, match=r"no port and no range|no range of ports"):
            parse_ports([wrong])
