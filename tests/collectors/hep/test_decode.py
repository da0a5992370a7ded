"""A HEP datagram gives the SIP packet in it, or says why it gives none."""

import gzip
import socket
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.hep.decode import (
    KEEPALIVE,
    PAYLOAD_MAX_BYTES,
    SIP,
    Content,
    Malformed,
    decode,
    endpoint,
    packet_length,
    reject,
)
from tests.collectors.hep.packets import OPTIONS, RECEIVED_US, at, chunk, ends4, hep3, sip

SAMPLES = Path(__file__).resolve().parents[3] / "../shared/samples/cdr/hep3"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample corpus is not beside the checkout")


def reason(found: object) -> str:
    assert isinstance(found, Malformed), found
    return found.reason


def test_hep3_gives_the_time_the_ends_and_the_message() -> None:
    expected = Content(1_759_999_990_250_000, 2001, SIP, "udp", "192.0.2.9:5070", "192.0.2.1:5060", OPTIONS)
    assert decode(sip(OPTIONS)) == expected


def test_ipv6_over_tcp() -> None:
    address = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    ends = chunk(1, b"\x0a") + chunk(2, b"\x06") + chunk(5, address) + chunk(6, address[:-1] + b"\x02")
    ports = chunk(7, struct.pack(">H", 5060)) + chunk(8, struct.pack(">H", 40_000))
    found = decode(hep3(ends, ports, at(1_759_999_990), chunk(11, b"\x01"), chunk(15, OPTIONS)))
    expected = Content(1_759_999_990_000_000, 0, SIP, "tcp", "[2001:db8::1]:5060", "[2001:db8::2]:40000", OPTIONS)
    assert found == expected


def test_the_order_of_chunks_and_those_of_vendors_do_not_matter() -> None:
    mixed = hep3(chunk(15, OPTIONS), chunk(11, b"\x01"), chunk(11, b"\x05", vendor=9), at(1_759_999_990), ends4())
    found = decode(mixed)
    assert isinstance(found, Content)
    assert found.payload == OPTIONS


def test_chunks_that_the_meter_does_not_need_are_passed_over() -> None:
    extra = chunk(17, b"1@192.0.2.9") + chunk(18, b"\0\x64") + chunk(19, b"pbx-1") + chunk(0x7777, b"?")
    found = decode(hep3(ends4(), extra, at(1_759_999_990), chunk(11, b"\x01"), chunk(15, OPTIONS)))
    assert isinstance(found, Content)


def test_a_packet_without_a_time_says_so() -> None:
    found = decode(hep3(ends4(), chunk(11, b"\x01"), chunk(15, OPTIONS)))
    assert isinstance(found, Content)
    assert found.at_us == 0


@pytest.mark.parametrize("squeeze", [zlib.compress, gzip.compress])
def test_a_compressed_payload_is_unpacked(squeeze: object) -> None:
    packed = squeeze(OPTIONS)  # type: ignore[operator]
    found = decode(hep3(ends4(), chunk(11, b"\x01"), chunk(16, packed)))
    assert isinstance(found, Content)
    assert found.payload == OPTIONS


def test_a_compressed_payload_cannot_fill_the_memory() -> None:
    bomb = zlib.compress(bytes(PAYLOAD_MAX_BYTES * 500))
    assert reason(decode(hep3(ends4(), chunk(11, b"\x01"), chunk(16, bomb)))) == "too_long"


@pytest.mark.parametrize("packed", [b"no zlib at all", zlib.compress(OPTIONS)[:-5], b""])
def test_a_compressed_payload_that_is_broken_is_told(packed: bytes) -> None:
    assert reason(decode(hep3(ends4(), chunk(11, b"\x01"), chunk(16, packed)))) == "compression"


@pytest.mark.parametrize("payload", [b"", b"\r\n\r\n", b"\0\0\0\0", b"jaK\0"])
def test_a_few_bytes_are_a_sign_of_life(payload: bytes) -> None:
    assert decode(sip(payload)) is KEEPALIVE


def test_a_keep_alive_chunk_without_a_payload_is_a_sign_of_life() -> None:
    assert decode(hep3(chunk(12, b"\0\0\0\1"), chunk(13, b"\0\x1e"))) is KEEPALIVE


def test_what_is_no_sip_needs_no_ends() -> None:
    found = decode(hep3(chunk(11, b"\x64"), chunk(15, b"a log line"), chunk(17, b"1@192.0.2.9")))
    assert found == Content(0, 0, 100, "udp", "", "", b"a log line", b"1@192.0.2.9")


@pytest.mark.parametrize("kind", [1, 5, 35])
def test_a_compressed_payload_of_any_protocol_is_unpacked(kind: int) -> None:
    found = decode(hep3(ends4(), chunk(11, bytes([kind])), chunk(16, zlib.compress(b"payload"))))
    assert isinstance(found, Content)
    assert (found.protocol, found.payload) == (kind, b"payload")


def test_the_right_key_opens() -> None:
    assert isinstance(decode(sip(OPTIONS, key=b"secret"), b"secret"), Content)


@pytest.mark.parametrize("key", [None, b"", b"secre", b"secret ", b"Secret"])
def test_any_other_key_does_not(key: bytes | None) -> None:
    assert reason(decode(sip(OPTIONS, key=key), b"secret")) == "auth_failed"


def test_a_sign_of_life_needs_the_key_too() -> None:
    assert reason(decode(sip(b"\r\n\r\n"), b"secret")) == "auth_failed"


def test_where_no_key_is_asked_for_any_is_accepted() -> None:
    assert isinstance(decode(sip(OPTIONS, key=b"whatever")), Content)


BROKEN = {
    "not_hep": b"OPTIONS sip:101@192.0.2.1 SIP/2.0\r\n\r\n",
    "truncated": sip(OPTIONS)[:-1],
    "chunk_length": hep3(struct.pack(">HHH", 0, 11, 5) + b"\x01\0\0\0\0\0\0"),
    "chunk_header": hep3(ends4(), b"\0\0\0"),
    "no_type": hep3(ends4(), chunk(15, OPTIONS)),
    "no_address": hep3(chunk(3, b"\1\2\3\4"), chunk(11, b"\x01"), chunk(15, OPTIONS)),
    "bad_address": hep3(chunk(3, b"\1\2\3"), chunk(4, b"\1\2\3\4"), chunk(11, b"\x01"), chunk(15, OPTIONS)),
}


@pytest.mark.parametrize("expected", BROKEN)
def test_what_is_broken_is_told_apart(expected: str) -> None:
    assert reason(decode(BROKEN[expected])) == expected


def test_a_chunk_that_reaches_beyond_the_packet_is_told_with_its_place() -> None:
    whole = hep3(chunk(11, b"\x01"), struct.pack(">HHH", 0, 15, 60_000) + OPTIONS)
    assert decode(whole) == Malformed("chunk_length", "chunk 15 says that it is 60000 bytes long", 13)


@pytest.mark.parametrize("data", [b"", b"H", b"HEP3", b"HEP3\0", b"HEP3\0\0", b"\x01", b"\x02\x10\x02\x11", b"\x00"])
def test_short_datagrams_are_malformed(data: bytes) -> None:
    assert isinstance(decode(data), Malformed)


def old(version: int, family: int, addresses: bytes, time: bytes = b"") -> bytes:
    head = struct.pack(">BBBBHH", version, 8 + len(addresses), family, 17, 5060, 5062)
    return head + addresses + time + OPTIONS


def test_hep1_has_no_time_of_its_own() -> None:
    found = decode(old(1, 2, bytes([192, 0, 2, 9, 192, 0, 2, 1])))
    assert found == Content(0, 0, SIP, "udp", "192.0.2.9:5060", "192.0.2.1:5062", OPTIONS)


def test_hep2_has_the_senders_time_in_little_endian() -> None:
    time = struct.pack("<IIHxx", 1_759_999_990, 250_000, 2001)
    found = decode(old(2, 10, bytes(15) + b"\1" + bytes(15) + b"\2", time))
    assert found == Content(1_759_999_990_250_000, 2001, SIP, "udp", "[::1]:5060", "[::2]:5062", OPTIONS)


def test_hep1_and_2_cannot_carry_a_key() -> None:
    assert reason(decode(old(1, 2, bytes(8)), b"secret")) == "auth_failed"


def test_hep1_with_a_wrong_length_is_not_hep() -> None:
    assert reason(decode(b"\x01\xff" + old(1, 2, bytes(8))[2:])) == "not_hep"


def test_a_reject_shows_the_bytes_but_no_key() -> None:
    datagram = sip(b"Xsecret", key=b"guess")
    found = decode(datagram, b"secret")
    assert isinstance(found, Malformed)
    kept = reject(datagram, found, "journal 0:16", RECEIVED_US, b"secret")
    assert (kept.reason, kept.position, kept.at_ms) == ("hep_auth_failed", "journal 0:16 byte 0", RECEIVED_US // 1000)
    assert kept.excerpt.startswith(b"HEP3")
    assert b"secret" not in kept.excerpt
    assert b"guess" not in kept.excerpt


def test_the_same_broken_datagram_has_the_same_key() -> None:
    fault = Malformed("truncated", "short", 4)
    first = reject(b"HEP3", fault, "a", 1)
    assert first.key == reject(b"HEP3", fault, "b", 2).key
    assert first.key != reject(b"HEP3.", fault, "a", 1).key


def test_hep3_tells_its_own_length() -> None:
    packet = sip(OPTIONS)
    assert packet_length(packet + b"rest") == len(packet)
    assert packet_length(memoryview(packet)) == len(packet)
    assert packet_length(b"HEP3\0\1") == 0
    assert packet_length(b"GET / HTTP/1.1") == 0


def test_endpoints_are_written_as_sip_compares_them() -> None:
    assert endpoint(b"\x0a\0\0\1", b"\x13\xc4") == "10.0.0.1:5060"
    assert endpoint(bytes(15) + b"\1", b"") == "[::1]:0"


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    for head in (b"", b"HEP3", b"HEP3\0" + bytes([len(data) % 256]), b"\x01\x10\x02\x11", b"\x02\x28\x0a\x11"):
        found = decode(head + data, data[:2])
        if isinstance(found, Malformed):
            reject(head + data, found, "x", RECEIVED_US, data[:2])


CHUNKS = st.tuples(st.integers(0, 20), st.binary(max_size=40), st.sampled_from([0, 0, 0, 1]))


@given(st.lists(CHUNKS, max_size=20), st.integers(-7, 7))
def test_no_chunks_make_it_raise(chunks: list[tuple[int, bytes, int]], off: int) -> None:
    packet = bytearray(hep3(*(chunk(kind, data, vendor) for kind, data, vendor in chunks)))
    total = struct.unpack(">H", packet[4:6])[0] + off
    packet[4:6] = struct.pack(">H", max(0, total))
    decode(bytes(packet))


@given(st.integers(0, 200), st.integers(0, 255))
def test_one_wrong_byte_never_makes_it_raise(place: int, value: int) -> None:
    packet = bytearray(sip(OPTIONS, key=b"k"))
    packet[place % len(packet)] = value
    decode(bytes(packet))
    decode(bytes(packet[: place % len(packet)]))


@needs_samples
@pytest.mark.samples
def test_a_real_hep3_packet() -> None:
    found = decode((SAMPLES / "heplify_hep3_sip_200ok.bin").read_bytes())
    assert isinstance(found, Content)
    assert (found.at_us, found.transport) == (1_520_606_104_119_540, "udp")
    assert (found.src, found.dst) == ("192.168.247.250:5060", "192.168.245.250:5060")
    assert found.payload.startswith(b"SIP/2.0 200 OK\r\nCall-ID: BC099884@6dfcffe8\r\n")
    assert len(found.payload) == 0x2A7 - 6


@needs_samples
@pytest.mark.samples
def test_a_real_hep1_packet() -> None:
    found = decode((SAMPLES / "heplify_hep1or2_sip_200ok.bin").read_bytes())
    assert isinstance(found, Content)
    assert (found.src, found.dst, len(found.payload)) == ("10.0.1.100:5060", "192.168.0.254:5060", 535 - 16)
