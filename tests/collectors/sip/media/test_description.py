"""Session descriptions as they come: where media is awaited, in which form; whatever the octets, and in how long."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sip.media import negotiation as offers
from collectors.sip.media.codecs import Codec
from collectors.sip.media.description import CANDIDATES_MAX, LINES_MAX, Line, place, read
from collectors.sip.media.negotiation import CALLEE, CALLER, End, Negotiation

HEAD = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n"


def one(lines: bytes) -> Line:
    [found] = read(HEAD + lines.replace(b"\n", b"\r\n"))
    return found


def test_a_stream_is_awaited_at_its_address_and_port_and_its_rtcp_one_above() -> None:
    found = one(b"m=audio 4000 RTP/AVP 0 8\n")
    assert (found.kind, found.places, found.rtcp) == (
        "audio",
        (place(b"192.0.2.1", 4000),),
        (place(b"192.0.2.1", 4001),),
    )
    assert list(found.forms.codecs.values()) == [Codec("PCMU", 8000), Codec("PCMA", 8000)]


def test_a_streams_own_address_goes_before_that_of_the_session() -> None:
    assert one(b"m=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::5\n").places == (place(b"2001:db8::5", 4000),)


def test_rtcp_may_be_elsewhere_or_on_the_same_port() -> None:  # RFC 3605, RFC 5761
    assert one(b"m=audio 4000 RTP/AVP 0\na=rtcp:5003\n").rtcp == (place(b"192.0.2.1", 5003),)
    assert one(b"m=audio 4000 RTP/AVP 0\na=rtcp:5003 IN IP4 192.0.2.9\n").rtcp == (place(b"192.0.2.9", 5003),)
    assert one(b"m=audio 4000 RTP/AVP 0\na=rtcp-mux\n").mux


def test_several_ports_of_one_stream_are_all_awaited() -> None:  # RFC 8866 section 5.14
    assert one(b"m=video 4000/2 RTP/AVP 31\n").places == (place(b"192.0.2.1", 4000), place(b"192.0.2.1", 4002))


def test_a_port_of_0_is_a_stream_that_is_refused() -> None:
    assert not one(b"m=audio 0 RTP/AVP 0\n").live
    assert one(b"m=audio 0 RTP/AVP 0\n").places == ()


@pytest.mark.parametrize(
    "more",
    [
        b"m=audio 4000 RTP/SAVP 0\n",
        b"m=audio 4000 RTP/AVP 0\na=crypto:1 X inline:y\n",
        b"m=audio 4000 UDP/TLS/RTP/SAVPF 0\n",
    ],
)
def test_srtp_is_told_by_its_profile_or_its_keys(more: bytes) -> None:
    assert one(more).secure


def test_hold_is_told_by_direction_or_by_an_address_of_zeros() -> None:
    assert one(b"m=audio 4000 RTP/AVP 0\na=sendonly\n").direction == "sendonly"
    assert one(b"m=audio 4000 RTP/AVP 0\nc=IN IP4 0.0.0.0\n").black_hole
    [found] = read(b"v=0\r\na=inactive\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n")
    assert found.direction == "inactive"


def test_t38_is_told_with_its_version() -> None:
    assert one(b"m=image 4000 udptl t38\na=T38FaxVersion:3\n").t38 == 3
    assert one(b"m=image 4000 UDPTL T38\n").t38 == 0
    assert one(b"m=audio 4000 RTP/AVP 0\n").t38 is None


def test_the_description_within_a_multipart_body_is_found() -> None:
    body = (
        b"--b\r\nContent-Type: application/sdp\r\n\r\n"
        + HEAD
        + b"m=audio 4000 RTP/AVP 0\r\n--b\r\n\r\nm=audio 9 RTP/AVP 0\r\n--b--"
    )
    assert [line.places for line in read(body)] == [(place(b"192.0.2.1", 4000),)]


def test_a_host_name_is_no_place() -> None:
    assert one(b"m=audio 4000 RTP/AVP 0\nc=IN IP4 media.example\n").places == ()


def test_streams_and_candidates_are_kept_up_to_their_limits() -> None:
    assert len(read(HEAD + b"m=audio 4000 RTP/AVP 0\r\n" * 100)) == LINES_MAX
    many = b"".join(b"a=candidate:1 1 UDP 1 198.51.100.1 %d typ host\n" % port for port in range(5000, 5100))
    assert len(one(b"m=audio 4000 RTP/AVP 0\n" + many).places) == 1 + CANDIDATES_MAX


@given(
    st.binary(max_size=400)
    | st.lists(
        st.sampled_from([*HEAD.split(), b"m=audio", b"/", b"a=rtcp:", b"9", b"\r\n", b" ", b"a=candidate:"]),
        max_size=60,
    ).map(b"".join)
)
def test_no_octets_raise(body: bytes) -> None:
    for line in read(body):
        assert all(len(place) in (6, 18) for place in line.places + line.rtcp)


@pytest.mark.parametrize(
    "piece",
    [
        b"m=audio 1 RTP/AVP 0\r\n",
        b"a=rtpmap:96 A/1\r\n",
        b"a=candidate:0 1 UDP 3 192.0.2.4 6 typ host\r\n",
        b"\n",
        b"a=",
        b"c=IN IP4 1",
        b"0 ",
        b"--\r\n",
    ],
)
def test_64_kb_take_under_20_ms(piece: bytes) -> None:
    body = HEAD + b"m=audio 4000 RTP/AVP " + piece * (65_000 // len(piece))
    best = 1.0
    for _ in range(5):
        started = time.perf_counter()
        read(body)
        best = min(best, time.perf_counter() - started)
    assert best < 0.02


# --- offers and answers


def lines(port: int) -> list[Line]:
    return read(HEAD + b"m=audio %d RTP/AVP 0\r\n" % port)


def ports(end: End) -> list[int]:
    return [int.from_bytes(line.places[0][-2:], "big") for line in end.lines()]


def test_an_answer_agrees_an_offer_and_a_refusal_takes_it_back() -> None:
    both = Negotiation(End(), End())
    offers.told(both, CALLER, b"r1", lines(4000))
    assert ports(both.caller) == [4000]
    offers.told(both, CALLEE, b"r1", lines(6000))
    offers.settled(both, b"r1")
    assert (ports(both.caller), ports(both.callee)) == ([4000], [6000])
    offers.told(both, CALLEE, b"e1", lines(6100))
    assert ports(both.callee) == [6100, 6000]
    offers.refused(both, b"e1")
    assert ports(both.callee) == [6000]


def test_early_answers_of_several_forks_all_count_until_one_is_final() -> None:
    both = Negotiation(End(), End())
    offers.told(both, CALLER, b"r1", lines(4000))
    for port in (6000, 6100, 6200):
        offers.told(both, CALLEE, b"r1", lines(port))
    assert ports(both.callee) == [6200, 6100, 6000]
    offers.told(both, CALLEE, b"r1", lines(6100))
    offers.settled(both, b"r1")
    assert ports(both.callee) == [6100]


def test_what_is_said_again_is_nothing_new() -> None:
    both = Negotiation(End(), End())
    assert offers.told(both, CALLER, b"r1", lines(4000))
    assert not offers.told(both, CALLER, b"r1", lines(4000))
