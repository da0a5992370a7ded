"""The generated office is what it says of itself, counted here in the bytes of the file."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

from benchmarks.sip_traffic import generate

ETHERNET_IPV4_UDP_BYTES = 14 + 20 + 8


def messages(path: Path) -> Iterator[tuple[int, bytes]]:
    """Time in ms and payload of every packet."""
    data, at = path.read_bytes(), 24
    while at < len(data):
        seconds, microseconds, length, _ = struct.unpack_from("<IIII", data, at)
        yield seconds * 1000 + microseconds // 1000, data[at + 16 + ETHERNET_IPV4_UDP_BYTES : at + 16 + length]
        at += 16 + length


def header(message: bytes, name: bytes) -> bytes:
    found = re.search(rb"\r\n" + name + rb": ([^\r]*)", message)
    assert found, message
    return found[1]


def test_what_is_expected_is_what_is_in_the_file(tmp_path: Path) -> None:
    expected = generate(tmp_path / "office.pcap", 5_000)
    all_messages = list(messages(tmp_path / "office.pcap"))
    invites = [text for _, text in all_messages if text.startswith(b"INVITE ")]
    answered, ended = {}, {}
    for at_ms, text in all_messages:
        call, sequence = header(text, b"Call-ID"), header(text, b"CSeq")
        if text.startswith(b"SIP/2.0 200") and sequence == b"1 INVITE":
            answered[call] = at_ms
        elif text.startswith(b"BYE "):
            ended[call] = at_ms
    registers = [header(text, b"From") for _, text in all_messages if text.startswith(b"REGISTER ")]
    assert len(all_messages) == expected.packets >= 5_000
    assert (len(invites), len(answered)) == (expected.calls, expected.answered)
    assert sum(ended[call] - answered[call] for call in answered) == expected.talk_ms
    assert len({line.partition(b";")[0] for line in registers}) == expected.registered
    assert 0.18 < 2 * len(registers) / len(all_messages) < 0.22


def test_messages_are_in_order_whole_and_as_large_as_real_ones(tmp_path: Path) -> None:
    generate(tmp_path / "office.pcap", 5_000)
    all_messages = list(messages(tmp_path / "office.pcap"))
    assert [at_ms for at_ms, _ in all_messages] == sorted(at_ms for at_ms, _ in all_messages)
    for _, text in all_messages:
        assert int(header(text, b"Content-Length")) == len(text.partition(b"\r\n\r\n")[2])
        assert not text.startswith(b"INVITE ") or 900 <= len(text) <= 1_100


def test_the_same_is_made_every_time(tmp_path: Path) -> None:
    assert generate(tmp_path / "a.pcap", 2_000) == generate(tmp_path / "b.pcap", 2_000)
    assert (tmp_path / "a.pcap").read_bytes() == (tmp_path / "b.pcap").read_bytes()
