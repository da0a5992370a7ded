"""One call placed is one call, whatever stands between the phones: proxies, phone systems, transfers."""

import pytest

from collectors.sip.packets import SipPacket
from collectors.sip.site import Site
from tests.collectors.sip.flows import CARRIER, PBX, Exchange, codes, in_order, phone, register, track

LOOPBACK_PBX = "127.0.0.1:5060"


def inbound(call_id: str, caller: str, dialled: str, **more: str) -> Exchange:
    """From a phone to the phone system."""
    return Exchange(call_id, phone(int(caller)), PBX, caller, dialled, **more)


def onward(call_id: str, caller: str, callee: str, **more: str) -> Exchange:
    """From the phone system to a phone, with a Call-ID of its own."""
    return Exchange(call_id, PBX, phone(int(callee)), caller, callee, **more)


# --- phone systems (back-to-back user agents)


def test_both_sides_of_a_phone_system_are_one_call_timed_by_the_callers_leg() -> None:
    told = track(in_order(inbound("a", "101", "102").talk(0, 5.2, 65.2), onward("b", "101", "102").talk(0.1, 5, 65.1)))
    assert len(told.legs) == 2
    assert (told.call.legs, told.call.talk_ms, told.call.outcome) == (2, 60_000, "answered")
    assert told.call.answered_by is not None
    assert told.call.answered_by.endpoint == "102"
    assert told.call.offered == ("102",)
    assert codes(told.call) == []


def test_a_phone_behind_its_registered_contact_is_known_by_its_address_of_record() -> None:
    contact = "<sip:xq7f3k@10.0.1.102:5060;transport=udp>"
    leg = Exchange("b", PBX, phone(102), "101", "xq7f3k", uri="sip:xq7f3k@10.0.1.102:5060")
    calls = in_order(inbound("a", "101", "102").talk(1, 6, 66), leg.talk(1.1, 5.8, 66))
    told = track([*register(0, "102", contact=contact), *calls])
    assert told.call.offered == ("102",)
    assert told.call.answered_by is not None
    assert told.call.answered_by.endpoint == "102"


def test_a_ring_group_is_one_call_of_all_phones_that_rang() -> None:
    told = track(
        in_order(
            inbound("a", "104", "200").talk(0, 6, 66),
            onward("b1", "104", "101").cancelled(0.1, 5.9),
            onward("b2", "104", "102").talk(0.1, 5.9, 66),
            onward("b3", "104", "103").cancelled(0.1, 5.9),
        )
    )
    assert told.call.legs == 4
    assert (told.call.outcome, told.call.talk_ms) == ("answered", 60_000)
    assert sorted(told.call.offered) == ["101", "102", "103"]
    assert codes(told.call) == [("ring_group", "102")]


def test_two_devices_of_the_number_dialled_ring_at_once() -> None:
    mobile = Exchange("b2", PBX, CARRIER, "101", "+12125550199")
    told = track(
        in_order(
            inbound("a", "101", "104").talk(0, 6, 66),
            onward("b1", "101", "104").cancelled(0.1, 5.9),
            mobile.talk(0.1, 5.9, 66),
        )
    )
    assert codes(told.call) == [("simultaneous_ring", "104")]
    assert told.call.answered_by is not None
    assert told.call.answered_by.number == "+12125550199"


def test_phones_that_ring_one_after_the_other_are_no_ring_group() -> None:
    told = track(
        in_order(
            inbound("a", "101", "150").talk(0, 12, 72),
            onward("b1", "101", "104").cancelled(0.1, 5),
            onward("b2", "101", "105").talk(6, 12, 72),
        )
    )
    assert told.call.offered == ("104", "105")
    assert codes(told.call) == []


def test_a_queue_answers_first_and_rings_its_members_later() -> None:
    told = track(
        in_order(
            inbound("a", "101", "700").talk(0, 0.1, 90),
            onward("b1", "101", "108").cancelled(1, 20),
            onward("b2", "101", "109").talk(1, 20, 90),
        ),
        site=Site(services={"700": "queue"}),
    )
    assert told.call.talk_ms == 89_900
    assert ("queue", "101") in codes(told.call)


def test_a_call_that_the_phone_system_takes_for_a_phone_that_rang_out_was_answered_by_nobody_in_particular() -> None:
    told = track(in_order(inbound("a", "101", "102").talk(0, 15.2, 40), onward("b", "101", "102").cancelled(0.1, 15.1)))
    assert (told.call.outcome, told.call.answered_by, told.call.offered) == ("answered", None, ("102",))


def test_an_outside_line_shows_by_its_configured_name() -> None:
    site = Site(trunks={"carrier": "198.51.100.7:5060"})
    out = Exchange("b", PBX, CARRIER, "+12125550100", "+12125551234")
    told = track(in_order(inbound("a", "101", "92125551234").talk(0, 5, 65), out.talk(0.1, 4.9, 65)), site=site)
    assert (told.call.trunk_in, told.call.trunk_out) == ("", "carrier")
    assert told.call.answered_by is not None
    assert (told.call.answered_by.number, told.call.answered_by.endpoint) == ("+12125551234", "carrier")
    did = Exchange("c", CARRIER, PBX, "+12125551234", "+12125550101")
    told = track(in_order(did.talk(0, 5, 65), onward("d", "+12125551234", "101").talk(0.1, 4.9, 65)), site=site)
    assert (told.call.trunk_in, told.call.caller.endpoint) == ("carrier", "carrier")
    assert (told.call.caller.number, told.call.offered) == ("+12125551234", ("101",))


def test_a_number_that_the_phone_system_rewrites_is_matched_by_its_last_seven_digits() -> None:
    out = Exchange("b", PBX, CARRIER, "5550100", "+12125551234")
    told = track(in_order(inbound("a", "101", "0012125551234").talk(0, 5, 65), out.talk(0.1, 4.9, 65)))
    assert told.call.legs == 2


def test_two_calls_at_once_of_one_caller_are_kept_apart_by_the_numbers_dialled() -> None:
    told = track(
        in_order(
            inbound("a1", "101", "102").talk(0, 5, 65),
            inbound("a2", "101", "103").talk(0.05, 6, 70),
            onward("b2", "101", "103").talk(0.1, 5.9, 70),
            onward("b1", "101", "102").talk(0.2, 4.9, 65),
        )
    )
    assert [(call.dialled, call.offered, call.talk_ms) for call in told.calls] == [
        ("102", ("102",), 60_000),
        ("103", ("103",), 64_000),
    ]


def test_a_ring_group_and_a_direct_call_at_once_of_one_caller_are_kept_apart() -> None:
    told = track(
        in_order(
            inbound("a1", "104", "105").talk(0, 5, 65),
            onward("b1", "104", "105").talk(0.05, 4.9, 65),
            inbound("a2", "104", "200").talk(20, 25, 75),
            onward("c1", "104", "101").cancelled(20.1, 24.9),
            onward("c2", "104", "102").talk(20.1, 24.9, 75),
        )
    )
    assert [(call.dialled, call.legs) for call in told.calls] == [("105", 2), ("200", 3)]


def test_calls_of_different_callers_to_one_number_are_different_calls() -> None:
    told = track(
        in_order(
            inbound("a1", "101", "105").talk(0, 5, 65),
            onward("b1", "101", "105").talk(0.05, 4.9, 65),
            inbound("a2", "102", "105").refused(10, 11, 486),
            onward("b2", "102", "105").refused(10.1, 10.9, 486),
        )
    )
    assert [(call.caller.number, call.outcome, call.legs) for call in told.calls] == [
        ("101", "answered", 2),
        ("102", "busy", 2),
    ]


def test_a_phone_that_is_in_a_call_and_places_another_makes_a_call_of_its_own() -> None:
    told = track(
        in_order(
            inbound("a1", "101", "102").talk(0, 5, 65),
            onward("b1", "101", "102").talk(0.05, 4.9, 65),
            inbound("a2", "102", "103").talk(20, 25, 35),
            onward("b2", "102", "103").talk(20.1, 24.9, 35),
        )
    )
    assert [(call.caller.number, call.talk_ms, call.legs) for call in told.calls] == [
        ("101", 60_000, 2),
        ("102", 10_000, 2),
    ]


def test_a_second_line_of_a_phone_that_is_in_a_call_makes_a_call_of_its_own() -> None:
    told = track(
        in_order(
            inbound("a1", "101", "102").talk(0, 5, 65),
            onward("b1", "101", "102").talk(0.05, 4.9, 65),
            inbound("a2", "101", "300").talk(20, 25, 35),
        )
    )
    assert [(call.dialled, call.legs) for call in told.calls] == [("102", 2), ("300", 1)]


def test_a_call_that_the_phone_system_places_by_itself_is_a_call() -> None:
    told = track(onward("b", "Reminder", "102").talk(0, 5, 65))
    assert (told.call.caller.number, told.call.dialled, told.call.talk_ms) == ("Reminder", "102", 60_000)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_phones_and_phone_system_may_share_one_address(transport: str) -> None:
    def leg(call_id: str, src: str, dst: str, caller: str, dialled: str) -> Exchange:
        return Exchange(call_id, src, dst, caller, dialled, transport=transport)

    told = track(
        in_order(
            leg("a", "127.0.0.1:6101", LOOPBACK_PBX, "101", "102").talk(0, 5, 65),
            leg("b", LOOPBACK_PBX if transport == "udp" else "127.0.0.1:40001", "127.0.0.1:6102", "101", "102").talk(
                0.1, 4.9, 65
            ),
            leg("c", "127.0.0.1:6101", LOOPBACK_PBX, "101", "104").talk(10, 11, 21),
            leg("d", "127.0.0.1:6103", LOOPBACK_PBX, "103", "300").talk(10, 11, 31),
        )
    )
    assert sorted((call.dialled, call.legs, call.talk_ms) for call in told.calls) == [
        ("102", 2, 60_000),
        ("104", 1, 10_000),
        ("300", 1, 20_000),
    ]


def test_a_phone_system_that_calls_from_another_port_of_its_host_is_still_itself() -> None:
    out = Exchange("b", "10.0.0.10:5080", CARRIER, "101", "+12125551234")
    told = track(in_order(inbound("a", "101", "92125551234").talk(0, 5, 65), out.talk(0.1, 4.9, 65)))
    assert told.call.legs == 2


def test_a_phone_system_with_several_addresses_is_one_where_they_are_configured() -> None:
    out = Exchange("b", "203.0.113.5:5060", CARRIER, "101", "+12125551234")
    packets = in_order(inbound("a", "101", "92125551234").talk(0, 5, 65), out.talk(0.1, 4.9, 65))
    assert len(track(packets).calls) == 2
    assert track(packets, site=Site(pbx=("10.0.0.10", "203.0.113.5:5060"))).call.legs == 2


def test_a_session_id_names_the_call_on_both_sides() -> None:
    one, nil = "ab30317f1a784dc48ff824d0d3715d86", "0" * 32
    other = "47755a9de7794ba387653f2099600ef2"
    first = Exchange("a", phone(101), PBX, "101", "102", headers=[("Session-ID", f"{one};remote={nil}")])
    second = Exchange("b", "10.9.9.9:5060", phone(102), "x", "y", headers=[("Session-ID", f"{one};remote={other}")])
    unrelated = Exchange("c", "10.9.9.9:5060", phone(103), "x", "z", headers=[("Session-ID", f"{nil};remote={nil}")])
    told = track(in_order(first.talk(0, 5, 65), second.talk(0.1, 4.9, 65), unrelated.talk(1, 2, 3)))
    assert [call.legs for call in told.calls] == [2, 1]


# --- proxies


def test_a_proxy_that_forks_gives_one_call_and_the_branches_that_lost_are_legs() -> None:
    proxy = "10.0.0.20:5060"
    up = Exchange("a", phone(101), proxy, "101", "200", to_tag="t2")
    one = Exchange("a", proxy, phone(102), "101", "102", from_tag="fa", to_tag="t1")
    two = Exchange("a", proxy, phone(103), "101", "103", from_tag="fa", to_tag="t2")
    told = track(
        in_order(
            [up.invite(0), up.answer(0.05, 100), up.answer(0.2, 180), up.accept(5), up.ack(5.1)],
            one.cancelled(0.1, 5),
            [two.invite(0.1), two.answer(0.15, 180), two.accept(4.9), two.ack(5.2), two.bye(65), two.bye_ok(65.1)],
            [up.bye(64.9), up.bye_ok(65.2)],
        )
    )
    assert told.call.legs == 3
    assert (told.call.outcome, told.call.talk_ms) == ("answered", 59_900)
    assert told.call.answered_by is not None
    assert told.call.answered_by.endpoint == "103"
    assert codes(told.call) == [("ring_group", "103")]


def test_a_fork_that_shows_by_its_to_tags_alone() -> None:
    exchange = inbound("a", "101", "200", to_tag="t1")
    told = track(
        [
            exchange.invite(0),
            exchange.answer(0.1, 180, headers=[("Contact", "<sip:102@10.0.1.102>")]),
            exchange.answer(0.2, 180, to_tag="t2", headers=[("Contact", "<sip:103@10.0.1.103>")]),
            exchange.accept(5, headers=[("Contact", "<sip:102@10.0.1.102>")]),
            exchange.ack(5.1),
            exchange.bye(15),
            exchange.bye_ok(15.1),
        ]
    )
    assert told.call.legs == 2
    assert sorted(told.call.offered) == ["102", "103"]
    assert (told.call.talk_ms, codes(told.call)) == (10_000, [("ring_group", "102")])


def test_of_two_branches_that_both_answer_the_callers_bye_ends_only_the_one_it_names() -> None:
    exchange = inbound("a", "101", "200", to_tag="t1")
    told = track(
        [
            exchange.invite(0),
            exchange.accept(5),
            exchange.ack(5.1),
            exchange.accept(5.2, to_tag="t2", headers=[("Contact", "<sip:103@10.0.1.103>")]),
            exchange.bye(5.3, to_tag="t2"),
            exchange.bye(35),
        ]
    )
    assert (told.call.talk_ms, told.call.legs) == (30_000, 2)
    assert [leg.ended_at_ms - leg.started_at_ms for leg in told.legs] == [35_000, 5_300]


def test_a_bye_that_goes_past_the_proxy_ends_all_hops() -> None:
    proxy = "10.0.0.20:5060"
    up = Exchange("a", phone(101), proxy, "101", "102", to_tag="t")
    down = Exchange("a", proxy, phone(102), "101", "102", from_tag="fa", to_tag="t")
    direct = Exchange("a", phone(101), phone(102), "101", "102", from_tag="fa", to_tag="t")
    told = track(
        in_order(
            [up.invite(0), down.invite(0.01), down.accept(4.9), up.accept(5)],
            [direct.ack(5.1), direct.bye(65, by="callee"), direct.bye_ok(65.1, by="caller")],
        ),
        end=100,
    )
    assert (told.call.talk_ms, told.call.ending, told.call.legs) == (60_000, "confirmed", 2)


# --- transfers and pickup


def blind_transfer(target: str) -> list[SipPacket]:
    """101 talks to 102; 102 sends 101 on."""
    a, b = inbound("a", "101", "102"), onward("b", "101", "102")
    refer = [("Refer-To", f"<sip:{target}@office.example>"), ("Referred-By", "<sip:102@office.example>")]
    return in_order(
        [*a.ring(0), a.accept(5), a.ack(5.1), a.bye(95), a.bye_ok(95.1)],
        [*b.ring(0.1), b.accept(4.9), b.ack(5)],
        [
            b.request(30, "REFER", 2, by="callee", headers=refer),
            b.answer(30.1, 202, "2 REFER", by="caller"),
            b.bye(30.5),
            b.bye_ok(30.6),
        ],
    )


def test_a_blind_transfer_goes_on_as_the_same_call() -> None:
    told = track(in_order(blind_transfer("103"), onward("c", "101", "103").talk(30.2, 35, 95)))
    assert (told.call.legs, told.call.talk_ms) == (3, 90_000)
    assert told.call.offered == ("102", "103")
    assert codes(told.call) == [("transfer_blind", "102")]


def test_a_blind_transfer_in_the_name_of_the_one_who_transfers_is_still_the_same_call() -> None:
    told = track(in_order(blind_transfer("103"), onward("c", "102", "103").talk(30.2, 35, 95)))
    assert told.call.legs == 3


def test_a_refused_transfer_is_no_use_of_it() -> None:
    b = inbound("b", "101", "102")
    refer = b.request(30, "REFER", 2, headers=[("Refer-To", "<sip:103@office.example>")])
    told = track(in_order(b.talk(0, 5, 65), [refer, b.answer(30.1, 603, "2 REFER")]))
    assert codes(told.call) == []


def test_the_consultation_of_an_attended_transfer_is_a_call_of_its_own() -> None:
    a1, b1 = inbound("a1", "101", "102"), onward("b1", "101", "102")
    a2, b2 = inbound("a2", "102", "103"), onward("b2", "102", "103")
    refer_to = "<sip:103@office.example?Replaces=a2%3Bto-tag%3Dta2%3Bfrom-tag%3Dfa2>"
    told = track(
        in_order(
            [*a1.ring(0), a1.accept(5), a1.ack(5.1), a1.bye(95), a1.bye_ok(95.1)],
            [*b1.ring(0.1), b1.accept(4.9), b1.ack(5)],
            [*a2.ring(20), a2.accept(25), a2.ack(25.1)],
            [*b2.ring(20.1), b2.accept(24.9), b2.ack(25), b2.bye(95.2), b2.bye_ok(95.3)],
            [
                b1.request(30, "REFER", 2, by="callee", headers=[("Refer-To", refer_to)]),
                b1.answer(30.1, 202, "2 REFER", by="caller"),
                b1.bye(30.5),
                b1.bye_ok(30.6),
                a2.bye(30.5, by="callee"),
                a2.bye_ok(30.6, by="caller"),
            ],
        )
    )
    first, consultation = sorted(told.calls, key=lambda call: call.started_at_ms)
    assert (first.legs, first.talk_ms, first.dialled, first.caller.number) == (2, 90_000, "102", "101")
    assert codes(first) == [("transfer_attended", "102")]
    assert (consultation.legs, consultation.talk_ms, consultation.caller.number) == (2, 5_500, "102")
    assert codes(consultation) == []


def test_a_transfer_by_feature_code_goes_on_as_the_same_call() -> None:
    told = track(
        in_order(
            inbound("a", "101", "102").talk(0, 5, 95),
            onward("b", "101", "102").talk(0.1, 4.9, 40),
            onward("c", "102", "103").talk(30, 35, 95),
        )
    )
    assert (told.call.legs, told.call.talk_ms) == (3, 90_000)


def test_a_pickup_belongs_to_the_call_that_rang_and_is_answered_by_who_picked_up() -> None:
    ringing = onward("b", "101", "102")
    replaces = [("Replaces", "b;to-tag=tb;from-tag=fb;early-only")]
    pickup = Exchange("c", phone(103), PBX, "103", "102", headers=replaces)
    told = track(
        in_order(inbound("a", "101", "102").talk(0, 5.2, 65), ringing.cancelled(0.1, 5.1), pickup.talk(4.8, 5, 65))
    )
    assert told.call.legs == 3
    assert told.call.answered_by is not None
    assert told.call.answered_by.endpoint == "103"
    assert codes(told.call) == [("pickup", "103")]


def test_services_tell_what_answers_a_number() -> None:
    site = Site(services={"400": "voicemail_retrieve", "300": "auto_attendant"})
    assert codes(track(inbound("a", "101", "400").talk(0, 1, 9), site=site).call) == [("voicemail_retrieve", "101")]
    diverted = Exchange("a", phone(101), PBX, "101", "400", headers=[("Diversion", "<sip:107@x>;reason=no-answer")])
    assert ("voicemail_deposit", "107") in codes(track(diverted.talk(0, 1, 9), site=site).call)
    assert codes(track(inbound("a", "101", "300").refused(0, 1, 486), site=site).call) == []


def test_a_phone_that_answers_nothing_at_all_holds_up_its_call_for_half_a_minute_and_no_longer() -> None:
    """RFC 3261 section 17.1.1.2: the phone system gives up after timer B, and may send no CANCEL before."""
    dead = onward("b", "101", "102")
    sent = [dead.invite(seconds) for seconds in (0.1, 0.6, 1.6, 3.6, 7.6, 15.6)]
    packets = in_order(inbound("a", "101", "102").refused(0, 3, 480), sent)
    assert track(packets, end=47).legs == []
    told = track(packets, end=50)
    assert (told.call.legs, told.call.outcome, told.call.talk_ms) == (2, "no_answer", 0)


def test_a_slow_callee_is_waited_for_even_where_the_invite_was_sent_twice() -> None:
    slow = inbound("a", "101", "102")
    packets = [slow.invite(0), slow.invite(0.5), slow.answer(0.6, 100), slow.answer(40, 180), slow.accept(50)]
    told = track(in_order(packets, [slow.ack(50.1), slow.bye(60), slow.bye_ok(60.1)]))
    assert (told.call.outcome, told.call.talk_ms) == ("answered", 10_000)
