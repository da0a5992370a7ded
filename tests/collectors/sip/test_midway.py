"""Calls that were up before the capture began: counted once, from the first that was heard of them."""

import pytest

from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import PBX, Exchange, at, at_ms, in_order, phone, sdp, track


def near() -> Exchange:
    return Exchange("a", phone(101), PBX, "101", "102")


def far() -> Exchange:
    return Exchange("b", PBX, phone(102), "101", "102")


def again(one: Exchange, seconds: float, cseq: int = 7) -> list[SipPacket]:
    """A re-INVITE, as a session refresh is."""
    body = sdp()
    return [
        one.request(seconds, "INVITE", cseq, body=body),
        one.accept(seconds + 0.1, cseq=cseq),
        one.ack(seconds + 0.2, cseq=cseq),
    ]


def end(one: Exchange, seconds: float, by: str = "caller") -> list[SipPacket]:
    return [one.bye(seconds, by=by), one.bye_ok(seconds + 0.1, by="callee" if by == "caller" else "caller")]


def test_a_call_of_which_only_the_end_is_captured_is_a_call_that_lasted_nobody_knows_how_long() -> None:
    told = track(end(near(), 10)).call
    assert (told.partial, told.outcome, told.talk_ms) == (True, "answered", 0)
    assert (told.started_at_ms, told.ended_at_ms, told.caller.number, told.dialled) == (
        at_ms(10),
        at_ms(10),
        "101",
        "102",
    )
    assert told.post_dial_ms is None


def test_a_call_that_is_refreshed_is_up_from_then_on() -> None:
    told = track([*again(near(), 10), *end(near(), 70)]).call
    assert (told.partial, told.talk_ms, told.ending, told.legs) == (True, 60_000, "confirmed", 1)


def test_an_ack_tells_when_a_call_began_whose_invite_was_just_missed() -> None:
    told = track([near().ack(1), *end(near(), 61)]).call
    assert (told.partial, told.talk_ms, told.started_at_ms) == (True, 60_000, at_ms(1))


def test_a_session_timer_that_was_agreed_before_ends_it_when_the_refresh_stops() -> None:
    one, timer = near(), [("Session-Expires", "90;refresher=uac")]
    packets = [one.request(10, "UPDATE", 3, headers=timer), one.answer(10.1, 200, "3 UPDATE", headers=timer)]
    assert track(packets, end=150).calls == []
    told = track(packets, end=170).call
    assert (told.partial, told.ending, told.ended_at_ms) == (True, "assumed", at_ms(10.1))


@pytest.mark.parametrize(
    "answer", [None, near().answer(10.1, 481, "9 BYE"), near().answer(10.1, 200, "8 BYE"), near().accept(10.1, cseq=9)]
)
def test_what_the_other_end_does_not_confirm_is_no_call(answer: SipPacket | None) -> None:
    told = track([near().bye(10), *([answer] if answer else [])])
    assert (told.legs, told.counters["mid_dialog"]) == ([], 1)


def test_a_request_that_does_not_name_both_ends_is_no_call() -> None:
    for cut in (b";tag=fa", b";tag=ta", b"101@", b"102@"):
        packets = [
            SipPacket(packet.at_us, "udp", packet.src, packet.dst, packet.payload.replace(cut, b""))
            for packet in end(near(), 10)
        ]
        assert track(packets).legs == []


def test_what_comes_again_and_passes_further_hops_is_one_call() -> None:
    proxy = "10.0.0.20:5060"
    one, two = (
        Exchange("a", *ends, "101", "102", from_tag="f", to_tag="t") for ends in ((phone(101), proxy), (proxy, PBX))
    )
    packets = in_order(end(one, 10), end(one, 10.5), end(two, 10.01), end(two, 11))
    assert track(packets).call.talk_ms == 0
    refreshed = in_order(again(one, 5), again(two, 5.01), packets)
    assert track(refreshed).call.talk_ms == 5_000


@pytest.mark.parametrize("by", ["caller", "callee"])
def test_both_sides_of_a_phone_system_are_one_call(by: str) -> None:
    told = track(in_order(end(near(), 10, by=by), end(far(), 10.02, by=by)))
    assert (told.call.legs, told.call.partial) == (2, True)
    apart = track(in_order(again(near(), 5), again(far(), 500), end(near(), 1_000), end(far(), 1_000.1)))
    assert (apart.call.legs, apart.call.talk_ms) == (2, 995_000)


def test_two_calls_of_one_phone_stay_two() -> None:
    other = [Exchange("c", phone(101), PBX, "101", "103"), Exchange("d", PBX, phone(103), "101", "103")]
    parts = [again(one, 5 + number) for number, one in enumerate([near(), far(), *other])]
    ends = [end(one, 60 + 30 * number) for number, one in enumerate([near(), far(), *other])]
    calls = track(in_order(*parts, *ends)).calls
    assert [(call.dialled, call.legs) for call in calls] == [("102", 2), ("103", 2)]


def test_a_call_that_was_handed_in_without_its_end_is_not_handed_in_again() -> None:
    """Silence ended it, or a table that was full; then its BYE comes all the same."""
    one = near()
    late = track([*one.ring(0), one.accept(5), one.ack(5.1), *end(one, 5 * 3600)], end=6 * 3600)
    assert [call.ending for call in late.calls] == ["assumed"]
    flood = [
        Exchange(f"f{number}", phone(103), PBX, "103", "104").talk(10 + number, 11 + number, 9_000)
        for number in range(101)
    ]
    full = track(
        in_order([*one.ring(0), one.accept(5), one.ack(5.1)], *flood, end(one, 8_000)), limits=Limits(calls=100)
    )
    assert full.counters["calls_evicted"] > 0
    assert len(full.calls) == 102


def test_what_is_known_midway_outlives_a_restart() -> None:
    packets = [*again(near(), 10), far().ack(11), *end(near(), 70), *end(far(), 70.01)]
    whole = track(packets, end=200)
    for cut in range(len(packets)):
        first, second = Tracker(), Tracker()
        for packet in packets[:cut]:
            first.feed(packet)
        second.restore(first.snapshot())
        for packet in packets[cut:]:
            second.feed(packet)
        second.tick(at(200))
        assert first.drain()[0] + second.drain()[0] == whole.records


def test_a_call_that_is_known_midway_has_no_more_legs_than_any_other() -> None:
    legs = [
        Exchange(f"m{number}", *((phone(101), PBX) if number % 2 else (PBX, phone(102))), "101", "102")
        for number in range(9)
    ]
    refreshed = [again(one, 5 + number / 10) for number, one in enumerate(legs)]
    ended = [end(one, 60 + number / 10) for number, one in enumerate(legs)]
    told = track(in_order(*refreshed, *ended), limits=Limits(legs_per_call=2))
    assert told.counters["legs_over_limit"] > 0
    assert all(call.partial for call in told.calls)
