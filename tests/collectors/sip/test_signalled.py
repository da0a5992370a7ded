"""What signalling tells of a call beside its length: when it began to ring, the final status, the network's own cause."""

import pytest

from tests.collectors.sip.flows import CARRIER, PBX, Exchange, at_ms, in_order, phone, track

NORMAL = ("Reason", 'Q.850;cause=16;text="Terminated"')
BUSY = ("Reason", "SIP ;cause=486, Q.850 ; cause=17")


def call(call_id: str = "a") -> Exchange:
    return Exchange(call_id, phone(101), PBX, "101", "92125551234")


def out(call_id: str = "b") -> Exchange:
    return Exchange(call_id, PBX, CARRIER, "101", "+12125551234")


@pytest.mark.parametrize("status", [180, 183])
def test_post_dial_delay_runs_from_the_invite_to_ringing_or_early_media(status: int) -> None:
    one = call()
    packets = [
        one.invite(0),
        one.answer(0.01, 100),
        one.answer(0.5, 181),
        one.answer(0.9, 182),
        one.answer(2.3, status),
    ]
    told = track([*packets, one.accept(8), one.ack(8.1), one.bye(20), one.bye_ok(20.1)]).call
    assert (told.post_dial_ms, told.status) == (2_300, 200)


def test_post_dial_delay_ends_with_an_answer_where_nothing_rang_and_there_is_none_where_nothing_came() -> None:
    one = call()
    assert track([one.invite(0), one.accept(1.5), one.ack(1.6), one.bye(9)]).call.post_dial_ms == 1_500
    refused = track([one.invite(0), one.answer(1, 404), one.ack(1.1)]).call
    assert (refused.post_dial_ms, refused.status) == (None, 404)


def test_post_dial_delay_counts_the_time_that_a_challenge_takes() -> None:
    one = call()
    packets = [one.invite(0), one.answer(0.1, 407), one.ack(0.1), one.invite(1, cseq=2), one.answer(3, 180, "2 INVITE")]
    told = track([*packets, one.accept(4, cseq=2), one.ack(4.1, cseq=2), one.bye(9)]).call
    assert told.post_dial_ms == 3_000


def test_the_cause_of_a_bye_a_cancel_and_a_refusal() -> None:
    one = call()
    answered = [*one.ring(0), one.accept(1), one.ack(1.1)]
    assert track([*answered, one.request(9, "BYE", 9, headers=[NORMAL])]).call.cause == 16
    assert track([*one.ring(0), one.answer(2, 486, headers=[BUSY]), one.ack(2.1)]).call.cause == 17
    cancel = one.request(5, "CANCEL", 1, in_dialog=False, headers=[("reason", "Q.850;cause=31")])
    assert track([*one.ring(0), cancel, one.answer(5.1, 487), one.ack(5.2)]).call.cause == 31


def test_where_the_network_gave_no_cause_there_is_none() -> None:
    one = call()
    assert track(one.talk(0, 1, 9)).call.cause == 0
    for reason in ('SIP;cause=200;text="Call completed elsewhere"', "Q.850", "Q.850;cause=x", "Q.850;cause=999"):
        refused = [*one.ring(0), one.answer(2, 480, headers=[("Reason", reason)]), one.ack(2.1)]
        told = track(refused)
        assert (told.call.cause, told.legs[0].reason) == (0, reason)


def test_an_announcement_before_the_answer_says_why_nobody_will_answer() -> None:
    """RFC 6432: a gateway plays "the number you have called" with 183 and a cause, until the caller gives up."""
    one = call()
    announced = one.answer(1, 183, headers=[("Reason", "Q.850;cause=1")])
    told = track([one.invite(0), announced, one.request(9, "CANCEL", 1, in_dialog=False), one.answer(9.1, 487)]).call
    assert (told.cause, told.outcome) == (1, "cancelled")


def test_the_cause_that_only_the_carrier_gave_is_the_calls() -> None:
    near, far = call(), out()
    refused = [*far.ring(0.1), far.answer(3, 486, headers=[BUSY]), far.ack(3.1)]
    told = track(in_order(near.refused(0, 3.2, 486), refused)).call
    assert (told.legs, told.cause, told.outcome) == (2, 17, "busy")


def test_a_phone_that_another_was_quicker_than_gives_the_call_no_cause() -> None:
    lost = Exchange("b1", PBX, phone(102), "101", "102")
    cancel = lost.request(5, "CANCEL", 1, in_dialog=False, headers=[("Reason", "Q.850;cause=26")])
    ringing = [*lost.ring(0.1), cancel, lost.answer(5.1, 487), lost.ack(5.2)]
    near = Exchange("a", phone(101), PBX, "101", "200")
    told = track(
        in_order(near.talk(0, 5, 65), ringing, Exchange("b2", PBX, phone(103), "101", "103").talk(0.1, 4.9, 65))
    )
    assert (told.call.cause, told.call.started_at_ms) == (0, at_ms(0))
