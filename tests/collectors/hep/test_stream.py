"""A stream of HEP: cut anywhere, stored anywhere, read again, it gives the same records."""

import json
import zlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from collectors.hep.stream import FAULTS_MAX, HepStream
from collectors.io.origin import CHUNK, DATAGRAM, END, Origin
from collectors.records import Record
from collectors.sip.join import join
from collectors.sip.leg import SipLeg
from collectors.sip.tracker import Tracker
from tests.collectors.hep.calls import DOWN, PBX, PHONE, UP, beginning, end, later, message
from tests.collectors.hep.packets import OPTIONS, at, chunk, ends4, hep3, sip

NOW_S = 1_790_000_000.0
NOW_US = int(NOW_S) * 1_000_000
TWO_CALLS = [*beginning(1, NOW_S), b"noise", *beginning(2, NOW_S + 20), *end(1, NOW_S), *end(2, NOW_S + 20)]
OCTETS = b"".join([*TWO_CALLS, later(NOW_S)])
SENDER = Origin(CHUNK, "192.0.2.1", 40_000, 1)


def stream() -> HepStream:
    return HepStream(Tracker())


def records(one: HepStream) -> list[Record]:
    found, _ = one.drain()
    return sorted(found, key=lambda record: record.key)


@given(st.lists(st.integers(0, len(OCTETS)), max_size=30), st.integers(0, 30))
def test_however_a_connection_is_cut_and_wherever_its_state_is_stored(cuts: list[int], stored_at: int) -> None:
    whole, one = stream(), stream()
    whole.feed(SENDER, OCTETS, NOW_US, "x")
    places = sorted({0, len(OCTETS), *cuts})
    found: list[Record] = []
    for number, (begin, until) in enumerate(pairwise(places)):
        if number == stored_at:
            found += records(one)
            again = stream()
            again.restore(one.snapshot())
            one = again
        one.feed(SENDER, OCTETS[begin:until], NOW_US, "x")
    found = sorted([*found, *records(one)], key=lambda record: record.key)
    expected = records(whole)
    assert found == expected
    assert len(expected) == 2


def test_two_connections_do_not_mix() -> None:
    one = stream()
    packet = sip(OPTIONS)
    for number in (1, 2):
        one.feed(Origin(CHUNK, "192.0.2.1", 40_000, number), packet[:50], NOW_US, "x")
    one.feed(Origin(END, "192.0.2.1", 40_000, 1), b"", NOW_US, "x")
    one.feed(Origin(CHUNK, "192.0.2.1", 40_000, 2), packet[50:], NOW_US, "x")
    assert (one.counters["sip"], one.counters["packets_unfinished"], one.counters["rejected"]) == (1, 1, 0)


def test_a_packet_that_takes_more_than_a_minute_cuts_its_connection() -> None:
    one = stream()
    packet = sip(OPTIONS)
    one.feed(SENDER, packet[:50], NOW_US, "x")
    one.feed(SENDER, packet[50:60], NOW_US + 59_000_000, "x")
    assert one.to_cut() == []
    one.feed(SENDER, packet[60:70], NOW_US + 61_000_000, "x")
    assert one.to_cut() == [1]


def test_a_connection_of_faults_is_cut_and_good_packets_in_between_are_taken() -> None:
    one = stream()
    one.feed(SENDER, sip(OPTIONS).join([b"noise"] * (FAULTS_MAX + 1)), NOW_US, "x")
    assert one.to_cut() == [1]
    assert one.counters["sip"] == FAULTS_MAX


def test_two_senders_with_one_capture_id_have_clocks_of_their_own() -> None:
    one = stream()
    one.feed(Origin(DATAGRAM, "192.0.2.1", 9060), sip(OPTIONS, NOW_S), NOW_US, "x")
    one.feed(Origin(DATAGRAM, "192.0.2.2", 9060), sip(OPTIONS, NOW_S + 86_400), NOW_US, "x")
    assert one.counters["clock_offset_senders"] == 1
    assert one.newest_us == NOW_US


def test_the_times_of_a_file_say_nothing_of_clocks() -> None:
    one = HepStream(Tracker(), clocks=False)
    one.packet(sip(OPTIONS, NOW_S + 86_400 * 400), NOW_US, "x")
    assert one.newest_us == NOW_US + 86_400 * 400 * 1_000_000


def test_a_compressed_report_is_counted_as_one() -> None:
    body = zlib.compress(b'{"report_blocks":[{"source_ssrc":7,"packets_lost":1}]}')
    one = stream()
    one.feed(
        Origin(DATAGRAM, "192.0.2.1", 9060),
        hep3(ends4(), at(int(NOW_S)), chunk(11, b"\5"), chunk(16, body)),
        NOW_US,
        "x",
    )
    assert (one.counters["reports"], one.counters["reports_unmatched"], one.counters["other_protocol"]) == (1, 1, 0)


def sdp(host: str, port: int) -> bytes:
    return f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n".encode()


def with_sdp(text: bytes, body: bytes) -> bytes:
    told = b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(body)
    return text.replace(b"Content-Length: 0\r\n\r\n", told) + body


def test_reports_go_into_the_call_that_they_tell_of() -> None:
    one = HepStream(Tracker(media="rtcp"))
    invite = with_sdp(message(f"INVITE sip:202@{PBX} SIP/2.0", 1, "1 INVITE", False), sdp(PHONE, 16_000))
    answer = with_sdp(message("SIP/2.0 200 OK", 1, "1 INVITE"), sdp(PBX, 12_000))
    told = {
        "ssrc": 5,
        "sender_information": {"ntp_timestamp_sec": 1, "packets": 3000, "octets": 480_000},
        "report_blocks": [{"source_ssrc": 6, "packets_lost": 30, "highest_seq_no": 9, "ia_jitter": 80}],
    }
    ends = ends4(PHONE, PBX, 16_001, 12_001)
    body = chunk(15, json.dumps(told).encode())
    rtcp = hep3(ends, at(int(NOW_S) + 60), chunk(11, b"\5"), body, chunk(17, b"call-1@" + PHONE.encode()))
    setup = [sip(invite, NOW_S, **UP), sip(answer, NOW_S + 3, **DOWN), beginning(1, NOW_S)[3]]
    for packet in [*setup, rtcp, *end(1, NOW_S), later(NOW_S)]:
        one.feed(Origin(DATAGRAM, "192.0.2.1", 9060), packet, NOW_US, "x")
    call = join([record for record in records(one) if isinstance(record, SipLeg)])
    from_phone, to_phone = sorted(call.media, key=lambda flow: not flow.from_caller)
    assert (from_phone.packets, from_phone.octets, from_phone.told_by) == (3000, 480_000, "rtcp")
    assert (to_phone.lost, to_phone.jitter_us) == (30, 10_000)
