"""Calls with media: what is counted, for whom, and when it ends a call."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.records import MediaFlow
from collectors.sip.dissect import Dissector
from collectors.sip.leg import SipLeg
from collectors.sip.limits import Limits
from collectors.sip.media.desk import STREAMS_MAX, MediaSetting
from collectors.sip.media.report import Report
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import PBX, Exchange, at, at_ms, frame_of, in_order, phone
from tests.collectors.sip.rtp import (
    PBX_RTP,
    PHONE_RTP,
    block,
    call_with,
    description,
    goodbye,
    key_press,
    receiver_report,
    rtcp_of,
    rtp,
    sender_report,
    source_name,
    voice,
    voip_metrics,
    watch,
    without,
)

UP = voice(PHONE_RTP, PBX_RTP, 2, 30)
DOWN = voice(PBX_RTP, PHONE_RTP, 2, 30, ssrc=9)


def flow(packets: list[SipPacket], from_caller: bool = True) -> MediaFlow:
    [found] = [one for one in watch(packets).call.media if one.from_caller == from_caller]
    return found


# --- counting


def test_each_way_has_its_packets_octets_codec_and_ends() -> None:
    up, down = watch(call_with(UP, DOWN)).call.media
    assert (up.src, up.dst, up.from_caller) == (PHONE_RTP, PBX_RTP, True)
    assert (down.src, down.dst, down.from_caller) == (PBX_RTP, PHONE_RTP, False)
    for one in (up, down):
        assert (one.kind, one.codec, one.packets, one.octets, one.lost) == ("audio", "PCMU", 1400, 1400 * 160, 0)
        assert (one.started_at_ms, one.ended_at_ms) == (at_ms(2), at_ms(29.98))
        assert (one.jitter_us, one.mos, one.told_by) == (0, 441, "rtp")


def test_off_reads_no_media_and_rtcp_reads_no_rtp() -> None:
    assert watch(call_with(UP, DOWN), "off").call.media == ()
    assert watch(call_with(UP, DOWN), "rtcp").call.media == ()


def test_lost_packets_are_counted_and_cost_quality() -> None:
    heard = flow(call_with(without(UP, 5, 6, 7, 100), DOWN))
    assert (heard.packets, heard.lost) == (1396, 4)
    assert heard.mos is not None
    assert 430 < heard.mos < 441


def test_a_packet_that_comes_late_is_not_lost_and_one_that_comes_twice_counts_once() -> None:
    late = [*UP[:10], UP[11], UP[10], *UP[12:]]
    moved = [SipPacket(UP[n].at_us, "udp", p.src, p.dst, p.payload) for n, p in enumerate(late)]
    twice = [packet for packet in UP for _ in range(2)]
    assert (flow(call_with(moved)).packets, flow(call_with(moved)).lost) == (1400, 0)
    told = watch(call_with(twice))
    assert (told.call.media[0].packets, told.call.media[0].lost) == (1400, 0)
    assert told.counters["media_duplicates"] == 1400


def test_sequence_numbers_and_timestamps_wrap_without_loss() -> None:
    heard = flow(call_with(voice(PHONE_RTP, PBX_RTP, 2, 30, sequence=65_500, timestamp=2**32 - 1600)))
    assert (heard.packets, heard.lost, heard.jitter_us) == (1400, 0, 0)


def test_a_sender_that_begins_anew_has_lost_nothing() -> None:
    second = voice(PHONE_RTP, PBX_RTP, 16, 30, sequence=40_000, timestamp=900_000)
    heard = flow(call_with(voice(PHONE_RTP, PBX_RTP, 2, 16), second))
    assert (heard.packets, heard.lost) == (1400, 0)


def test_jitter_is_that_of_rfc_3550_by_hand() -> None:
    """Every second packet is 16 ms late: |D| is 16 ms for each but the first, so J goes 0, 1, 1.9375, ... to 16 ms."""
    expected, total, jitter = 0.0, 0.0, 0.0
    for step in range(1400):
        jitter += ((16_000 if step else 0) - jitter) / 16
        total += jitter
    expected = total / 1400
    heard = flow(call_with(voice(PHONE_RTP, PBX_RTP, 2, 30, late_us=(0, 16_000))))
    assert heard.jitter_us == pytest.approx(expected, abs=2)


def test_packets_that_come_too_late_for_a_jitter_buffer_cost_quality() -> None:
    assert (flow(call_with(voice(PHONE_RTP, PBX_RTP, 2, 30, late_us=(0,) * 9 + (200_000,)))).mos or 0) < 400


def test_header_extensions_contributing_sources_and_padding_are_no_payload() -> None:
    odd = [
        rtp(1, 0, bytes(4) + bytes(160), first=0x81),  # one contributing source
        rtp(2, 160, b"\xbe\xde\x00\x01" + bytes(4) + bytes(160), first=0x90),  # one word of extension
        rtp(3, 320, bytes(160) + b"\x00\x00\x00\x04", first=0xA0),  # four octets of padding
    ]
    packets = [SipPacket(at(3) + 20_000 * n, "udp", PHONE_RTP, PBX_RTP, data) for n, data in enumerate(odd)]
    assert flow(call_with(packets)).octets == 3 * 160


def test_what_a_snap_length_cut_off_counts_whole() -> None:
    tracker = Tracker(media="rtp")
    dissector = Dissector(on_media=tracker.media)
    for packet in call_with(UP):
        whole = frame_of(packet)
        frame = whole if packet not in UP else whole[:96]
        for message in dissector.feed(packet.at_us, 1, frame):
            tracker.feed(message)
    tracker.tick(at(100))
    [leg] = tracker.drain()[0]
    assert leg.media[0].octets == 1400 * 160  # type: ignore[union-attr]


def test_a_change_of_codec_begins_another_flow() -> None:
    offer, answer = (description(place, "0 8 101") for place in (PHONE_RTP, PBX_RTP))
    more = voice(PHONE_RTP, PBX_RTP, 16, 30, kind=8, sequence=1700, timestamp=112_000)
    told = watch(call_with(voice(PHONE_RTP, PBX_RTP, 2, 16), more, offer=offer, answer=answer)).call.media
    assert [(one.codec, one.packets, one.lost) for one in told] == [("PCMU", 700, 0), ("PCMA", 700, 0)]


def test_payload_types_are_the_receivers_own() -> None:
    """RFC 3264 section 5.1: each end lists the numbers that it wants to receive."""
    offer = description(PHONE_RTP, "96", "a=rtpmap:96 opus/48000/2")
    answer = description(PBX_RTP, "111", "a=rtpmap:111 opus/48000/2")
    up, down = voice(PHONE_RTP, PBX_RTP, 2, 9, kind=111), voice(PBX_RTP, PHONE_RTP, 2, 9, kind=96)
    told = watch(call_with(up, down, offer=offer, answer=answer)).call.media
    assert [one.codec for one in told] == ["OPUS", "OPUS"]
    assert [one.mos for one in told] == [None, None]  # G.113 has no figures for it


def test_video_beside_audio_is_a_flow_of_its_own_also_on_one_port() -> None:
    """RFC 9143: both on the port of the first."""
    lines = ("a=rtpmap:0 PCMU/8000", "a=mid:0", "m=video 16384 RTP/AVP 98", "a=rtpmap:98 H264/90000", "a=mid:1")
    seen = voice(PHONE_RTP, PBX_RTP, 2, 9, kind=98, ssrc=77)
    told = watch(
        call_with(
            voice(PHONE_RTP, PBX_RTP, 2, 9),
            seen,
            offer=description(PHONE_RTP, "0", *lines),
            answer=description(PBX_RTP, "0", *(line.replace("16384", "12000") for line in lines)),
        )
    ).call.media
    assert sorted((one.kind, one.codec, one.packets) for one in told) == [
        ("audio", "PCMU", 350),
        ("video", "H264", 350),
    ]


# --- key presses


def test_a_key_press_is_counted_once_however_often_it_is_said() -> None:
    before = voice(PHONE_RTP, PBX_RTP, 2, 3)
    keys = key_press(PHONE_RTP, PBX_RTP, 3, 1050, 8000) + key_press(PHONE_RTP, PBX_RTP, 3.2, 1057, 9600)
    after = voice(PHONE_RTP, PBX_RTP, 3.4, 9, sequence=1064, timestamp=11_200)
    heard = flow(call_with(before, keys, after))
    assert (heard.digits, heard.lost, heard.jitter_us) == (2, 0, 0)
    assert flow(call_with(before, without(keys, 0, 6), after)).digits == 2


def test_a_fax_tone_or_flash_is_no_key_press() -> None:
    assert (
        flow(call_with(voice(PHONE_RTP, PBX_RTP, 2, 3), key_press(PHONE_RTP, PBX_RTP, 3, 1050, 8000, event=36))).digits
        == 0
    )


def test_which_key_it_was_stands_nowhere_in_the_state() -> None:
    """The same call with another digit leaves the very same state."""
    states = set()
    for event in (1, 9):
        tracker = Tracker(media="rtp")
        dissector = Dissector(on_media=tracker.media)
        keys = key_press(PHONE_RTP, PBX_RTP, 3, 1050, 8000, event=event)
        for packet in call_with(voice(PHONE_RTP, PBX_RTP, 2, 3), keys, end=None):
            for message in dissector.feed(packet.at_us, 1, frame_of(packet)):
                tracker.feed(message)
        states.add(tracker.snapshot())
    assert len(states) == 1


# --- whose media it is


def test_media_from_behind_a_nat_comes_from_another_address_than_was_told() -> None:
    nat = "203.0.113.9:40000"
    told = watch(call_with(voice(nat, PBX_RTP, 2, 30), voice(PBX_RTP, nat, 2, 30, ssrc=9))).call.media
    assert [(one.src, one.dst, one.from_caller, one.packets) for one in told] == [
        (nat, PBX_RTP, True, 1400),
        (PBX_RTP, nat, False, 1400),
    ]


def test_media_of_nobodys_is_counted_and_left_alone() -> None:
    told = watch(call_with(voice("192.0.2.1:4000", "192.0.2.2:4000", 2, 3)))
    assert told.call.media == ()
    assert told.counters["media_unmatched"] == 50


def test_an_ice_candidate_is_a_place_where_media_may_come() -> None:
    wide = "198.51.100.20:50000"
    answer = description(
        PBX_RTP, "0", "a=candidate:1 1 UDP 1694498815 198.51.100.20 50000 typ srflx raddr 10.0.0.10 rport 9"
    )
    assert flow(call_with(voice(PHONE_RTP, wide, 2, 30), answer=answer)).packets == 1400


def test_early_media_counts_and_media_after_the_bye_does_not() -> None:
    leg = Exchange("e", phone(101), PBX, "101", "102")
    signalling = [
        leg.invite(0, body=description(PHONE_RTP)),
        leg.answer(0.5, 183, body=description(PBX_RTP)),
        leg.accept(10, body=description(PBX_RTP)),
        leg.ack(10.02),
        leg.bye(20),
    ]
    heard = flow(in_order(signalling, voice(PBX_RTP, PHONE_RTP, 1, 30)), from_caller=False)
    assert (heard.started_at_ms, heard.ended_at_ms, heard.packets) == (at_ms(1), at_ms(19.98), 950)


def test_a_reinvite_moves_media_and_a_refused_one_does_not_take_the_old_place_away() -> None:
    leg = Exchange("m1", phone(101), PBX, "101", "102")
    moved = "10.0.1.101:20000"
    accepted = [
        leg.request(10, "INVITE", 2, body=description(moved, "8", "a=rtpmap:8 PCMA/8000")),
        leg.accept(10.1, 2, body=description(PBX_RTP, "8")),
    ]
    refused = [leg.request(10, "INVITE", 2, body=description(moved, "18")), leg.answer(10.1, 488, "2 INVITE")]
    later = voice(PBX_RTP, moved, 11, 20, kind=8, ssrc=10)
    told = watch(in_order(call_with(voice(PBX_RTP, PHONE_RTP, 2, 10, ssrc=9), later), accepted)).call.media
    assert [(one.codec, one.dst, one.packets) for one in told] == [("PCMU", PHONE_RTP, 400), ("PCMA", moved, 450)]
    heard = flow(in_order(call_with(DOWN), refused), from_caller=False)
    assert (heard.codec, heard.packets) == ("PCMU", 1400)


def test_an_offer_that_comes_in_the_2xx_is_answered_by_the_ack() -> None:
    leg = Exchange("late", phone(101), PBX, "101", "102")
    ack = leg.request(2.02, "ACK", 1, body=description(PHONE_RTP))
    invite = leg.request(0, "INVITE", 1, in_dialog=False)
    signalling = [invite, leg.accept(2, body=description(PBX_RTP)), ack, leg.bye(30)]
    assert [one.packets for one in watch(in_order(signalling, UP, DOWN)).call.media] == [1400, 1400]


def test_the_two_hops_of_a_proxy_are_one_stream_and_count_once_for_the_callers_leg() -> None:
    proxy, called = "10.0.0.20:5060", phone(102)
    first = Exchange("p", phone(101), proxy, "101", "102")
    second = Exchange("p", proxy, called, "101", "102", from_tag=first.from_tag, to_tag=first.to_tag)
    place = "10.0.1.102:18000"
    hops = []
    for leg, step in ((first, 0.0), (second, 0.01)):
        back = 0.01 - step
        hops += [
            leg.invite(step, body=description(PHONE_RTP)),
            leg.accept(2 + back, body=description(place)),
            leg.ack(2.05 + step),
            leg.bye(30 + step),
        ]
    talk = [voice(PHONE_RTP, place, 2, 30), voice(place, PHONE_RTP, 2, 30, ssrc=9)]
    told = watch(in_order(hops, *talk))
    assert len(told.legs) == 2
    assert [len(leg.media) for leg in told.legs] == [2, 0]
    assert sum(one.packets for one in told.call.media) == 2800


def test_what_a_phone_system_passes_on_counts_once() -> None:
    a = Exchange("a", phone(101), PBX, "101", "102")
    b = Exchange("b", PBX, phone(102), "101", "102")
    far, near = "10.0.1.102:18000", "10.0.0.10:12002"
    signalling = [
        *call_with(UP, DOWN, exchange=a),
        b.invite(0.05, body=description(near)),
        b.accept(1.9, body=description(far)),
        b.ack(1.95),
        b.bye(30.1),
    ]
    told = watch(in_order(signalling, voice(near, far, 2, 30, ssrc=5), voice(far, near, 2, 30, ssrc=6)))
    assert [len(leg.media) for leg in told.legs] == [2, 2]
    assert sum(one.octets for one in told.call.media) == 2 * 1400 * 160


def test_a_port_that_the_next_call_takes_is_that_calls() -> None:
    second = Exchange("m2", phone(103), PBX, "103", "104")
    told = watch(
        in_order(
            call_with(DOWN, end=None),
            [
                second.invite(30, body=description("10.0.1.103:17000")),
                second.accept(31, body=description(PBX_RTP)),
                second.bye(50),
            ],
            voice("10.0.1.103:17000", PBX_RTP, 32, 40, ssrc=3),
        )
    )
    by_caller = {call.caller.number: call.media for call in told.calls}
    assert [one.packets for one in by_caller["103"]] == [400]
    assert [one.packets for one in by_caller["101"]] == [1400]


def test_a_call_whose_rtp_is_where_another_would_have_its_rtcp_keeps_it() -> None:
    second = Exchange("m2", phone(103), PBX, "103", "104")
    above = rtcp_of(PBX_RTP)
    other = call_with(
        voice("10.0.1.103:17000", above, 2, 30, ssrc=3),
        offer=description("10.0.1.103:17000"),
        answer=description(above),
        exchange=second,
    )
    first = call_with(UP)
    for packets in (in_order(first, other), in_order(other, first)):
        by_caller = {call.caller.number: call.media for call in watch(packets).calls}
        assert [one.packets for one in by_caller["103"]] == [1400]
        assert [one.packets for one in by_caller["101"]] == [1400]


# --- the end of a call


def test_a_call_whose_bye_was_lost_ends_with_its_last_packet_minutes_later() -> None:
    packets = call_with(UP, DOWN, end=None)
    told = watch(packets, end=700)
    assert (told.call.ending, told.call.ended_at_ms) == ("assumed", at_ms(29.98))
    assert watch(packets, end=250).legs == []
    assert watch(packets, "off", end=700).legs == []


def test_media_that_runs_keeps_a_call_alive_beyond_any_silence_of_signalling() -> None:
    sparse = voice(PHONE_RTP, PBX_RTP, 2, 20_000)[::500]
    told = watch(call_with(sparse, end=20_000))
    assert (told.call.ending, told.call.talk_ms) == ("confirmed", 19_998_000)


def test_silence_on_hold_ends_nothing() -> None:
    leg = Exchange("m1", phone(101), PBX, "101", "102")
    hold = [
        leg.request(20, "INVITE", 2, body=description(PHONE_RTP, "0", "a=sendonly")),
        leg.accept(20.1, 2, body=description(PBX_RTP, "0", "a=recvonly")),
    ]
    told = watch(in_order(call_with(voice(PHONE_RTP, PBX_RTP, 2, 20), end=3_000), hold))
    assert (told.call.ending, told.call.talk_ms) == ("confirmed", 2_998_000)


def test_an_rtcp_bye_tells_sooner_that_a_stream_is_over() -> None:
    bye = SipPacket(at(30), "udp", rtcp_of(PHONE_RTP), rtcp_of(PBX_RTP), receiver_report(0x1234) + goodbye(0x1234))
    packets = call_with(UP, [bye], end=None)
    filler = voice("192.0.2.1:4000", "192.0.2.2:4000", 31, 300)[::50]
    assert watch(in_order(packets, filler), end=300).call.ended_at_ms == at_ms(30)
    assert watch(in_order(call_with(UP, end=None), filler), end=300).legs == []


# --- RTCP


REPORTS = [
    SipPacket(
        at(12),
        "udp",
        rtcp_of(PHONE_RTP),
        rtcp_of(PBX_RTP),
        sender_report(0x1234, 500, 80_000, block(9, lost=3, jitter=80)) + source_name(0x1234),
    ),
    SipPacket(
        at(22),
        "udp",
        rtcp_of(PHONE_RTP),
        rtcp_of(PBX_RTP),
        sender_report(0x1234, 1_000, 160_000, block(9, lost=10, jitter=160)) + source_name(0x1234),
    ),
    SipPacket(
        at(23), "udp", rtcp_of(PBX_RTP), rtcp_of(PHONE_RTP), sender_report(9, 1_050, 168_000, block(0x1234, lost=-2))
    ),
]


def test_c10_rtcp_tells_running_counts_of_octets_packets_and_loss_and_the_last_ones_hold() -> None:
    up, down = watch(call_with(REPORTS), "rtcp").call.media
    assert (up.packets, up.octets, up.lost, up.told_by, up.codec) == (1_000, 160_000, -2, "rtcp", "PCMU")
    assert (down.packets, down.octets, down.lost) == (1_050, 168_000, 10)
    assert down.jitter_us == 15_000  # the mean of 80 and 160 steps of 1/8000 s
    assert (up.src, up.dst) == (PHONE_RTP, PBX_RTP)
    assert down.mos is not None
    assert 425 < down.mos < 441


def test_where_rtp_was_counted_rtcp_is_no_flow_beside_it() -> None:
    told = watch(call_with(UP, DOWN, REPORTS))
    assert [(one.packets, one.told_by) for one in told.call.media] == [(1400, "rtp"), (1400, "rtp")]
    assert told.counters["rtcp"] == 3


def test_rtcp_on_the_port_of_rtp_is_told_from_it() -> None:  # RFC 5761
    muxed = [SipPacket(p.at_us, "udp", PHONE_RTP, PBX_RTP, p.payload) for p in REPORTS[:2]]
    offer, answer = (description(place, "0", "a=rtcp-mux") for place in (PHONE_RTP, PBX_RTP))
    told = watch(call_with(UP, muxed, offer=offer, answer=answer))
    assert (told.call.media[0].packets, told.counters["rtcp"]) == (1400, 2)
    assert watch(call_with(muxed, offer=offer, answer=answer), "rtcp").call.media[0].octets == 160_000


def test_a_phones_own_mos_and_round_trip_are_taken_from_its_extended_report() -> None:  # RFC 3611
    told = SipPacket(
        at(20),
        "udp",
        rtcp_of(PHONE_RTP),
        rtcp_of(PBX_RTP),
        receiver_report(0x1234) + voip_metrics(0x1234, 9, r=88, mos_cq=42, round_trip_ms=400),
    )
    opus = (
        description(PHONE_RTP, "96", "a=rtpmap:96 opus/48000/2"),
        description(PBX_RTP, "96", "a=rtpmap:96 opus/48000/2"),
    )
    down = voice(PBX_RTP, PHONE_RTP, 2, 30, kind=96, ssrc=9)
    assert flow(call_with(down, [told], offer=opus[0], answer=opus[1]), from_caller=False).mos == 420
    assert (flow(call_with(DOWN, [told]), from_caller=False).mos or 0) < 420  # G.711, but 200 ms away and more


def test_encrypted_rtcp_is_counted_and_not_read() -> None:
    crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x"
    offer, answer = (description(place, "0", crypto, protocol="RTP/SAVP") for place in (PHONE_RTP, PBX_RTP))
    told = watch(call_with(UP, REPORTS, offer=offer, answer=answer))
    assert told.counters["rtcp_encrypted"] == 3
    assert [one.packets for one in told.call.media] == [1400]


def test_what_a_phone_says_of_its_media_in_the_bye_is_heard() -> None:
    leg = Exchange("m1", phone(101), PBX, "101", "102")
    bye = leg.request(
        30, "BYE", 9, headers=[("X-RTP-Stat", "PS=1400,OS=224000;PS=1400;OS=224000;PR=1390;OR=222400;PL=10,0;JI=3")]
    )
    told = watch([*call_with(end=None), bye, leg.bye_ok(30.1)], "rtcp").call.media
    assert [(one.from_caller, one.packets, one.lost, one.told_by) for one in told] == [
        (True, 1400, 0, "vq"),
        (False, 1400, 10, "vq"),
    ]


def reported(report: Report, media: MediaSetting = "rtcp") -> tuple[bool, tuple[MediaFlow, ...]]:
    tracker = Tracker(media=media)
    packets = call_with()
    for packet in packets[:-2]:
        tracker.feed(packet)
    taken = tracker.report(report)
    for packet in packets[-2:]:
        tracker.feed(packet)
    tracker.tick(at(500))
    [leg] = tracker.drain()[0]
    assert isinstance(leg, SipLeg)
    return taken, leg.media


def test_a_report_belongs_to_the_call_that_awaits_its_stream_or_has_its_call_id() -> None:
    figures = {
        "at_us": at(12),
        "told_by": "rtcp",
        "ssrc": 7,
        "packets": 500,
        "octets": 80_000,
        "lost": 5,
        "jitter_us": 900,
    }
    for ends in ({"src": PHONE_RTP, "dst": PBX_RTP}, {"dst": PBX_RTP}, {"src": PHONE_RTP}):
        taken, [heard] = reported(Report(**figures, **ends))  # type: ignore[arg-type]
        assert taken
        assert (heard.from_caller, heard.packets, heard.octets, heard.lost, heard.jitter_us) == (
            True,
            500,
            80_000,
            5,
            900,
        )
    behind_nat = Report(**figures, call_id=b"m1", src="10.0.1.101:999", dst="203.0.113.1:5")  # type: ignore[arg-type]
    assert reported(behind_nat)[1][0].from_caller
    assert reported(Report(**figures, call_id=b"m1")) == (False, ())  # type: ignore[arg-type]
    assert reported(Report(**figures, src="192.0.2.1:4", dst="192.0.2.2:4")) == (False, ())  # type: ignore[arg-type]
    assert reported(Report(**figures, src=PHONE_RTP, dst=PBX_RTP), "off") == (False, ())  # type: ignore[arg-type]


def test_media_of_a_call_that_was_up_before_is_heard_once_somebody_says_where() -> None:
    leg = Exchange("m1", phone(101), PBX, "101", "102")
    refresh = [
        leg.request(10, "INVITE", 5, body=description(PHONE_RTP)),
        leg.accept(10.1, 5, body=description(PBX_RTP)),
    ]
    told = watch(in_order(UP, DOWN, refresh, [leg.bye(30), leg.bye_ok(30.1)])).call
    assert [(one.from_caller, one.packets) for one in told.media] == [(True, 994), (False, 994)]


def test_what_a_phone_publishes_of_its_voice_quality_is_heard() -> None:  # RFC 6035 section 4.1
    host, _, port = PHONE_RTP.rpartition(":")
    far, _, far_port = PBX_RTP.rpartition(":")
    body = (
        "VQSessionReport: CallTerm\r\nCallID: m1\r\n"
        f"LocalAddr: IP={host} PORT={port} SSRC=0x1234\r\nRemoteAddr: IP={far} PORT={far_port} SSRC=0x9\r\n"
        "LocalMetrics:\r\nDelay: RTD=40 IAJ=3\r\nQualityEst: MOSCQ=4.1\r\n"
    )
    reporting = Exchange("report", phone(101), PBX, "101", "collector")
    publish = reporting.request(29, "PUBLISH", 1, in_dialog=False, body=body)
    opus = [description(place, "96", "a=rtpmap:96 opus/48000/2") for place in (PHONE_RTP, PBX_RTP)]
    down = voice(PBX_RTP, PHONE_RTP, 2, 30, kind=96, ssrc=9)
    [heard] = watch(in_order(call_with(down, offer=opus[0], answer=opus[1]), [publish])).call.media
    assert (heard.from_caller, heard.codec, heard.mos, heard.told_by) == (False, "OPUS", 410, "rtp")


# --- bounds and state


def test_ssrcs_without_end_are_followed_up_to_a_limit_and_the_rest_counted() -> None:
    many = [SipPacket(at(3) + n, "udp", PHONE_RTP, PBX_RTP, rtp(1, 0, ssrc=n)) for n in range(3 * STREAMS_MAX)]
    told = watch(call_with(many))
    assert len(told.call.media) == STREAMS_MAX
    assert told.counters["media_streams_over_limit"] == 2 * STREAMS_MAX


def test_flows_beyond_the_limit_push_out_the_one_silent_for_longest() -> None:
    parts = []
    for number in range(4):
        leg = Exchange(f"f{number}", phone(number + 1), PBX, str(101 + number), "200")
        mine, theirs = f"10.0.1.{number + 1}:16384", f"10.0.0.10:{12000 + 2 * number}"
        talk = voice(mine, theirs, 2 + number, 9)
        parts.append(call_with(talk, offer=description(mine), answer=description(theirs), exchange=leg))
    told = watch(in_order(*parts), limits=Limits(media_flows=2))
    assert told.counters["media_flows_evicted"] >= 2
    assert len(told.calls) == 4
    assert all(call.ending == "confirmed" for call in told.calls)


def test_places_beyond_the_limit_are_counted() -> None:
    told = watch(call_with(UP), limits=Limits(media_places=1))
    assert told.counters["media_places_over_limit"] == 3
    candidates = [f"a=candidate:1 1 UDP 1 198.51.100.{n} 40000 typ host" for n in range(16)]
    streams = [line for port in range(20_000, 20_040, 4) for line in (f"m=audio {port} RTP/AVP 0", *candidates)]
    told = watch(call_with(DOWN, offer=description(PHONE_RTP, "0", *streams)))
    assert [one.packets for one in told.call.media] == [1400]


MIXED = in_order(
    call_with(without(UP[:300], 4, 9), DOWN[:250], REPORTS, key_press(PHONE_RTP, PBX_RTP, 9, 1300, 48_000), end=30),
    call_with(
        voice("10.0.1.103:17000", "10.0.0.10:12004", 2, 6, ssrc=4),
        offer=description("10.0.1.103:17000"),
        answer=description("10.0.0.10:12004"),
        exchange=Exchange("m2", phone(103), PBX, "103", "104"),
        end=None,
    ),
)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, len(MIXED)), max_size=4), st.sampled_from([2, 16_384]))
def test_cut_anywhere_and_restored_the_same_media_comes_out(cuts: list[int], flows: int) -> None:
    def run(cuts: list[int]) -> tuple[list[object], dict[str, int]]:
        limits = Limits(media_flows=flows)
        tracker = Tracker(limits, media="rtp")
        out: list[object] = []
        for number, packet in enumerate(MIXED):
            if number in cuts:
                out += tracker.drain()[0]
                state = tracker.snapshot()
                tracker = Tracker(limits, media="rtp")
                tracker.restore(state)
            for message in Dissector(on_media=tracker.media).feed(packet.at_us, 1, frame_of(packet)):
                tracker.feed(message)
        tracker.tick(at(2_000))
        tracker.tick(at(4_000))
        return out + tracker.drain()[0], tracker.counters

    assert run(cuts) == run([])


def test_what_is_sent_again_after_the_end_leaves_nothing_behind() -> None:
    leg = Exchange("m1", phone(101), PBX, "101", "102")
    again = [leg.accept(33, body=description(PBX_RTP)), leg.request(34, "INVITE", 2, body=description(PHONE_RTP))]
    tracker = Tracker(media="rtp")
    bare = len(Tracker(media="rtp").snapshot())
    for packet in in_order(call_with(end=30), again):
        tracker.feed(packet)
    tracker.tick(at(100))
    tracker.tick(at(500))
    assert len(tracker.snapshot()) < bare + 200
