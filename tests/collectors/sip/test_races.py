"""What crosses, comes late, comes twice or is tried again: it is one call all the same, and as long as it was."""

import pytest

from collectors.sip.packets import SipPacket
from tests.collectors.sip.flows import CARRIER, PBX, Exchange, at_ms, codes, in_order, phone, sdp, track

PROXY = "10.0.0.20:5060"
HELD = sdp("sendonly")


def call(call_id: str = "a", caller: str = "101", dialled: str = "102", **more: str) -> Exchange:
    return Exchange(call_id, phone(int(caller)), PBX, caller, dialled, **more)


def up(one: Exchange) -> list[SipPacket]:
    """Rings and is answered after five seconds."""
    return [*one.ring(0), one.accept(5), one.ack(5.1)]


# --- the beginning


def test_an_answer_that_crosses_the_cancel_is_an_answer_and_the_bye_ends_it() -> None:
    """RFC 3261 section 9.1: a CANCEL after the final answer has no effect; the caller acknowledges and hangs up."""
    one = call()
    cancel = [one.request(5, "CANCEL", 1, in_dialog=False), one.answer(5.04, 200, "1 CANCEL")]
    told = track([*one.ring(0), cancel[0], one.accept(5.02), cancel[1], one.ack(5.06), one.bye(5.08), one.bye_ok(5.1)])
    assert (told.call.outcome, told.call.talk_ms, told.call.ending) == ("answered", 60, "confirmed")


def test_a_2xx_that_comes_again_until_its_ack_comes_is_one_answer() -> None:
    """RFC 6026: the server stays in its accepted state, takes INVITEs that come again, and repeats the 2xx."""
    one = call()
    answers = [one.accept(seconds) for seconds in (5, 5.5, 6.5, 8.5, 65.3)]
    told = track(in_order(one.ring(0), answers, [one.invite(5.2), one.ack(8.6), one.bye(65), one.bye_ok(65.1)]))
    assert (len(told.legs), told.call.talk_ms) == (1, 60_000)


def test_a_2xx_that_is_never_acknowledged_lasts_until_the_callee_gives_up() -> None:
    one = call()
    answers = [one.accept(seconds) for seconds in (5, 5.5, 6.5, 8.5, 12.5, 16.5, 20.5)]
    told = track([*one.ring(0), *answers, one.bye(37, by="callee"), one.bye_ok(37.1, by="caller")])
    assert (told.call.outcome, told.call.talk_ms, told.legs[0].hung_up_by) == ("answered", 32_000, "callee")


def test_a_branch_that_rang_first_and_lost_is_still_a_branch() -> None:
    """199 (RFC 6228) ends it early."""
    one = call(to_tag="t1", dialled="200")
    second = [("Contact", "<sip:103@10.0.1.103>")]
    packets = [one.invite(0), one.answer(0.1, 180), one.answer(0.2, 180, to_tag="t2", headers=second)]
    answered = [one.accept(9, to_tag="t2", headers=second), one.ack(9.1), one.bye(19, to_tag="t2")]
    told = track([*packets, one.answer(5, 199), *answered])
    assert (told.call.legs, told.call.talk_ms, told.call.offered) == (2, 10_000, ("103",))
    assert codes(told.call) == [("ring_group", "103")]


def test_199_is_no_ringing_and_no_branch_of_its_own() -> None:
    one = call()
    told = track([one.invite(0), one.answer(1, 199, to_tag="x"), one.answer(2, 480), one.ack(2.1)]).call
    assert (told.legs, told.post_dial_ms, told.offered, told.outcome) == (1, None, (), "no_answer")


def test_offers_before_the_answer_hold_nobody() -> None:
    one = call()
    early = [
        *[one.invite(0), one.answer(1, 183, headers=[("Require", "100rel"), ("RSeq", "1")])],
        *[one.request(1.1, "PRACK", 2, headers=[("RAck", "1 1 INVITE")]), one.answer(1.2, 200, "2 PRACK")],
        *[one.request(2, "UPDATE", 3, body=sdp("inactive")), one.answer(2.1, 200, "3 UPDATE", body=sdp("inactive"))],
        *[one.request(3, "UPDATE", 4, body=sdp()), one.answer(3.1, 200, "4 UPDATE", body=sdp())],
    ]
    told = track([*early, one.accept(5), one.ack(5.1), one.bye(65), one.bye_ok(65.1)])
    assert (len(told.legs), told.call.talk_ms, codes(told.call)) == (1, 60_000, [])


def test_an_invite_without_an_offer_is_a_call_like_any_other() -> None:
    one = call()
    invite = one.request(0, "INVITE", 1, in_dialog=False)
    assert b"Content-Type" not in invite.payload
    told = track([invite, one.answer(0.1, 180), one.accept(5), one.ack(5.1), one.bye(65), one.bye_ok(65.1)])
    assert (told.call.outcome, told.call.talk_ms) == ("answered", 60_000)


# --- tried again


def test_a_session_interval_that_was_too_small_is_tried_again_in_the_same_call() -> None:
    one = call()
    first = [one.invite(0, headers=[("Session-Expires", "90")]), one.answer(0.1, 422, headers=[("Min-SE", "600")])]
    again = [one.ack(0.11), one.invite(0.2, cseq=2, headers=[("Session-Expires", "600")]), one.accept(5, cseq=2)]
    told = track([*first, *again, one.ack(5.1, cseq=2), one.bye(65)])
    assert (len(told.legs), told.call.outcome, told.call.talk_ms) == (1, "answered", 60_000)


def digits(dialled: str) -> Exchange:
    return Exchange("a", phone(101), PBX, "101", dialled, from_tag="f")


def test_digits_that_come_one_by_one_are_one_call_to_the_whole_number() -> None:
    """Overlap dialling (RFC 3578): each INVITE has more digits, each but the last gets 484, some only after the next."""
    packets = [
        *[digits("030").invite(0, cseq=1), digits("030").answer(0.2, 484, "1 INVITE"), digits("030").ack(0.3)],
        *[digits("0301").invite(9, cseq=2), digits("03012").invite(9.5, cseq=3)],
        *[digits("0301").answer(9.6, 484, "2 INVITE"), digits("03012").answer(10, 180, "3 INVITE")],
        *[digits("03012").accept(12, cseq=3), digits("03012").ack(12.1, cseq=3), digits("03012").bye(42)],
    ]
    told = track(packets)
    assert (told.call.legs, told.call.dialled, told.call.offered) == (1, "03012", ("03012",))
    assert (told.call.outcome, told.call.talk_ms) == ("answered", 30_000)


def test_digits_that_never_were_enough_are_a_failed_call() -> None:
    told = track([digits("030").invite(0), digits("030").answer(0.2, 484), digits("030").ack(0.3)])
    assert (told.call.outcome, told.call.status) == ("failed", 484)


@pytest.mark.parametrize("status", [300, 301, 302, 305])
def test_a_redirection_may_be_followed_under_another_call_id(status: int) -> None:
    one, target = call(), "10.0.2.5:5060"
    contact = f"<sip:{target}>" if status == 305 else f"<sip:105@{target}>"
    other = Exchange("z", phone(101), target, "101", "102" if status == 305 else "105")
    refused = [*one.ring(0), one.answer(3, status, headers=[("Contact", contact)]), one.ack(3.1)]
    told = track([*refused, *other.talk(3.3, 6, 16)]).call
    assert (told.legs, told.outcome, told.talk_ms, told.dialled) == (2, "answered", 10_000, "102")


def test_who_calls_the_same_number_again_after_a_redirected_call_makes_a_call_of_their_own() -> None:
    one, target = call(), "10.0.2.5:5060"
    refused = [*one.ring(0), one.answer(3, 302, headers=[("Contact", f"<sip:105@{target}>")]), one.ack(3.1)]
    followed = Exchange("a", phone(101), target, "101", "105", from_tag="fa")
    told = track(
        [*refused, *followed.talk(3.3, 6, 8), *Exchange("z", phone(101), target, "101", "105").talk(9, 12, 20)]
    )
    assert [(one.legs, one.talk_ms) for one in told.calls] == [(2, 2_000), (1, 8_000)]


def test_a_redirection_that_the_phone_system_follows_is_the_same_call() -> None:
    near, first = call(), Exchange("b", PBX, phone(102), "101", "102")
    moved = [
        *first.ring(0.1),
        first.answer(1, 302, headers=[("Contact", "<sip:+12125551234@10.0.0.10>")]),
        first.ack(1.1),
    ]
    out = Exchange("c", PBX, CARRIER, "+12125550100", "+12125551234")
    told = track(in_order(near.talk(0, 5, 65), moved, out.talk(1.2, 4.9, 65))).call
    assert (told.legs, told.talk_ms) == (3, 60_000)
    assert ("call_forward_no_answer", "102") in codes(told)


# --- many hops


def test_a_call_that_goes_round_and_round_is_one_failed_call() -> None:
    for status in (482, 483):
        round_trip = [
            Exchange("a", PROXY, PBX, "101", "102", from_tag="f"),
            Exchange("a", PBX, PROXY, "101", "102", from_tag="f"),
        ]
        first = Exchange("a", phone(101), PROXY, "101", "102", from_tag="f")
        hops = [hop.invite(0.01 * (number + 1)) for number in range(35) for hop in round_trip]
        answers = [round_trip[1].answer(2, status), round_trip[0].answer(2.01, status), first.answer(2.1, status)]
        told = track(in_order([first.invite(0)], hops, answers)).call
        assert (told.outcome, told.status, told.talk_ms) == ("failed", status, 0)


def test_a_request_that_arrives_by_two_ways_is_one_call() -> None:
    """A proxy forked it, and both branches lead to one phone, which refuses the second (RFC 3261 section 8.2.2.2)."""
    near = Exchange("a", phone(101), PROXY, "101", "102", from_tag="f", to_tag="t")
    one = Exchange("a", PROXY, phone(102), "101", "102", from_tag="f", to_tag="t")
    two = Exchange("a", "10.0.0.21:5060", phone(102), "101", "102", from_tag="f", to_tag="t")
    told = track(in_order(near.talk(0, 5, 65), one.talk(0.1, 4.9, 65), two.refused(0.2, 0.4, 482))).call
    assert (told.legs, told.outcome, told.talk_ms) == (3, "answered", 60_000)


def test_a_spiral_through_a_proxy_is_one_call() -> None:
    """The same request passes the same hop again, with another Request-URI and branch."""
    near = Exchange("a", phone(101), PROXY, "101", "102", from_tag="f", to_tag="t")
    there = Exchange("a", PROXY, PBX, "101", "102", from_tag="f", to_tag="t")
    back = Exchange("a", PBX, PROXY, "101", "103", from_tag="f", to_tag="t")
    again = Exchange("a", PROXY, PBX, "101", "104", from_tag="f", to_tag="t")
    told = track(
        in_order(
            near.talk(0, 5, 65), there.talk(0.01, 4.9, 65.03), back.talk(0.02, 4.8, 65.02), again.talk(0.03, 4.7, 65.01)
        )
    ).call
    assert (told.outcome, told.talk_ms, told.dialled) == ("answered", 60_000, "102")


# --- while it is up


def test_two_offers_that_cross_are_both_refused_and_the_one_tried_again_holds_once() -> None:
    one = call()
    crossing = [
        *[one.request(10, "INVITE", 2, body=HELD), one.request(10.01, "INVITE", 1, by="callee", body=HELD)],
        *[one.answer(10.1, 491, "2 INVITE"), one.answer(10.11, 491, "1 INVITE", by="caller")],
        *[one.ack(10.2, cseq=2), one.ack(10.21, by="callee")],
        *[
            one.request(12, "INVITE", 3, body=HELD),
            one.accept(12.1, cseq=3, body=sdp("recvonly")),
            one.ack(12.2, cseq=3),
        ],
    ]
    told = track([*up(one), *crossing, one.bye(65), one.bye_ok(65.1)]).call
    assert (told.talk_ms, [(use.code, use.endpoint, use.count) for use in told.features]) == (
        60_000,
        [("hold", "101", 1)],
    )


def test_a_connected_party_that_is_told_by_another_from_ends_the_same_call() -> None:
    """RFC 4916: the URIs of From and To may change in a dialog, the tags may not."""
    one = call()
    renamed = one.request(6, "UPDATE", 1, by="callee", body=sdp()).payload.replace(b"sip:102@", b"sip:150@")
    bye = one.bye(65, by="callee").payload.replace(b"sip:102@", b"sip:150@")
    src, dst = PBX, phone(101)
    told = track(
        [
            *up(one),
            SipPacket(up(one)[0].at_us + 6_000_000, "udp", src, dst, renamed),
            one.answer(6.1, 200, "1 UPDATE", by="caller", body=sdp()),
            SipPacket(up(one)[0].at_us + 65_000_000, "udp", src, dst, bye),
        ]
    )
    assert (len(told.legs), told.call.talk_ms, told.call.ending) == (1, 60_000, "confirmed")


def test_a_session_that_is_refreshed_is_up_and_one_whose_refresh_stops_is_over() -> None:
    one = call()
    timer = [("Session-Expires", "90;refresher=uac")]
    packets = [*one.ring(0), one.accept(5, headers=timer), one.ack(5.1)]
    for number in range(20):
        seconds = 50 + 45 * number
        packets.append(one.request(seconds, "UPDATE", 2 + number, headers=timer))
        packets.append(one.answer(seconds + 0.1, 200, f"{2 + number} UPDATE", headers=timer))
    assert track(packets, end=1_050).calls == []
    told = track(packets, end=1_070).call
    assert (told.ending, told.ended_at_ms) == ("assumed", at_ms(905.1))


def test_a_refresh_that_is_answered_without_a_timer_turns_the_timer_off() -> None:
    """RFC 4028 section 7.2."""
    one = call()
    packets = [*one.ring(0), one.accept(5, headers=[("Session-Expires", "90")]), one.ack(5.1)]
    again = [one.request(50, "UPDATE", 2), one.answer(50.1, 200, "2 UPDATE"), one.bye(3_605), one.bye_ok(3_605.1)]
    told = track([*packets, *again]).call
    assert (told.ending, told.talk_ms) == ("confirmed", 3_600_000)


# --- the end


@pytest.mark.parametrize("status", [408, 481, 500])
def test_a_bye_ends_the_call_whatever_answers_it(status: int) -> None:
    one = call()
    told = track([*up(one), one.bye(65), one.answer(65.1, status, "9 BYE")]).call
    assert (told.outcome, told.talk_ms, told.ending) == ("answered", 60_000, "confirmed")


def test_two_byes_that_cross_are_one_end() -> None:
    one = call()
    told = track([*up(one), one.bye(65), one.bye(65.01, by="callee"), one.bye_ok(65.1), one.bye_ok(65.11, by="caller")])
    assert (len(told.calls), told.call.talk_ms, told.legs[0].hung_up_by) == (1, 60_000, "caller")


@pytest.mark.parametrize("status", [408, 481])
def test_an_offer_that_reaches_nobody_any_more_shows_that_the_call_is_over(status: int) -> None:
    one = call()
    told = track([*up(one), one.request(35, "INVITE", 2, body=HELD), one.answer(35.1, status, "2 INVITE")], end=60).call
    assert (told.ending, told.talk_ms, codes(told)) == ("assumed", 30_100, [])


# --- what is asked from outside of the dialog


def refer(seconds: float, headers: list[tuple[str, str]], status: int = 202) -> list[SipPacket]:
    """An application to phone 101."""
    desk = Exchange("r", "10.0.0.30:5060", phone(101), "assistant", "101")
    return [
        desk.request(
            seconds, "REFER", 1, in_dialog=False, headers=[("Refer-To", "<sip:103@office.example>"), *headers]
        ),
        desk.answer(seconds + 0.1, status, "1 REFER"),
    ]


def test_an_application_that_has_a_phone_call_somebody_is_click_to_dial() -> None:
    told = track(in_order(refer(0, []), call(dialled="103").talk(0.5, 4, 14)))
    assert [(use.code, use.endpoint) for use in told.uses] == [("click_to_dial", "101")]
    assert (told.call.talk_ms, told.counters.get("orphans", 0)) == (10_000, 0)
    assert track(refer(0, [], status=603)).uses == []


def test_a_transfer_from_outside_that_names_the_dialog_goes_on_as_the_same_call() -> None:
    """RFC 4538."""
    near, far = call(), Exchange("b", PBX, phone(102), "101", "102")
    target = [("Target-Dialog", "a;local-tag=fa;remote-tag=ta")]
    onward = Exchange("c", phone(101), PBX, "101", "103")
    told = track(in_order(near.talk(0, 5, 31), far.talk(0.1, 4.9, 31), refer(30, target), onward.talk(30.3, 35, 60)))
    assert [(use.code, use.endpoint) for use in told.uses] == [("transfer_blind", "assistant")]
    assert (told.call.legs, told.call.talk_ms) == (3, 26_000 + 25_000)


def test_who_is_asked_into_a_conference_or_out_of_it_is_not_transferred() -> None:
    one = call(dialled="500")
    focus = [*one.ring(0), one.accept(1, headers=[("Contact", "<sip:500@10.0.0.10>;isfocus")]), one.ack(1.1)]
    asked = []
    for number, target in enumerate(("<sip:103@office.example>", "<sip:103@office.example;method=BYE>")):
        asked.append(one.request(10 + number, "REFER", 2 + number, headers=[("Refer-To", target)]))
        asked.append(one.answer(10.1 + number, 202, f"{2 + number} REFER"))
    told = track([*focus, *asked, one.bye(60), one.bye_ok(60.1)]).call
    assert codes(told) == [("conference", "101")]
