"""HEP3 packets out of a connection, however its octets are cut, and whatever stands between them."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from collectors.hep.framing import PACKET_MAX_BYTES, HepFramer
from tests.collectors.hep.packets import OPTIONS, hep3, sip

PACKET = sip(OPTIONS)
OTHER = sip(OPTIONS.replace(b"OPTIONS", b"INVITE"), key=b"k")


def fed(data: bytes, cuts: list[int]) -> tuple[list[bytes], HepFramer]:
    framer = HepFramer()
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    pieces = [piece for begin, end in pairwise(places) for piece in framer.feed(data[begin:end], end)]
    return pieces, framer


CUTS = st.lists(st.integers(0, 5_000), max_size=40)


@given(st.lists(st.sampled_from([PACKET, OTHER, hep3()]), max_size=6), CUTS)
def test_packets_come_out_as_they_went_in_however_they_are_cut(packets: list[bytes], cuts: list[int]) -> None:
    pieces, framer = fed(b"".join(packets), cuts)
    assert pieces == packets
    assert framer.rest == b""


@given(st.lists(st.sampled_from([PACKET, b"noise ", b"HEP", b"HE", b"HEP3\0\1", b"H"]), max_size=8), CUTS)
def test_after_noise_it_goes_on_at_the_next_packet(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    pieces, framer = fed(data, cuts)
    assert b"".join(pieces) + framer.rest == data
    whole, _ = fed(data, [])
    assert [piece for piece in pieces if piece == PACKET] == [piece for piece in whole if piece == PACKET]


@given(st.binary(max_size=2_000), CUTS)
def test_no_octets_make_it_raise_or_keep_more_than_a_packet(data: bytes, cuts: list[int]) -> None:
    pieces, framer = fed(data.replace(b"\x01", b"HEP3"), cuts)
    assert len(framer.rest) < PACKET_MAX_BYTES
    assert all(pieces)


def test_it_says_since_when_a_packet_is_on_its_way() -> None:
    framer = HepFramer()
    framer.feed(PACKET + PACKET[:10], 5)
    framer.feed(PACKET[10:20], 9)
    assert framer.since_us == 5
    framer.feed(PACKET[20:] + PACKET[:1], 12)
    assert framer.since_us == 12
