"""Calls as they flow over one hop: what becomes of each, and when."""

from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from tests.collectors.sip.flows import PBX, Exchange, at_ms, codes, in_order, message, phone, sdp, track
from tests.collectors.sip.flows import at as at_us


def call(call_id: str = "a", caller: str = "101", dialled: str = "102", **more: str) -> Exchange:
    return Exchange(call_id, phone(int(caller)), PBX, caller, dialled, **more)


def test_an_answered_call_lasts_from_its_first_2xx_to_its_bye() -> None:
    told = track(call().talk(0, 5.25, 65.5)).call
    assert (told.outcome, told.ending) == ("answered", "confirmed")
    assert (told.started_at_ms, told.answered_at_ms, told.ended_at_ms) == (at_ms(0), at_ms(5.25), at_ms(65.5))
    assert told.talk_ms == 60_250
    assert (told.caller.number, told.caller.endpoint, told.dialled) == ("101", "101", "102")
    assert told.complete
    assert told.answered_by is not None
    assert (told.answered_by.number, told.answered_by.endpoint, told.offered) == ("102", "102", ("102",))


def test_a_leg_tells_who_hung_up_and_when_it_rang() -> None:
    [leg] = track(call().talk(0, 5, 65, by="callee")).legs
    assert leg.hung_up_by == "callee"
    assert leg.ringing_at_ms == at_ms(0.1)
    assert (leg.call_id, leg.from_tag, leg.to_tag, leg.src, leg.dst) == ("a", "fa", "ta", phone(101), PBX)


def test_a_busy_callee() -> None:
    for status in (486, 600):
        told = track(call().refused(0, 1, status)).call
        assert (told.outcome, told.talk_ms, told.answered_at_ms) == ("busy", 0, None)
        assert told.ended_at_ms == at_ms(1)


def test_a_caller_who_gives_up() -> None:
    told = track(call().cancelled(0, 12)).call
    assert (told.outcome, told.talk_ms, told.ended_at_ms) == ("cancelled", 0, at_ms(12.01))


def test_nobody_answers() -> None:
    for status in (408, 480):
        assert track(call().refused(0, 30, status)).call.outcome == "no_answer"


def test_an_invite_that_nobody_ever_answers_is_given_up_with_its_last_sign_of_life() -> None:
    exchange = call()
    packets = [exchange.invite(0), exchange.invite(0.5), exchange.invite(1.5), exchange.invite(3.5)]
    told = track(packets)
    assert (told.call.outcome, told.call.ending, told.call.ended_at_ms) == ("no_answer", "assumed", at_ms(3.5))
    assert told.counters["retransmissions"] == 3


def test_a_call_that_fails() -> None:
    for status in (403, 404, 488, 500, 503, 603):
        assert track(call().refused(0, 1, status)).call.outcome == "failed"


def test_retransmissions_are_nothing_new() -> None:
    packets = call().talk(0, 5, 65)
    doubled = in_order(packets, packets)
    assert track(doubled).legs == track(packets).legs


def test_a_challenge_and_the_retry_are_one_attempt() -> None:
    exchange = call()
    packets = [
        exchange.invite(0),
        exchange.answer(0.1, 401, to_tag="challenge"),
        exchange.ack(0.11),
        exchange.invite(0.2, cseq=2),
        exchange.answer(0.3, 180, "2 INVITE"),
        exchange.accept(4, cseq=2),
        exchange.ack(4.1, cseq=2),
        exchange.bye(10),
        exchange.bye_ok(10.1),
    ]
    told = track(packets)
    assert len(told.legs) == 1
    assert (told.call.outcome, told.call.started_at_ms, told.call.talk_ms) == ("answered", at_ms(0), 6_000)


def test_a_challenge_that_nobody_takes_up_is_a_failed_call_a_minute_later() -> None:
    exchange = call()
    packets = [exchange.invite(0), exchange.answer(0.1, 407), exchange.ack(0.2)]
    assert track(packets, end=59).calls == []
    assert track(packets, end=62).call.outcome == "failed"


def test_a_call_is_handed_in_two_seconds_after_its_end() -> None:
    packets = call().talk(0, 1, 5)
    assert track(packets, end=6.9).calls == []
    assert len(track(packets, end=8.1).calls) == 1


def test_a_lost_bye_ends_the_call_with_its_last_sign_of_life_and_not_before_four_hours() -> None:
    exchange = call()
    packets = [*exchange.ring(0), exchange.accept(5), exchange.ack(5.1), exchange.request(60, "INFO", 3)]
    assert track(packets, end=4 * 3600 + 50).calls == []
    told = track(packets, end=4 * 3600 + 70).call
    assert (told.outcome, told.ending, told.ended_at_ms, told.talk_ms) == ("answered", "assumed", at_ms(60), 55_000)


def test_a_session_timer_tells_of_a_lost_bye_sooner() -> None:
    exchange = call()
    timer = [("Session-Expires", "90;refresher=uac")]
    packets = [*exchange.ring(0), exchange.accept(5, headers=timer), exchange.ack(5.1)]
    assert track(packets, end=150).calls == []
    assert track(packets, end=160).call.ending == "assumed"


def test_a_call_that_is_up_when_the_capture_ends_is_open() -> None:
    exchange = call()
    told = track([*exchange.ring(0), exchange.accept(5), exchange.ack(45)], end=None).call
    assert (told.outcome, told.ending, told.talk_ms) == ("answered", "open", 40_000)


def test_an_answer_that_was_not_captured_shows_in_the_ack_and_the_bye() -> None:
    exchange = call()
    told = track([*exchange.ring(0), exchange.ack(5), exchange.bye(65), exchange.bye_ok(65.1)]).call
    assert (told.outcome, told.talk_ms, told.ending) == ("answered", 60_000, "assumed")


def test_the_other_end_that_knows_the_dialog_no_more_ends_it() -> None:
    exchange = call()
    packets = [
        *exchange.ring(0),
        exchange.accept(5),
        exchange.ack(5.1),
        exchange.request(30, "UPDATE", 3),
        exchange.answer(30.1, 481, "3 UPDATE"),
    ]
    told = track(packets, end=40).call
    assert (told.outcome, told.ending, told.talk_ms) == ("answered", "assumed", 25_100)


def test_a_call_id_that_comes_again_after_the_bye_is_another_call() -> None:
    first, second = call(), call(from_tag="again", to_tag="other")
    told = track([*first.talk(0, 5, 65), *second.talk(66, 70, 80)])
    assert [(one.talk_ms, one.started_at_ms) for one in told.calls] == [(60_000, at_ms(0)), (10_000, at_ms(66))]
    assert len({leg.key for leg in told.legs}) == 2


def test_a_call_id_and_from_tag_that_come_again_after_the_bye_are_another_call() -> None:
    exchange = call()
    again = [exchange.invite(70, cseq=20), exchange.accept(72, cseq=20), exchange.ack(72.1, cseq=20), exchange.bye(82)]
    assert [one.talk_ms for one in track([*exchange.talk(0, 5, 65), *again]).calls] == [60_000, 10_000]


def test_a_redirected_call_and_the_invite_that_follows_it_are_one_call_of_the_caller() -> None:
    first = call()
    second = Exchange("a", phone(101), "10.0.2.5:5060", "101", "105", from_tag="fa", to_tag="new")
    packets = [
        *first.ring(0),
        first.answer(3, 302, headers=[("Contact", "<sip:105@10.0.2.5>")]),
        first.ack(3.1),
        second.invite(3.2, cseq=2),
        second.accept(6, cseq=2),
        second.ack(6.1, cseq=2),
        second.bye(16),
        second.bye_ok(16.1),
    ]
    told = track(packets)
    assert len(told.legs) == 2
    assert (told.call.outcome, told.call.talk_ms, told.call.dialled) == ("answered", 10_000, "102")
    assert codes(told.call) == [("call_forward_no_answer", "102")]


def test_a_redirect_says_why_by_its_diversion() -> None:
    exchange = call()
    why = [("Contact", "<sip:105@10.0.2.5>"), ("Diversion", "<sip:102@office.example>;reason=user-busy")]
    told = track([exchange.invite(0), exchange.answer(1, 302, headers=why), exchange.ack(1.1)]).call
    assert codes(told) == [("call_forward_busy", "102")]


def test_hold_counts_once_for_each_time_it_begins() -> None:
    exchange = call()
    held, live = sdp("sendonly"), sdp()

    def again(seconds: float, cseq: int, body: str) -> list[SipPacket]:
        answer = exchange.accept(seconds + 0.1, cseq=cseq)
        return [exchange.request(seconds, "INVITE", cseq, body=body), answer, exchange.ack(seconds + 0.2, cseq=cseq)]

    packets = [*exchange.ring(0), exchange.accept(1), exchange.ack(1.1)]
    packets += again(10, 2, held) + again(20, 3, held) + again(30, 4, live) + again(40, 5, held)
    packets += [exchange.bye(50), exchange.bye_ok(50.1)]
    told = track(packets)
    assert len(told.legs) == 1
    assert told.call.talk_ms == 49_000
    assert [(use.code, use.endpoint, use.count) for use in told.call.features] == [("hold", "101", 2)]


def test_hold_in_the_old_way_and_by_update_and_by_the_callee() -> None:
    exchange = call()
    old = sdp().replace("c=IN IP4 10.0.1.1", "c=IN IP4 0.0.0.0")
    for body in (old, sdp("inactive")):
        hold = exchange.request(10, "UPDATE", 4, by="callee", body=body)
        taken = exchange.answer(10.1, 200, "4 UPDATE", by="caller", body=sdp("recvonly"))
        told = track([*exchange.ring(0), exchange.accept(1), exchange.ack(1.1), hold, taken, exchange.bye(50)]).call
        assert codes(told) == [("hold", "102")]


def test_a_re_invite_to_t38_counts_as_fax_also_where_it_is_refused_and_the_fax_goes_on_as_audio() -> None:
    exchange = call()
    t38 = "v=0\r\no=- 1 1 IN IP4 10.0.1.1\r\ns=-\r\nc=IN IP4 10.0.1.1\r\nt=0 0\r\nm=image 4000 udptl t38\r\n"
    begin = [*exchange.ring(0), exchange.accept(1), exchange.ack(1.1), exchange.request(10, "INVITE", 2, body=t38)]
    taken = [exchange.accept(10.2, cseq=2, body=t38), exchange.ack(10.3, cseq=2), exchange.bye(50)]
    refused = [exchange.answer(10.2, 488, "2 INVITE"), exchange.ack(10.3, cseq=2), exchange.bye(50)]
    assert codes(track(begin + taken).call) == [("fax", "101")]
    told = track(begin + refused).call
    assert (codes(told), told.talk_ms) == ([("fax", "101")], 49_000)


def test_video_and_encryption_show_in_the_answer() -> None:
    exchange = call()
    body = sdp(more="m=video 5004 RTP/SAVP 96\r\n").replace("RTP/AVP", "RTP/SAVP")
    packets = [*exchange.ring(0), exchange.accept(1, body=body), exchange.ack(1.1), exchange.bye(9)]
    assert codes(track(packets).call) == [("encrypted_call", "101"), ("video", "101")]
    refused = body.replace("m=video 5004", "m=video 0").replace("RTP/SAVP", "RTP/AVP")
    packets = [*exchange.ring(0), exchange.accept(1, body=refused), exchange.ack(1.1), exchange.bye(9)]
    assert codes(track(packets).call) == []


def test_a_conference_bridge_says_so_in_its_contact() -> None:
    exchange = call(dialled="500")
    focus = [("Contact", "<sip:500@10.0.0.10>;isfocus")]
    packets = [*exchange.ring(0), exchange.accept(1, headers=focus), exchange.ack(1.1), exchange.bye(9)]
    assert codes(track(packets).call) == [("conference", "101")]


def test_intercom_asks_the_phone_to_answer_by_itself() -> None:
    for header in (
        ("Call-Info", "<sip:office.example>;answer-after=0"),
        ("Alert-Info", "<http://office.example>;info=alert-autoanswer"),
        ("Answer-Mode", "Auto"),
    ):
        assert codes(track(call(headers=[header]).talk(0, 1, 9)).call) == [("intercom", "101")]


def test_a_diversion_and_a_history_tell_who_forwarded_and_why() -> None:
    diverted = call(headers=[("Diversion", "<sip:107@x>;reason=no-answer, <sip:108@x>;reason=unconditional")])
    assert codes(track(diverted.talk(0, 1, 9)).call) == [
        ("call_forward_no_answer", "107"),
        ("call_forward_unconditional", "108"),
    ]
    history = "<sip:107@x?Reason=SIP%3Bcause%3D486>;index=1, <sip:108@x>;index=1.1"
    assert codes(track(call(headers=[("History-Info", history)]).talk(0, 1, 9)).call) == [("call_forward_busy", "107")]
    history = "<sip:107@x>;index=1, <sip:108@x;cause=408>;index=1.1"
    told = track(call(headers=[("History-Info", history)]).talk(0, 1, 9)).call
    assert codes(told) == [("call_forward_no_answer", "107")]


def test_a_voicemail_uri_names_the_box() -> None:
    exchange = call(uri="sip:vm@10.0.0.10;target=sip%3A107%40office.example;cause=408")
    assert codes(track(exchange.talk(0, 1, 9)).call) == [("voicemail_deposit", "107")]


def test_a_caller_without_name_is_known_by_the_asserted_identity() -> None:
    asserted = [("P-Asserted-Identity", '"Jo" <sip:+12125550123@x>, <tel:+12125550123>')]
    told = track(call(caller="101", headers=asserted).talk(0, 1, 9)).call
    assert told.caller.number == "101"
    hidden = Exchange("a", phone(101), PBX, "anonymous", "102", headers=asserted)
    assert track(hidden.talk(0, 1, 9)).call.caller.number == "+12125550123"


def test_an_old_phone_without_a_from_tag_still_makes_a_call() -> None:
    exchange = call()
    packets = [
        SipPacket(packet.at_us, "udp", packet.src, packet.dst, packet.payload.replace(b";tag=fa", b""))
        for packet in exchange.talk(0, 1, 9)
    ]
    assert track(packets).call.talk_ms == 8_000


def test_no_other_method_and_no_answer_without_a_question_opens_a_call() -> None:
    exchange = call()
    options = exchange.request(0, "OPTIONS", 1, in_dialog=False)
    crossed = SipPacket(at_us(1), "udp", options.src, PBX, options.payload.replace(b"1 OPTIONS", b"1 INVITE"))
    told = track([options, crossed, exchange.accept(2), exchange.ack(3), exchange.bye(4)])
    assert told.records == []
    assert told.rejects == []


def test_a_re_invite_of_a_call_that_began_before_the_capture_is_counted_and_opens_nothing_by_itself() -> None:
    exchange = call()
    told = track([exchange.request(0, "INVITE", 7, body=sdp()), exchange.answer(1, 481, "7 INVITE"), exchange.bye(9)])
    assert told.legs == []
    assert told.counters["mid_dialog"] == 2


def test_answers_that_overtake_each_other_change_nothing() -> None:
    exchange = call()
    order = [exchange.invite(0), exchange.accept(1), exchange.answer(1.1, 100), exchange.answer(1.2, 180)]
    assert track([*order, exchange.ack(1.3), exchange.bye(11)]).call.talk_ms == 10_000


def test_a_clock_that_is_set_ahead_is_neither_silence_nor_talk() -> None:
    exchange, year = call(), 365 * 86_400
    packets = [
        *exchange.ring(0),
        exchange.accept(5),
        exchange.ack(5.1),
        exchange.bye(year + 65),
        exchange.bye_ok(year + 66),
    ]
    told = track(packets, end=None)
    assert (told.call.outcome, told.call.ending) == ("answered", "assumed")
    assert told.call.talk_ms < 1_000
    assert told.counters["clock_steps"] == 1


def test_a_clock_that_is_set_back_gives_no_negative_span() -> None:
    exchange = call()
    packets = [
        exchange.invite(80_000),
        exchange.accept(80_005),
        exchange.ack(80_006),
        exchange.bye(10),
        exchange.bye_ok(11),
    ]
    told = track(packets, end=None).call
    assert 0 <= told.talk_ms <= 1_100
    assert told.started_at_ms <= told.ended_at_ms


def test_at_the_limit_the_oldest_unanswered_call_is_handed_in_as_it_stands() -> None:
    talking = call("talk", "101", "102")
    flood = [call(f"flood{number}", "103", "104").invite(10 + number / 10) for number in range(120)]
    packets = [*talking.ring(0), talking.accept(1), talking.ack(1.1), *flood, talking.bye(131), talking.bye_ok(131.1)]
    told = track(packets, limits=Limits(calls=100))
    assert told.counters["calls_evicted"] == 21
    assert len(told.calls) == 121
    assert next(one for one in told.calls if one.dialled == "102").talk_ms == 130_000


def test_a_malformed_message_that_can_still_be_used_counts_in_its_call() -> None:
    exchange = call()
    broken = exchange.invite(0).payload.replace(b"From: ", b'From: "unclosed ')
    told = track([SipPacket(at_us(0), "udp", phone(101), PBX, broken), *exchange.talk(0, 1, 9)[1:]])
    assert told.call.talk_ms == 8_000
    assert told.counters["malformed"] == 1


def test_a_message_that_cannot_be_used_is_rejected_with_its_reason_place_and_octets() -> None:
    data = message(
        "INVITE sip:102@x SIP/2.0", [("From", "<sip:101@x>;tag=1"), ("To", "<sip:102@x>"), ("CSeq", "1 INVITE")]
    )
    told = track([call().invite(0), SipPacket(at_us(1), "udp", phone(101), PBX, data)])
    [reject] = told.rejects
    assert (reject.reason, reject.position, reject.excerpt, reject.at_ms) == ("no_call_id", "packet 2", data, at_ms(1))


def test_keep_alives_are_no_errors() -> None:
    stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
    packets = [
        SipPacket(at_us(n), "udp", phone(101), PBX, data)
        for n, data in enumerate((b"\r\n\r\n", b"\0\0\0\0", b"hello", stun))
    ]
    told = track(packets)
    assert told.rejects == []
    assert told.counters["keepalives"] == 4
