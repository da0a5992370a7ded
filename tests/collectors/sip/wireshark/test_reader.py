"""Capture files through tshark: the messages are those of our own reader, octet for octet, and more where keys are given."""

import os
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from collectors.net.frames import Damaged, NotACapture
from collectors.sip.capture import CaptureReader
from collectors.sip.packets import SipPacket
from collectors.sip.wireshark.reader import TsharkReader
from tests.collectors.sip.flows import (
    PBX,
    Exchange,
    ethernet,
    frame_of,
    in_order,
    ip,
    pcap,
    phone,
    register,
    tcp,
    track,
    udp,
)
from tests.collectors.sip.wireshark.tls import capture_of

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark (Debian: tshark)")

CALL = Exchange("c1", phone(101), PBX, "101", "300")
PACKETS = in_order(CALL.talk(0, 1, 5), register(2, "101"))


def written(folder: Path, frames: list[tuple[int, bytes]]) -> Path:
    path = folder / "office.pcap"
    path.write_bytes(pcap(frames))
    return path


def through_tshark(
    path: Path, decode_as: tuple[str, ...] = (), keylog: str = ""
) -> tuple[list[SipPacket], TsharkReader]:
    with path.open("rb", buffering=0) as file:
        reader = TsharkReader(file, decode_as, keylog)
        packets = list(reader)
        assert reader.offset == path.stat().st_size
        return packets, reader


def by_ourselves(path: Path) -> list[SipPacket]:
    with path.open("rb") as file:
        return list(CaptureReader(file))


def test_datagrams_come_octet_for_octet_with_their_times_and_ends(tmp_path: Path) -> None:
    path = written(tmp_path, [(packet.at_us, frame_of(packet)) for packet in PACKETS])
    packets, reader = through_tshark(path)
    assert packets == PACKETS == by_ourselves(path)
    assert (reader.packets, reader.at_us) == (len(PACKETS), PACKETS[-1].at_us)


def test_messages_of_a_stream_come_whole_however_they_lie_in_segments(tmp_path: Path) -> None:
    """One in two segments, three in one, the end of one with the beginning of the next."""
    call = Exchange("c2", phone(101), PBX, "101", "300", transport="tcp")
    invite, trying, ringing, accept, ack, bye, bye_ok = call.talk(0, 1, 5)
    mine, theirs = 1000, 9000
    frames = []
    for packet, data in (
        (invite, invite.payload[:300]),
        (invite, invite.payload[300:]),
        (accept, trying.payload + ringing.payload + accept.payload),
        (ack, ack.payload + bye.payload[:100]),
        (bye, bye.payload[100:]),
        (bye_ok, bye_ok.payload),
    ):
        sequence = mine if packet.src == call.src else theirs
        frames.append(
            (packet.at_us, ethernet(ip(packet.src, packet.dst, 6, tcp(packet.src, packet.dst, sequence, data))))
        )
        if packet.src == call.src:
            mine += len(data)
        else:
            theirs += len(data)
    path = written(tmp_path, frames)
    packets, _ = through_tshark(path)
    assert [packet.payload for packet in packets] == [packet.payload for packet in call.talk(0, 1, 5)]
    assert packets == by_ourselves(path)


def test_what_an_icmp_error_quotes_is_no_message(tmp_path: Path) -> None:
    invite = CALL.invite(0)
    quoted = frame_of(invite)[14:]
    error = ethernet(ip(PBX, phone(101), 1, bytes((3, 3, 0, 0, 0, 0, 0, 0)) + quoted))
    packets, reader = through_tshark(written(tmp_path, [(invite.at_us, frame_of(invite)), (invite.at_us + 9, error)]))
    assert (packets, reader.packets) == ([invite], 2)


def test_the_ends_are_those_of_the_innermost_headers(tmp_path: Path) -> None:
    """IPv6 in IPv4 (RFC 4213)."""
    inner = Exchange("c3", "[2001:db8::1]:5060", "[2001:db8::2]:5070", "101", "300").invite(0)
    packet = ip(inner.src, inner.dst, 17, udp(inner.src, inner.dst, inner.payload))
    path = written(tmp_path, [(inner.at_us, ethernet(ip("192.0.2.1:0", "192.0.2.2:0", 41, packet)))])
    assert through_tshark(path)[0] == [inner]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def test_calls_over_tls_are_read_with_the_key_log_alone_and_counted_as_unreadable_without(
    version: ssl.TLSVersion, tmp_path: Path
) -> None:
    call = Exchange("c4", "10.0.1.1:40000", "10.0.0.10:5061", "101", "300", transport="tls")
    path, keylog = capture_of(tmp_path, call.talk(0, 1, 5), version)
    packets, reader = through_tshark(path, keylog=str(keylog))
    assert packets == call.talk(0, 1, 5)
    assert reader.counters["tls_unreadable"] == 0
    assert track(packets).call.talk_ms == 4_000
    packets, reader = through_tshark(path)
    assert packets == []
    assert reader.counters["tls_unreadable"] >= len(call.talk(0, 1, 5))


def test_tls_on_a_port_of_ones_own_is_read_where_it_is_named(tmp_path: Path) -> None:
    call = Exchange("c5", "10.0.1.1:40000", "10.0.0.10:7443", "101", "300", transport="tls")
    path, keylog = capture_of(tmp_path, call.talk(0, 1, 5), ssl.TLSVersion.TLSv1_3)
    rules = ("tcp.port==7443,tls", "tls.port==7443,sip")
    assert through_tshark(path, rules, str(keylog))[0] == call.talk(0, 1, 5)


def test_a_file_that_breaks_off_gives_what_stands_before_and_one_that_is_no_capture_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, [(packet.at_us, frame_of(packet)) for packet in PACKETS])
    path.write_bytes(path.read_bytes()[:-5])
    packets = []
    with path.open("rb", buffering=0) as file, pytest.raises(Damaged, match="cut short in the middle of a packet"):
        packets.extend(TsharkReader(file))
    text = tmp_path / "notes.pcap"
    text.write_text("INVITE sip:300@office.example SIP/2.0\r\n")
    with text.open("rb", buffering=0) as file, pytest.raises(NotACapture):
        list(TsharkReader(file))


def test_nothing_is_left_behind_not_even_by_a_reading_that_is_given_up(tmp_path: Path) -> None:
    path = written(tmp_path, [(packet.at_us, frame_of(packet)) for packet in PACKETS * 200])
    script = (
        "import sys\n"
        "from collectors.sip.wireshark.reader import TsharkReader\n"
        "packets = iter(TsharkReader(open(sys.argv[1], 'rb', buffering=0)))\n"
        "print(next(packets).src)\n"
        "if sys.argv[2] == 'kill':\n"
        "    import os, signal\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "packets.close()\n"
    )
    temporary = tmp_path / "temporary"
    for end in ("leave", "kill"):
        temporary.mkdir(exist_ok=True)
        process = subprocess.run(
            [sys.executable, "-c", script, str(path), end],
            env={**os.environ, "TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert process.stdout.strip() == phone(101), process.stderr
        until = time.monotonic() + 3  # a killed process frees its memory first
        while running_on(temporary) and time.monotonic() < until:
            time.sleep(0.05)
        assert not running_on(temporary), end
    assert len(list(temporary.iterdir())) == 1, "a killed process cannot clear its one folder away; one that ends does"


def running_on(folder: Path) -> list[str]:
    """Command lines of processes whose home lies in `folder`."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HOME={folder}".encode() in environment.read_bytes():
                found.append((environment.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
