"""SCTP: bundled, fragmented, repeated and reordered chunks."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.sip.dissect import Dissector
from collectors.sip.limits import Limits
from tests.collectors.net.wrap import SCTP, chunk, data_chunks, ip, sctp
from tests.collectors.sip.flows import Exchange, ethernet

A, B = "10.0.1.101:5060", "10.0.0.10:5060"
MESSAGES = [Exchange(name, A, B, "101", "102", transport="sctp").invite(0).payload for name in ("a", "b", "c")]
FIRST = 2**32 - 4
SACK = chunk(3, 0, bytes(12))


def chunks(size: int = 150) -> list[bytes]:
    made: list[bytes] = []
    for number, message in enumerate(MESSAGES):
        made += data_chunks((FIRST + len(made)) % 2**32, message, size, stream=number)
    return made


def feed(packets: list[list[bytes]], dissector: Dissector | None = None, src: str = A) -> list[bytes]:
    dissector = dissector or Dissector()
    found = [one for made in packets for one in dissector.feed(1, 1, ethernet(ip(src, B, SCTP, sctp(src, B, made))))]
    assert all((one.transport, one.src, one.dst) == ("sctp", src, B) for one in found)
    return [one.payload for one in found]


def test_messages_bundled_in_one_packet_with_other_chunks() -> None:
    assert feed([[SACK, *chunks(9_000), SACK]]) == MESSAGES


@settings(deadline=None)
@given(st.data())
def test_any_order_repetition_and_bundling_of_chunks_gives_each_message_once(data: st.DataObject) -> None:
    made = chunks(data.draw(st.sampled_from([60, 150, 400, 9_000])))
    extra = data.draw(st.lists(st.sampled_from(made), max_size=5))
    order = data.draw(st.permutations([*made, *extra]))
    edges = sorted(data.draw(st.sets(st.integers(1, len(order)), max_size=6)))
    packets = [order[a:b] for a, b in zip([0, *edges], [*edges, len(order)], strict=True)]
    dissector = Dissector()
    assert sorted(feed(packets, dissector)) == sorted(MESSAGES)
    assert dissector.counters.get("sctp_repeated", 0) == len(extra)
    dissector.finish()
    assert "sctp_lost" not in dissector.counters


def test_a_lost_chunk_costs_its_message_only_and_is_counted_at_the_end() -> None:
    made, dissector = chunks(150), Dissector()
    second = len(data_chunks(0, MESSAGES[0], 150)) + 1
    assert feed([[one] for number, one in enumerate(made) if number != second], dissector) == [MESSAGES[0], MESSAGES[2]]
    dissector.finish()
    assert dissector.counters["sctp_lost"] == len(data_chunks(0, MESSAGES[1], 150)) - 1


def test_a_new_association_between_the_same_ends_begins_anew() -> None:
    dissector, made = Dissector(), chunks(9_000)
    assert feed([made], dissector) == MESSAGES
    assert feed([made], dissector) == []
    assert feed([[chunk(1, 0, bytes(16))], made], dissector) == MESSAGES


def test_other_payloads_than_sip_and_forms_that_are_not_read() -> None:
    dissector = Dissector()
    diameter = data_chunks(1, b"\x01\x00\x00\x14\x80\x00\x01\x18" + bytes(12), 900)
    assert feed([diameter, [chunk(64, 3, bytes(20))]], dissector) == []
    assert dissector.counters == {"sctp_not_read": 1}


def test_what_waits_is_bounded_in_associations_and_bytes() -> None:
    dissector = Dissector(Limits(streams=10, stream_bytes=5_000, streams_bytes=20_000))
    for number in range(100):
        src = f"10.0.1.101:{1000 + number}"
        feed([[chunk(0, 2, struct.pack(">IHHI", at * 5, 0, 0, 0) + bytes(400))] for at in range(30)], dissector, src)
    table = dissector._sctp
    assert len(table.directions) == 10
    assert sum(direction.held_bytes for direction in table.directions.values()) <= 20_000
    assert max(direction.held_bytes for direction in table.directions.values()) <= 5_000
    assert dissector.counters["sctp_evicted"] == 90
    assert dissector.counters["sctp_lost"] > 0


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8))
def test_no_packet_raises(made: list[bytes]) -> None:
    feed([made], Dissector())
