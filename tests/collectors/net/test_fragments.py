"""Fragments of a datagram: any order, twice, lost, overlapping, in floods."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.net.bounds import Bounds
from collectors.net.fragments import PIECE_BYTES, Fragments
from collectors.sip.dissect import Dissector
from tests.collectors.net import wrap
from tests.collectors.net.wrap import every, fragments, piece
from tests.collectors.sip.flows import PBX, Exchange, ethernet, phone

CALL = Exchange("a", phone(101), PBX, "101", "102").talk(0, 5, 65)
CALL6 = Exchange("a", "[2001:db8::1]:5060", "[2001:db8::2]:5060", "101", "102").talk(0, 5, 65)
INVITE = next(wrap.over_udp(CALL))[1]
INVITE6 = next(wrap.over_udp(CALL6))[1]
SECOND_US = 1_000_000


def feed(packets: list[bytes], at_us: int = CALL[0].at_us, dissector: Dissector | None = None) -> list[bytes]:
    dissector = dissector or Dissector(dedup=False)
    return [found.payload for packet in packets for found in dissector.feed(at_us, 1, ethernet(packet))]


@settings(deadline=None)
@given(st.data())
@pytest.mark.parametrize(("packet", "message"), [(INVITE, CALL[0]), (INVITE6, CALL6[0])], ids=["IPv4", "IPv6"])
def test_any_cut_in_any_order_with_some_twice_gives_the_datagram_once(
    packet: bytes, message: object, data: st.DataObject
) -> None:
    pieces = fragments(packet, data.draw(st.lists(st.integers(1, 80), min_size=1, max_size=10)))
    twice = data.draw(st.lists(st.sampled_from(pieces), max_size=3))
    last = data.draw(st.sampled_from(pieces))
    before = data.draw(st.permutations([one for one in [*pieces, *twice] if one != last]))
    dissector = Dissector(dedup=False)
    assert feed(before, dissector=dissector) == []
    assert feed([last], dissector=dissector) == [message.payload]  # type: ignore[attr-defined]
    assert dissector.counters.get("fragments_repeated", 0) == len([one for one in twice if one != last])


def test_two_datagrams_of_one_flow_are_kept_apart() -> None:
    first, second = (packet for _, packet in list(wrap.over_udp(CALL))[:2])
    pieces = [*fragments(first, every(160)), *fragments(second, every(160))]
    assert sorted(feed(pieces[::2] + pieces[1::2])) == sorted([CALL[0].payload, CALL[1].payload])


def test_a_first_fragment_too_small_for_the_udp_header_is_put_together_too() -> None:
    tiny = [piece(INVITE, 0, INVITE[20:28], True, 5), piece(INVITE, 8, INVITE[28:], False, 5)]
    assert feed(tiny) == [CALL[0].payload]


def test_a_datagram_whose_piece_was_lost_is_given_up_after_30_or_60_seconds_and_counted() -> None:
    for packet, timeout_s in ((INVITE, 30), (INVITE6, 60)):
        pieces, dissector = fragments(packet, [20]), Dissector()
        start_us = CALL[0].at_us
        feed(pieces[:1], start_us, dissector)
        other = fragments(packet, [30], ident=99)
        feed(other[:1], start_us + timeout_s * SECOND_US, dissector)
        assert "fragmented_lost" not in dissector.counters
        assert feed(pieces[1:], start_us + timeout_s * SECOND_US + 1, dissector) == []
        assert dissector.counters["fragmented_lost"] == 1
        dissector.finish()
        assert dissector.counters["fragmented_lost"] == 3


def test_overlapping_fragments_of_ipv6_void_their_datagram() -> None:
    payload = INVITE6[40:]
    pieces = [
        piece(INVITE6, 0, payload[:160], True, 5),
        piece(INVITE6, 80, payload[80:240], True, 5),
        piece(INVITE6, 160, payload[160:240], True, 5),
        piece(INVITE6, 240, payload[240:], False, 5),
    ]
    dissector = Dissector()
    assert feed(pieces, dissector=dissector) == []
    assert dissector.counters["fragments_overlapping"] == 1
    assert feed(fragments(INVITE6, [20], ident=6), dissector=dissector) == [CALL6[0].payload]


@settings(deadline=None)
@given(st.data())
def test_overlapping_fragments_of_ipv4_keep_what_came_first(data: st.DataObject) -> None:
    payload = INVITE[20:]
    size = len(payload) // 8
    spans = data.draw(st.lists(st.tuples(st.integers(0, size - 1), st.integers(1, size)), max_size=8))
    edges = data.draw(st.sets(st.integers(1, size), max_size=4))
    bounds = [0, *sorted(edges), size + 1]
    parts = [(first, last) for first, last in pairwise(bounds)]
    parts = data.draw(st.permutations([*parts, *[(first, min(first + length, size)) for first, length in spans]]))
    made = [
        piece(INVITE, first * 8, payload[first * 8 : last * 8], last * 8 < len(payload), 5)
        for first, last in parts
        if first < last
    ]
    # the same octets whichever came first, until the datagram is whole; what is left over begins another one
    assert feed(made)[:1] == [CALL[0].payload]


def test_pieces_that_cannot_be_are_counted_and_raise_nothing() -> None:
    for made in (
        piece(INVITE, 65_528, bytes(16), False, 5),
        piece(INVITE, 0, bytes(12), True, 5),
        piece(INVITE, 8, b"", True, 5),
    ):
        dissector = Dissector()
        assert feed([made], dissector=dissector) == []
        assert dissector.counters["fragments_bad"] == 1
    ends = [piece(INVITE, 80, bytes(80), False, 5), piece(INVITE, 160, bytes(80), False, 5)]
    dissector = Dissector()
    assert feed(ends, dissector=dissector) == []
    assert dissector.counters["fragments_bad"] == 1


def test_a_flood_of_fragments_stays_within_its_bounds_and_is_counted() -> None:
    counters: dict[str, int] = Counter()
    bounds = Bounds(fragmented=100, fragmented_bytes=50_000)
    table = Fragments(bounds, counters, timeout_us=30 * SECOND_US, void_overlaps=False)
    for number in range(5_000):
        assert table.add(1, number.to_bytes(4, "big"), 0, True, 17, bytes(64)) is None
        assert table.held_bytes <= 50_000
        assert len(table.unfinished) <= 100
    assert counters["fragmented_evicted"] == 4_900
    for offset in range(0, 65_000, 16):
        table.add(1, b"one", offset, True, 17, bytes(8))
        assert table.held_bytes <= 50_000
    assert table.held_bytes > 0
    assert PIECE_BYTES > 0


def test_among_a_flood_a_datagram_whose_pieces_follow_each_other_is_whole() -> None:
    dissector, found = Dissector(), []
    noise = [piece(INVITE, 0, bytes(800), True, number) for number in range(60_000)]
    for at in range(0, 60_000, 1_000):
        feed(noise[at : at + 1_000], dissector=dissector)
        found += feed(fragments(INVITE, every(576), ident=60_001), dissector=dissector)
    assert found == [CALL[0].payload] * 60
    assert dissector.counters["fragmented_evicted"] > 50_000
