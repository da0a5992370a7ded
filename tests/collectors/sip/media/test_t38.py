"""Faxes over T.38: pages as the two machines confirm them. The streams are made by the recommendations' own rules."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sip.media import t38
from collectors.sip.packets import SipPacket
from tests.collectors.sip.flows import PBX, Exchange, in_order, phone
from tests.collectors.sip.rtp import (
    EOP,
    IMAGE,
    MCF,
    MPS,
    PBX_RTP,
    PHONE_RTP,
    PPS_EOP,
    PPS_MPS,
    PPS_NULL,
    RTN,
    FaxSide,
    call_with,
    control,
    description,
    ifp_data,
    ifp_indicator,
    udptl,
    voice,
    watch,
)

ECM_IMAGE = ifp_data(8, (0, bytes(30)), (2, b""))


def exchange_of(*said: tuple[str, bytes], start: float = 12.0) -> list[SipPacket]:
    """Who sends what, in order: `c` the caller, `a` who answers."""
    sides = {"c": FaxSide(PHONE_RTP, PBX_RTP), "a": FaxSide(PBX_RTP, PHONE_RTP)}
    return [sides[who].send(start + 0.1 * step, packet) for step, (who, packet) in enumerate(said)]


def fax_call(packets: Iterable[SipPacket], version: int = 0) -> list[SipPacket]:
    """Audio first, then a re-INVITE to T.38 on the same ports."""
    leg = Exchange("m1", phone(101), PBX, "101", "102")
    lines = (f"a=T38FaxVersion:{version}", "a=T38MaxBitRate:14400")
    switched = [
        leg.request(
            10, "INVITE", 2, by="callee", body=description(PBX_RTP, "t38", *lines, kind="image", protocol="udptl")
        ),
        leg.accept(10.1, 2, by="caller", body=description(PHONE_RTP, "t38", *lines, kind="image", protocol="udptl")),
    ]
    return in_order(call_with(voice(PHONE_RTP, PBX_RTP, 2, 10), end=60), switched, packets)


def pages(*said: tuple[str, bytes], version: int = 0) -> dict[bool, int]:
    told = watch(fax_call(exchange_of(*said), version)).call.media
    return {one.from_caller: one.pages for one in told if one.kind == "image"}


TWO_PAGES = [
    ("c", ifp_indicator(8)),
    ("c", IMAGE),
    ("c", control(MPS)),
    ("a", control(MCF)),
    ("c", IMAGE),
    ("c", control(EOP)),
    ("a", control(MCF)),
]


def test_a_page_counts_when_its_end_is_confirmed() -> None:
    assert pages(*TWO_PAGES) == {True: 2, False: 0}
    assert pages(*TWO_PAGES[:-1]) == {True: 1, False: 0}


def test_pages_count_for_who_sends_them() -> None:
    swapped = [("a" if who == "c" else "c", packet) for who, packet in TWO_PAGES]
    assert pages(*swapped) == {True: 0, False: 2}


def test_a_page_end_or_a_confirmation_said_again_counts_once() -> None:
    assert pages(("c", IMAGE), ("c", control(EOP)), ("c", control(EOP)), ("a", control(MCF)), ("a", control(MCF))) == {
        True: 1,
        False: 0,
    }
    again = (("c", IMAGE), ("c", control(EOP)), ("a", control(MCF)), ("c", control(EOP)), ("a", control(MCF)))
    assert pages(*again) == {True: 1, False: 0}


def test_a_page_that_is_refused_counts_when_it_is_sent_again() -> None:
    refused = (("c", IMAGE), ("c", control(EOP)), ("a", control(RTN)))
    assert pages(*refused) == {True: 0, False: 0}
    assert pages(*refused, ("c", IMAGE), ("c", control(EOP)), ("a", control(MCF)))[True] == 1


def test_with_error_correction_parts_of_a_page_are_no_pages() -> None:
    said = (
        ("c", ECM_IMAGE),
        ("c", control(PPS_NULL)),
        ("a", control(MCF)),
        ("c", ECM_IMAGE),
        ("c", control(PPS_MPS)),
        ("a", control(MCF)),
        ("c", ECM_IMAGE),
        ("c", control(PPS_EOP)),
        ("a", control(MCF)),
    )
    assert pages(*said) == {True: 2, False: 0}


def test_later_versions_have_another_form_of_fields() -> None:
    said = (
        ("c", ifp_data(8, (6, bytes(40)), version=1)),
        ("c", control(EOP, version=1)),
        ("a", control(MCF, version=1)),
    )
    assert pages(*said, version=3) == {True: 1, False: 0}


def test_fields_without_octets_share_one_in_version_0() -> None:
    """`hdlc-fcs-OK`, `hdlc-sig-end` and the first octets of the next frame."""
    packet = ifp_data(0, (0, b"\xff\xc8"), (0, MCF), (2, b""), (1, b""))
    assert packet == bytes.fromhex("c004 80 0001 ffc8 80 0000 31 21".replace(" ", ""))
    assert pages(("c", IMAGE), ("c", control(EOP)), ("a", packet))[True] == 1


def test_a_frame_may_come_an_octet_at_a_time() -> None:
    pieces = [("a", ifp_data(0, (0, bytes([octet])))) for octet in b"\xff\xc8\x31"]
    assert pages(("c", IMAGE), ("c", control(EOP)), *pieces, ("a", ifp_data(0, (2, b""))))[True] == 1


def test_a_frame_with_a_bad_check_says_nothing() -> None:
    bad = ifp_data(0, (0, b"\xff\xc8" + MCF), (3, b""))
    assert pages(("c", IMAGE), ("c", control(EOP)), ("a", bad))[True] == 0


@pytest.mark.parametrize("lost", range(1, 10))
def test_a_lost_datagram_is_read_from_the_redundancy_of_the_next(lost: int) -> None:
    """After each signal a machine says that there is none (indicator 0), which repeats what came before it."""
    said = [pair for who, packet in TWO_PAGES for pair in ((who, packet), (who, ifp_indicator(0)))]
    packets = exchange_of(*said)
    told = watch(fax_call([packet for number, packet in enumerate(packets) if number != lost])).call.media
    assert {one.from_caller: one.pages for one in told if one.kind == "image"} == {True: 2, False: 0}


def test_octets_of_the_fax_count_beside_those_of_the_audio_before_it() -> None:
    packets = exchange_of(*TWO_PAGES)
    told = watch(fax_call(packets)).call
    assert [(one.kind, one.codec) for one in told.media] == [("audio", "PCMU"), ("image", "T38"), ("image", "T38")]
    sent = sum(len(packet.payload) for packet in packets if packet.src == PHONE_RTP)
    assert told.media[1].octets == sent


@given(st.lists(st.binary(max_size=60) | st.sampled_from([IMAGE, control(EOP), control(MCF)]), max_size=12))
def test_no_octets_raise(datagrams: list[bytes]) -> None:
    fax = t38.Fax(t38.Side(), t38.Side())
    for number, data in enumerate(datagrams):
        t38.take(fax, bool(number % 2), data)
        t38.take(fax, bool(number % 2), udptl(number, data, data))
    assert fax.caller.pages >= 0
