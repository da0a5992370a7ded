"""TCP streams: what the tests of capture files do not show already."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.net.tcp import GAP_US
from collectors.sip.dissect import Dissector
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from tests.collectors.sip.flows import Exchange, ethernet, ip, tcp

A, B = "10.0.1.101:40001", "10.0.0.10:5070"
SYN, FIN, RST, PUSH = 2, 1, 4, 0x18
MESSAGES = [Exchange(name, A, B, "101", "102", transport="tcp").invite(0).payload for name in ("a", "b", "c", "d")]
STREAM = b"".join(MESSAGES)
FIRST = 2**32 - 500


class Wire:
    """Segments of one connection, from A to B where nothing else is said."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.dissector = Dissector(limits or Limits())
        self.found: list[SipPacket] = []

    def segment(
        self, at: int, data: bytes, *, flags: int = PUSH, at_us: int = 1, src: str = A, dst: str = B
    ) -> list[bytes]:
        found = self.dissector.feed(at_us, 1, ethernet(ip(src, dst, 6, tcp(src, dst, FIRST + at, data, flags))))
        self.found += found
        return [packet.payload for packet in found]

    def finish(self) -> list[bytes]:
        found = self.dissector.finish()
        self.found += found
        return [packet.payload for packet in found]

    @property
    def counters(self) -> dict[str, int]:
        return self.dissector.counters


@settings(deadline=None)
@given(st.data())
def test_any_cut_order_repetition_and_overlap_gives_the_messages_once_each(data: st.DataObject) -> None:
    edges = sorted(data.draw(st.sets(st.integers(1, len(STREAM) - 1), max_size=10)))
    parts = list(pairwise([0, *edges, len(STREAM)]))
    wide = data.draw(st.lists(st.tuples(st.integers(0, len(STREAM) - 1), st.integers(1, 900)), max_size=5))
    parts = data.draw(st.permutations([*parts, *[(begin, min(begin + size, len(STREAM))) for begin, size in wide]]))
    wire = Wire()
    where = data.draw(st.sampled_from(["first", "late", "twice"]))
    if where != "late":
        wire.segment(-1, b"", flags=SYN)
    for number, (begin, end) in enumerate(parts):
        wire.segment(begin, STREAM[begin:end])
        if where == "twice" and number == 1:
            wire.segment(-1, b"", flags=SYN)
    wire.segment(len(STREAM), b"", flags=FIN)
    wire.finish()
    if where != "late":
        assert [packet.payload for packet in wire.found] == MESSAGES
    else:  # what came before the first segment seen is taken for a repetition
        assert [packet.payload for packet in wire.found] == MESSAGES[len(MESSAGES) - len(wire.found) :]


def test_the_last_segments_again_after_the_end_are_no_new_messages() -> None:
    wire = Wire()
    wire.segment(-1, b"", flags=SYN)
    assert wire.segment(0, STREAM, flags=PUSH | FIN) == MESSAGES
    assert wire.segment(0, STREAM, flags=PUSH | FIN) == []
    assert wire.counters["tcp_retransmissions"] == 1


def test_a_new_connection_between_the_same_ends_begins_anew() -> None:
    wire = Wire()
    wire.segment(-1, b"", flags=SYN)
    wire.segment(0, STREAM[:100])
    wire.segment(40_000_000, b"", flags=SYN)
    assert wire.dissector._tcp.held_bytes == 0
    assert wire.segment(40_000_001, MESSAGES[1]) == [MESSAGES[1]]


def test_a_gap_that_does_not_close_is_skipped_after_its_time_at_the_next_segment_of_whatever_stream() -> None:
    wire = Wire()
    wire.segment(0, MESSAGES[0], at_us=0)
    later = len(MESSAGES[0]) + len(MESSAGES[1])
    assert wire.segment(later, MESSAGES[2], at_us=7) == []
    assert wire.segment(0, b"x", at_us=7 + GAP_US, src="10.0.0.77:1") == []
    assert wire.segment(1, b"x", at_us=8 + GAP_US, src="10.0.0.77:1") == [MESSAGES[2]]
    assert wire.found[-1].at_us == 7  # when it was captured, not when it was given up to wait
    assert wire.counters["tcp_gaps"] == 1


def test_a_gap_that_does_not_close_is_skipped_when_time_passes_without_a_frame() -> None:
    wire = Wire()
    wire.segment(0, MESSAGES[0])
    wire.segment(len(MESSAGES[0]) + 5, MESSAGES[2], at_us=7)
    assert wire.dissector.passed(7 + GAP_US) == []
    assert [packet.payload for packet in wire.dissector.passed(8 + GAP_US)] == [MESSAGES[2]]
    assert wire.dissector.passed(9 + GAP_US) == []


def test_what_stands_behind_a_gap_at_the_end_of_the_capture_is_told() -> None:
    wire = Wire()
    wire.segment(0, MESSAGES[0])
    wire.segment(len(MESSAGES[0]) + 5, MESSAGES[2])
    assert wire.finish() == [MESSAGES[2]]


def test_a_long_stretch_that_was_not_captured_does_not_stop_the_stream() -> None:
    wire = Wire()
    wire.segment(0, MESSAGES[0])
    assert wire.segment(50_000_000, MESSAGES[1]) == [MESSAGES[1]]
    assert wire.segment(50_000_000 + len(MESSAGES[1]), MESSAGES[2]) == [MESSAGES[2]]
    assert wire.segment(len(MESSAGES[0]), MESSAGES[3]) == [MESSAGES[3]]  # the stray one was the other


def test_a_keep_alive_probe_repeats_one_octet_and_changes_nothing() -> None:
    wire = Wire()
    half = len(MESSAGES[0]) // 2
    wire.segment(0, STREAM[:half])
    wire.segment(half - 1, b"\0")
    assert wire.segment(half, STREAM[half:]) == MESSAGES


def test_sip_is_found_on_a_port_that_another_protocol_owns() -> None:
    wire = Wire()
    assert wire.segment(0, MESSAGES[0], dst="10.0.0.10:80") == [MESSAGES[0]]
    assert wire.segment(0, MESSAGES[0], dst="10.0.0.10:443") == [MESSAGES[0]]


def test_what_only_talks_about_sip_is_none() -> None:
    for number, start in enumerate((b"HEP3\x03\x00", b"<134>Jan 1 00:00:00 pbx: ", b"HTTP/1.1 200 OK\r\n\r\n")):
        wire, src = Wire(), f"10.0.0.9:{1000 + number}"
        wire.segment(-1, b"", flags=SYN, src=src)
        assert wire.segment(0, start + STREAM, src=src) == []
        assert wire.counters["tcp_other_streams"] == 1


def test_a_connection_that_only_keeps_itself_alive_for_days_is_not_given_up() -> None:
    wire, at = Wire(), 0
    for _ in range(5_000):
        assert wire.segment(at, b"\r\n\r\n") == []
        at += 4
    assert wire.dissector._tcp.held_bytes == 0
    assert wire.segment(at, MESSAGES[0]) == [MESSAGES[0]]
    assert wire.counters == {}


def test_a_connection_joined_within_a_long_body_is_read_from_the_next_message_on() -> None:
    wire, body = Wire(), b"v=0\r\na=x:" + b"y" * 60_000 + b"\r\n"
    for begin in range(0, len(body), 1_000):
        assert wire.segment(begin, body[begin : begin + 1_000]) == []
    assert wire.segment(len(body), STREAM) == MESSAGES


def test_tls_is_counted_as_such() -> None:
    wire = Wire()
    wire.segment(-1, b"", flags=SYN)
    wire.segment(0, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
    wire.segment(511, bytes(500))
    assert wire.counters == {"tls_streams": 1}


def test_the_stream_heard_of_longest_ago_goes_first_and_one_in_use_loses_nothing() -> None:
    wire = Wire(Limits(streams=8))
    wire.segment(0, STREAM[:100])
    for number in range(20):
        wire.segment(0, b"GET / HTTP/1.1\r\n", src=f"10.0.0.9:{1000 + number}")
        wire.segment(100 + number, STREAM[100 + number : 101 + number])
    assert wire.segment(120, STREAM[120:]) == MESSAGES
    assert wire.counters["tcp_streams_evicted"] == 13


def test_a_flood_of_streams_with_gaps_is_bounded_in_bytes() -> None:
    wire = Wire(Limits(streams=50, streams_bytes=20_000))
    for number in range(500):
        src = f"10.0.2.{number % 250}:{number}"
        wire.segment(0, MESSAGES[0], src=src)
        wire.segment(5_000, bytes(1_000), src=src)
    streams = wire.dissector._tcp.streams
    assert len(streams) <= 50
    assert sum(stream.segments.early_bytes for stream in streams.values()) <= 20_000
    assert wire.counters["tcp_unfinished_evicted"] > 0


def test_a_flood_of_unfinished_messages_is_bounded_in_bytes_and_one_that_goes_on_is_whole() -> None:
    wire = Wire(Limits(streams=5_000, streams_bytes=100_000))
    for number in range(2_000):
        wire.segment(0, MESSAGES[0][:400], src=f"10.0.2.{number % 250}:{number}")
        wire.segment(number // 5, STREAM[number // 5 : number // 5 + 1])
        assert wire.dissector._tcp.held_bytes <= 100_000
    assert wire.segment(400, STREAM[400:]) == MESSAGES
    assert wire.counters["tcp_unfinished_evicted"] > 1_700
    assert wire.counters["stream_messages_lost"] == wire.counters["tcp_unfinished_evicted"]


def test_a_header_that_is_shorter_than_a_header_is_counted_and_left_out() -> None:
    frame = bytearray(ethernet(ip(A, B, 6, tcp(A, B, 1, MESSAGES[0]))))
    frame[14 + 20 + 12] = 4 << 4
    dissector = Dissector()
    assert dissector.feed(1, 1, bytes(frame)) == []
    assert dissector.counters == {"bad_tcp": 1}


def test_a_reset_tells_what_stood_behind_a_gap() -> None:
    wire = Wire()
    wire.segment(0, MESSAGES[0])
    wire.segment(len(MESSAGES[0]) + 9, MESSAGES[1])
    assert wire.segment(len(STREAM), b"", flags=RST) == [MESSAGES[1]]
