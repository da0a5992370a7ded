"""Capture files: every format, link layer and address family gives the same SIP; what is damaged says where."""

import gzip
import io
import struct
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.net.frames import CHUNK_BYTES, Damaged, NotACapture, frames
from collectors.sip.capture import CaptureReader
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from tests.collectors.sip import flows
from tests.collectors.sip.flows import PBX, Exchange, ethernet, frame_of, ip, pcap, pcapng, phone, tcp, track, udp

CALL = Exchange("a", phone(101), PBX, "101", "102").talk(0, 5, 65)
FRAMES = [(packet.at_us, frame_of(packet)) for packet in CALL]
CALL6 = Exchange("a", "[2001:db8::1]:5060", "[2001:db8::2]:5060", "101", "102").talk(0, 5, 65)


def read(data: bytes, limits: Limits | None = None) -> tuple[list[SipPacket], CaptureReader]:
    reader = CaptureReader(io.BytesIO(data), limits or Limits())
    return list(reader), reader


# --- files


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nanoseconds", [False, True])
def test_pcap_in_both_byte_orders_and_resolutions(order: str, nanoseconds: bool) -> None:
    assert read(pcap(FRAMES, order=order, nanoseconds=nanoseconds))[0] == CALL


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_in_both_byte_orders(order: str) -> None:
    assert read(pcapng(FRAMES, order=order))[0] == CALL


def option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def test_pcapng_counts_time_as_its_interface_says() -> None:
    at_us, frame = FRAMES[0]
    nano = flows.section() + flows.interface(options=option(9, b"\x09")) + flows.enhanced(at_us * 1000, frame)
    binary = (
        flows.section()
        + flows.interface(options=option(9, b"\x94"))
        + flows.enhanced((at_us << 20) // 1_000_000, frame)
    )
    shifted = flows.interface(options=option(14, struct.pack("<q", 100)))
    offset = flows.section() + shifted + flows.enhanced(at_us - 100_000_000, frame)
    assert read(nano)[0][0].at_us == at_us
    assert abs(read(binary)[0][0].at_us - at_us) <= 1
    assert read(offset)[0][0].at_us == at_us


def test_pcapng_simple_packets_and_unknown_blocks_and_a_second_section() -> None:
    (at_us, first), (_, second) = FRAMES[:2]
    simple = flows.block(3, struct.pack("<I", len(second)) + second)
    data = pcapng([(at_us, first)]) + flows.block(0x0BAD, b"whatever") + simple + pcapng(FRAMES[2:3], order=">")
    assert [packet.payload for packet in read(data)[0]] == [packet.payload for packet in CALL[:3]]
    assert read(data)[0][1].at_us == at_us


def test_pcapng_with_two_interfaces_of_different_kinds() -> None:
    raw = ip(phone(101), PBX, 17, udp(phone(101), PBX, CALL[0].payload))
    data = flows.section() + flows.interface(1) + flows.interface(101)
    data += flows.enhanced(CALL[0].at_us, FRAMES[0][1]) + flows.enhanced(CALL[0].at_us, raw, number=1)
    assert read(data)[0] == [CALL[0], CALL[0]]


def test_a_file_that_is_larger_than_a_chunk_is_read_whole() -> None:
    many = FRAMES * (3 * CHUNK_BYTES // sum(len(frame) for _, frame in FRAMES))
    assert sum(1 for _ in frames(io.BytesIO(pcap(many)))) == len(many)


def test_what_is_no_capture_is_told_at_once() -> None:
    for data in (b"", b"\xd4", b"INVITE sip:a@b SIP/2.0\r\n"):
        with pytest.raises(NotACapture):
            read(data)


def until_damage(data: bytes) -> tuple[int, Damaged]:
    reader = CaptureReader(io.BytesIO(data))
    with pytest.raises(Damaged) as caught:
        list(reader)
    return reader.packets, caught.value


def test_a_file_that_breaks_off_gives_what_stands_before_and_says_where() -> None:
    whole = pcap(FRAMES)
    last = len(whole) - len(FRAMES[-1][1]) - 16
    assert until_damage(whole[:-1])[0] == len(CALL) - 1
    assert until_damage(whole[:-1])[1].offset == last
    assert until_damage(whole[: last + 7])[1].offset == last
    assert until_damage(pcapng(FRAMES)[:-1])[0] == len(CALL) - 1


def test_a_length_that_cannot_be_is_damage_and_no_huge_read() -> None:
    head = struct.pack("<IIII", 1, 0, 0xFFFFFFF0, 60)
    seen, fault = until_damage(pcap(FRAMES[:2]) + head + bytes(1000))
    assert (seen, "frame of 4294967280" in str(fault)) == (2, True)
    block = struct.pack("<II", 6, 0x7FFFFFFC)
    assert until_damage(pcapng(FRAMES[:2]) + block + bytes(1000))[0] == 2


def test_a_packet_of_an_interface_that_was_never_told_is_damage() -> None:
    assert until_damage(flows.section() + flows.enhanced(1, FRAMES[0][1]))[0] == 0


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from([pcap(FRAMES[:1]), pcapng(FRAMES[:1]), b""]))
def test_no_file_raises_anything_but_a_capture_error(tail: bytes, head: bytes) -> None:
    try:
        read(head + tail)
    except (NotACapture, Damaged):
        return


# --- compressed


@pytest.mark.parametrize("data", [pcap(FRAMES), pcapng(FRAMES)], ids=["pcap", "pcapng"])
def test_a_compressed_capture_is_read_as_what_is_in_it(data: bytes) -> None:
    assert read(gzip.compress(data))[0] == CALL
    half = len(data) // 2
    members = gzip.compress(data[:half]) + gzip.compress(data[half:]) + bytes(512)
    assert read(members)[0] == CALL


def test_a_compressed_capture_of_many_chunks_is_read_whole() -> None:
    many = FRAMES * (5 * CHUNK_BYTES // sum(len(frame) for _, frame in FRAMES))
    for level in (0, 9):
        assert sum(1 for _ in frames(io.BytesIO(gzip.compress(pcap(many), level)))) == len(many)


@settings(deadline=None)
@given(st.data())
def test_a_compressed_capture_that_breaks_off_or_is_broken_is_damaged(data: st.DataObject) -> None:
    whole = gzip.compress(pcap(FRAMES), mtime=0)
    cut = data.draw(st.integers(4, len(whole) - 1))
    with pytest.raises((Damaged, NotACapture)):
        read(whole[:cut])
    at, octet = data.draw(st.integers(len(whole) - 8, len(whole) - 1)), data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        read(whole[:at] + bytes([whole[at] ^ octet]) + whole[at + 1 :])


def test_what_is_compressed_and_no_capture_is_told() -> None:
    with pytest.raises(NotACapture):
        read(gzip.compress(b"INVITE sip:a@b SIP/2.0\r\n"))


# --- layers

PACKET = ip(phone(101), PBX, 17, udp(phone(101), PBX, CALL[0].payload))
IPV4 = b"\x08\x00"

LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "ethernet": (1, ethernet),
    "vlan": (1, lambda packet: ethernet(packet, [(0x8100, 100)])),
    "qinq": (1, lambda packet: ethernet(packet, [(0x88A8, 200), (0x8100, 100)])),
    "old qinq": (1, lambda packet: ethernet(packet, [(0x9100, 200), (0x8100, 100)])),
    "padded": (1, lambda packet: ethernet(packet, padding=20)),
    "linux cooked": (113, lambda packet: bytes(14) + IPV4 + packet),
    "linux cooked with vlan": (113, lambda packet: bytes(14) + b"\x81\x00\x00\x64" + IPV4 + packet),
    "linux cooked 2": (276, lambda packet: IPV4 + bytes(18) + packet),
    "raw": (101, lambda packet: packet),
    "raw IPv4": (228, lambda packet: packet),
    "BSD loopback": (0, lambda packet: b"\x02\x00\x00\x00" + packet),
    "OpenBSD loopback": (108, lambda packet: b"\x00\x00\x00\x02" + packet),
    "ERF": (197, lambda packet: bytes(8) + b"\x02" + bytes(7) + b"\0\0" + ethernet(packet)),
    "ERF with extension": (197, lambda packet: bytes(8) + b"\x82" + bytes(7) + bytes(8) + b"\0\0" + ethernet(packet)),
}


@pytest.mark.parametrize("link", LINKS)
def test_every_link_layer_gives_the_same_packet(link: str) -> None:
    number, wrap = LINKS[link]
    assert read(pcap([(CALL[0].at_us, wrap(PACKET))], link=number))[0] == CALL[:1]


def test_ipv6_gives_bracketed_addresses() -> None:
    packets = [(packet.at_us, frame_of(packet)) for packet in CALL6]
    assert read(pcap(packets))[0] == CALL6
    assert track(read(pcap(packets))[0]).call.talk_ms == 60_000


def test_ipv6_extension_headers_are_stepped_over() -> None:
    src, dst = CALL6[0].src, CALL6[0].dst
    hops = bytes([60, 0, 1, 4, 0, 0, 0, 0])
    options = bytes([44, 1]) + bytes(14)
    atomic = bytes([17, 0, 0, 0, 0, 0, 0, 9])
    packet = ip(src, dst, 17, udp(src, dst, CALL6[0].payload), extensions=hops + options + atomic)
    assert read(pcap([(CALL6[0].at_us, ethernet(packet))]))[0] == CALL6[:1]


def test_ipv4_options_are_stepped_over() -> None:
    head = bytearray(PACKET[:20])
    head[0] = 0x46
    head[2:4] = (len(PACKET) + 4).to_bytes(2, "big")
    packet = bytes(head) + b"\x94\x04\x00\x00" + PACKET[20:]
    assert read(pcap([(CALL[0].at_us, ethernet(packet))]))[0] == CALL[:1]


def not_understood(frame: bytes, link: int = 1) -> dict[str, int]:
    packets, reader = read(pcap([(1, frame)], link=link))
    assert packets == []
    return dict(reader.counters)


def test_what_is_not_understood_is_counted_by_name() -> None:
    segment = udp(phone(101), PBX, CALL[0].payload)
    assert not_understood(ethernet(ip(phone(101), PBX, 1, segment))) == {"other_protocol": 1}
    assert not_understood(b"\xff" * 14 + bytes(40)) == {"not_ip": 1}
    assert not_understood(PACKET, link=147) == {"link_type": 1}
    assert not_understood(ethernet(PACKET)[:30]) == {"cut_off": 1}


def test_a_frame_cut_off_by_the_snap_length_is_read_as_far_as_it_goes() -> None:
    packets, reader = read(pcap([(1, ethernet(PACKET, [(0x8100, 1)])[:-50])]))
    assert packets[0].payload == CALL[0].payload[:-50]
    assert reader.counters["cut_off"] == 1


@settings(deadline=None)
@given(st.binary(max_size=120), st.sampled_from([0, 1, 101, 113, 197, 276, 999]))
def test_no_frame_raises(frame: bytes, link: int) -> None:
    read(pcap([(1, frame)], link=link))


def test_media_and_other_datagrams_stay_out_and_are_counted() -> None:
    rtp = ethernet(ip(phone(101), PBX, 17, udp("10.0.1.101:16384", "10.0.0.10:16384", b"\x80\x00" + bytes(170))))
    hep = ethernet(
        ip(phone(101), PBX, 17, udp("10.0.0.10:5000", "10.0.0.9:9060", b"HEP3\x02\x00INVITE sip:a@b SIP/2.0\r\n"))
    )
    packets, reader = read(pcap([(1, rtp), (2, hep)]))
    assert (packets, reader.counters["other_udp"]) == ([], 2)


# --- TCP

A, B = "10.0.1.101:40001", "10.0.0.10:5060"
SYN, FIN, PUSH = 2, 1, 0x18
STREAM = [Exchange(name, A, B, "101", "102", transport="tcp").invite(0).payload for name in ("a", "b", "c")]
BYTES = b"".join(STREAM)
FIRST = 4_294_967_000  # so that the sequence number wraps round within the stream


def stream(parts: Iterable[tuple[int, bytes]], syn: bool = True, fin: bool = True) -> bytes:
    """A capture of one direction; `parts` are places in the stream and bytes."""
    segments = [tcp(A, B, FIRST - 1, b"", SYN)] if syn else []
    segments += [tcp(A, B, FIRST + at, data, PUSH) for at, data in parts]
    segments += [tcp(A, B, FIRST + len(BYTES), b"", FIN)] if fin else []
    return pcap([(n, ethernet(ip(A, B, 6, segment))) for n, segment in enumerate(segments)])


def payloads(data: bytes, limits: Limits | None = None) -> list[bytes]:
    return [packet.payload for packet in read(data, limits)[0]]


def cut(size: int) -> list[tuple[int, bytes]]:
    return [(at, BYTES[at : at + size]) for at in range(0, len(BYTES), size)]


def test_messages_of_a_stream_are_framed_by_their_content_length() -> None:
    assert payloads(stream([(0, BYTES)])) == STREAM
    packet = read(stream([(0, BYTES)]))[0][0]
    assert (packet.transport, packet.src, packet.dst) == ("tcp", A, B)


@pytest.mark.parametrize("size", [1, 7, 100, 536, 1460])
def test_segments_of_any_size(size: int) -> None:
    assert payloads(stream(cut(size))) == STREAM


def test_segments_in_any_order() -> None:
    parts = cut(100)
    assert payloads(stream([parts[0], *reversed(parts[1:])])) == STREAM
    assert payloads(stream([parts[1], parts[0], *parts[3:], parts[2]])) == STREAM


def test_retransmitted_and_overlapping_segments() -> None:
    parts = cut(100)
    doubled = [part for part in parts for _ in (0, 1)]
    overlapping = [(at, BYTES[max(0, at - 30) : at + 100]) for at, _ in parts]
    overlapping = [(max(0, at - 30), data) for (at, _), (_, data) in zip(parts, overlapping, strict=True)]
    assert payloads(stream(doubled)) == STREAM
    assert payloads(stream(overlapping)) == STREAM
    assert (
        payloads(stream([parts[0], (100, BYTES[100:400]), (150, BYTES[150:900]), (0, BYTES[:950]), (900, BYTES[900:])]))
        == STREAM
    )


def test_a_connection_that_was_joined_in_its_midst_begins_with_the_next_start_line() -> None:
    middle = len(STREAM[0]) // 2
    assert payloads(stream([(middle, BYTES[middle:])], syn=False)) == STREAM[1:]
    assert payloads(stream([part for part in cut(100) if part[0] >= 300], syn=False)) == STREAM[1:]


def test_a_segment_that_was_never_captured_costs_its_message_only() -> None:
    parts = cut(100)
    lost = (len(STREAM[0]) + 200) // 100
    left = [part for number, part in enumerate(parts) if number != lost]
    packets, reader = read(stream(left))
    assert [packet.payload for packet in packets] == [STREAM[0], STREAM[2]]
    assert reader.counters["tcp_gaps"] == 1


def test_keep_alives_between_messages_are_skipped() -> None:
    data = b"\r\n\r\n" + STREAM[0] + b"\r\n\r\n\r\n" + STREAM[1]
    assert payloads(stream([(0, data)])) == STREAM[:2]


def test_a_message_without_a_usable_length_does_not_take_the_next_one_with_it() -> None:
    broken = STREAM[0].replace(b"Content-Length: ", b"Content-Length: bad")
    first, second = payloads(stream([(0, broken + STREAM[1])]))
    assert first.startswith(b"INVITE")
    assert second == STREAM[1]


def test_a_length_beyond_the_limit_is_given_up_and_the_stream_goes_on() -> None:
    greedy = STREAM[0].replace(b"Content-Length: ", b"Content-Length: 9")
    filler = b"x" * 3000
    data = greedy + filler
    capture = stream([(0, data), (len(data), STREAM[1] + STREAM[2])])
    reader_limits = Limits(message_bytes=2_000)
    packets, reader = read(capture, reader_limits)
    assert [packet.payload for packet in packets] == STREAM[1:]
    assert reader.counters["stream_messages_lost"] == 1


def test_a_stream_that_is_not_sip_is_left_alone_and_what_waits_is_bounded() -> None:
    web = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + b"z" * 20_000
    packets, reader = read(stream([(at, web[at : at + 1000]) for at in range(0, len(web), 1000)], fin=False))
    assert packets == []
    assert reader.counters["tcp_other_streams"] == 1


def test_more_streams_than_the_limit_push_the_oldest_out() -> None:
    frames_ = [(n, ethernet(ip(A, B, 6, tcp(f"10.0.1.101:{40000 + n}", B, 1, STREAM[0][:100])))) for n in range(20)]
    assert read(pcap(frames_), Limits(streams=8))[1].counters["tcp_streams_evicted"] == 12


@settings(deadline=None)
@given(st.data())
def test_any_order_repetition_and_cut_of_segments_gives_the_messages_once(data: st.DataObject) -> None:
    edges = sorted(data.draw(st.sets(st.integers(1, len(BYTES) - 1), max_size=12)))
    bounds = [0, *edges, len(BYTES)]
    parts = [(begin, BYTES[begin:end]) for begin, end in pairwise(bounds)]
    extra = data.draw(st.lists(st.sampled_from(parts), max_size=4))
    order = data.draw(st.permutations([*parts, *extra]))
    assert payloads(stream(order)) == STREAM


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**32), st.integers(0, 63), st.binary(max_size=40)), max_size=20))
def test_no_segments_raise(segments: list[tuple[int, int, bytes]]) -> None:
    made = [tcp(A, B, sequence, data, flags) for sequence, flags, data in segments]
    read(pcap([(n, ethernet(ip(A, B, 6, segment))) for n, segment in enumerate(made)]))
