"""Registrations, messages and subscriptions: only what was accepted counts, and a refresh is nothing new."""

import re
from collections.abc import Iterable

from msgspec import structs

from collectors.records import Registration
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import PBX, Exchange, at, at_ms, in_order, message, phone, register, track


def test_a_registration_tells_endpoint_contact_expiry_and_device() -> None:
    [record] = track(register(0, "101", expires=120, agent="Deskphone/2"), end=60).registrations
    assert (record.endpoint, record.contact, record.state) == ("101", "101@10.0.1.101:5060", "registered")
    assert (record.at_ms, record.expires_at_ms) == (at_ms(0.02), at_ms(120.02))
    assert record.user_agent == "Deskphone/2"


def test_the_registrar_decides_how_long_a_binding_holds() -> None:
    [record] = track(register(0, "101", expires=3600, granted=60), end=30).registrations
    assert record.expires_at_ms == at_ms(60.02)


def test_where_nobody_says_it_a_binding_holds_an_hour() -> None:
    [record] = track(register(0, "101", expires=None), end=30).registrations
    assert record.expires_at_ms == at_ms(3600.02)


def test_a_refresh_is_told_once_in_every_utc_hour() -> None:
    refreshes = [packet for n in range(100) for packet in register(n * 100, "101", expires=120, cseq=n + 1)]
    told = track(refreshes, end=9_950).registrations
    assert [(record.state, record.at_ms) for record in told] == [
        ("registered", at_ms(0.02)),
        ("registered", at_ms(3600.02)),
        ("registered", at_ms(7200.02)),
    ]
    assert len({record.key for record in told}) == 3


def test_a_binding_that_is_not_refreshed_runs_out() -> None:
    told = track(register(0, "101", expires=60), end=200).registrations
    assert [(record.state, record.at_ms) for record in told] == [("registered", at_ms(0.02)), ("ended", at_ms(60.02))]


def test_a_device_that_unregisters_and_registers_again_within_the_hour() -> None:
    told = track(
        [*register(0, "101"), *register(10, "101", expires=0, cseq=2), *register(20, "101", cseq=3)], end=30
    ).registrations
    assert [record.state for record in told] == ["registered", "ended", "registered"]
    assert len({record.key for record in told}) == 3


def test_a_star_ends_all_bindings_of_the_address() -> None:
    second = "<sip:101@10.0.9.9:5060>"
    told = track(
        [
            *register(0, "101"),
            *register(1, "101", contact=second, cseq=2),
            *register(2, "102"),
            *register(10, "101", contact="*", expires=0, cseq=3),
        ],
        end=30,
    ).registrations
    assert [(record.endpoint, record.contact) for record in told if record.state == "ended"] == [
        ("101", "101@10.0.1.101:5060"),
        ("101", "101@10.0.9.9:5060"),
    ]


def test_two_devices_of_one_address_are_two_bindings_of_one_endpoint() -> None:
    second = "<sip:101@10.0.9.9:5060>"
    told = track([*register(0, "101"), *register(1, "101", contact=second, cseq=2)], end=30).registrations
    assert {record.endpoint for record in told} == {"101"}
    assert len({record.contact for record in told}) == 2


def test_several_contacts_in_one_request_each_with_its_own_time() -> None:
    both = "<sip:101@10.0.1.1>;expires=60, <sip:101@10.0.1.2>;expires=90"
    request, _ = register(0, "101", contact=both, expires=None)
    answer = register(0, "101", contact=both, expires=None)[1]
    told = track([request, answer], end=30).registrations
    assert [record.expires_at_ms for record in told] == [at_ms(60.02), at_ms(90.02)]


def test_a_refused_or_unanswered_registration_makes_no_record() -> None:
    challenged = register(0, "101", status=401)
    refused = register(0, "103", status=403)
    silent = register(1, "102")[:1]
    told = track([*challenged, *refused, *silent], end=100)
    assert told.registrations == []
    counted = [told.counters[name] for name in ("challenged", "refused", "unanswered", "registers")]
    assert counted == [1, 1, 1, 3]


def test_a_retransmitted_registration_is_one() -> None:
    packets = register(0, "101")
    assert len(track([*packets, *packets], end=30).registrations) == 1


def test_the_same_registration_read_from_anywhere_has_the_same_key() -> None:
    first = track(register(0, "101"), end=30).registrations
    later = track(register(200, "101", cseq=17), end=230).registrations
    assert first[0].key == later[0].key


def test_the_oldest_request_that_awaits_its_answer_goes_at_the_limit() -> None:
    packets = [register(n / 100, str(100 + n))[0] for n in range(5)]
    assert track(packets, limits=Limits(transactions=3), end=1).counters["transactions_evicted"] == 2


def test_requests_that_await_their_answer_are_bounded_by_what_they_hold_too() -> None:
    """Long ones go sooner; one that was answered holds nothing, and a restart counts anew."""
    long = [replace_payload(register(n / 100, str(100 + n))[0], b"X" * 10_000) for n in range(20)]
    tracker = Tracker(Limits(transactions_bytes=50_000))
    for packet in [*register(0, "900"), *long[:10]]:
        tracker.feed(packet)
    assert tracker.counters["transactions_evicted"] == 10 - 4
    again = Tracker(Limits(transactions_bytes=50_000))
    tracker.drain()
    again.restore(tracker.snapshot())
    for packet in long[10:]:
        tracker.feed(packet)
        again.feed(packet)
    assert again.counters["transactions_evicted"] == tracker.counters["transactions_evicted"] == 20 - 4
    for packet in register(5, "901"):
        again.feed(packet)
    assert [record.endpoint for record in again.drain()[0] if isinstance(record, Registration)] == ["901"]


def replace_payload(packet: SipPacket, more: bytes) -> SipPacket:
    """The same request with a header of that many octets more."""
    head, _, rest = packet.payload.partition(b"\r\n")
    return structs.replace(packet, payload=head + b"\r\nX-Long: " + more + b"\r\n" + rest)


def test_the_binding_that_was_refreshed_longest_ago_goes_at_the_limit() -> None:
    first = [packet for n in range(3) for packet in register(n, str(101 + n))]
    refreshed = [*register(10, "101", cseq=2), *register(11, "103", cseq=2)]
    told = track([*first, *refreshed, *register(12, "104")], limits=Limits(bindings=3), end=500)
    assert told.counters["bindings_evicted"] == 1
    assert [record.endpoint for record in told.registrations if record.state == "ended"] == ["101", "103", "104"]


# --- what the registrar writes down, and what a device is known by


def instance(contact: str, reg_id: int | None = 1, name: str = "urn:uuid:00000000-0000-1000-8000-000A95A0E128") -> str:
    flow = f";reg-id={reg_id}" if reg_id is not None else ""
    return f'<sip:{contact}>;+sip.instance="<{name}>"{flow}'


def states(records: list[Registration]) -> list[tuple[str, str, str]]:
    return [(record.endpoint, record.contact, record.state) for record in records]


def test_an_instance_that_comes_from_a_new_port_is_the_same_device() -> None:
    """RFC 5626 section 6: instance and reg-id replace the binding, whatever the contact."""
    first = register(0, "101", contact=instance("101@10.0.1.101:49152;transport=tcp"))
    again = register(60, "101", contact=instance("101@10.0.1.101:49999;transport=tcp"), cseq=2, src="10.0.1.101:49999")
    told = track([*first, *again], end=300).registrations
    assert [(record.contact, record.state, record.at_ms) for record in told] == [
        ("101@10.0.1.101:49152", "registered", at_ms(0.02)),
        ("101@10.0.1.101:49999", "ended", at_ms(180.02)),
    ]


def test_a_device_without_an_instance_has_a_binding_for_each_contact() -> None:
    first = register(0, "101", contact="<sip:101@10.0.1.101:49152>")
    again = register(60, "101", contact="<sip:101@10.0.1.101:49999>", cseq=2)
    assert len([one for one in track([*first, *again], end=90).registrations if one.state == "registered"]) == 2


def test_two_flows_of_one_instance_are_two_bindings() -> None:
    first = register(0, "101", contact=instance("101@10.0.1.101:1111", 1))
    second = register(1, "101", contact=instance("101@10.0.1.101:2222", 2), cseq=2)
    told = track([*first, *second], end=30).registrations
    assert [record.contact for record in told] == ["101@10.0.1.101:1111", "101@10.0.1.101:2222"]


def test_a_device_that_moves_within_one_request_stays_registered() -> None:
    """As PJSIP does it once it has learned its address from Via: the old contact ends where the new one begins."""
    old, new = instance("101@192.168.1.5:5060", None), instance("101@203.0.113.9:31337", None)
    moved = register(5, "101", contact=f"{old};expires=0, {new}", cseq=2, listed=f"{new};expires=120")
    told = track([*register(0, "101", contact=old), *moved], end=60).registrations
    assert states(told) == [("101", "101@192.168.1.5:5060", "registered")]


def test_an_old_contact_that_is_taken_back_late_ends_nothing() -> None:
    old, new = instance("101@10.0.1.101:1111"), instance("101@10.0.1.101:2222")
    packets = [
        *register(0, "101", contact=old),
        *register(10, "101", contact=new, cseq=2),
        *register(11, "101", contact=old, expires=0, cseq=3, listed=f"{new};expires=110"),
    ]
    assert [record.state for record in track(packets, end=60).registrations] == ["registered"]


def test_the_other_bindings_that_an_answer_lists_are_not_this_requests() -> None:
    """They are true, but their own requests tell of them, and say what device they are."""
    mine, other = "<sip:101@10.0.1.101:5060>", "<sip:101@10.0.9.9:5060>;expires=3000"
    told = track(register(0, "101", contact=mine, listed=f"{other}, {mine};expires=60"), end=30).registrations
    assert [(record.contact, record.expires_at_ms) for record in told] == [("101@10.0.1.101:5060", at_ms(60.02))]


def test_one_that_ends_is_not_kept_by_another_that_is_still_listed() -> None:
    mine, other = "<sip:101@10.0.1.101:5060>", "<sip:101@10.0.9.9:5060>;expires=3000"
    ended = register(9, "101", contact=mine, expires=0, cseq=2, listed=other)
    assert [one.state for one in track([*register(0, "101", contact=mine), *ended], end=30).registrations] == [
        "registered",
        "ended",
    ]


def test_asking_what_is_registered_registers_nothing() -> None:
    request, answer = register(0, "101", listed="<sip:101@10.0.9.9:5060>;expires=3000")
    query = SipPacket(
        request.at_us, "udp", request.src, PBX, b"".join(re.split(rb"(?<=\n)Contact:[^\n]*\n", request.payload))
    )
    told = track([query, answer], end=30)
    assert (told.registrations, told.rejects) == ([], [])


def test_a_registrar_that_writes_down_another_address_still_says_how_long() -> None:
    """Asterisk's rewrite_contact: behind NAT, the answer shows the address that the request came from."""
    asked, written = "<sip:101@192.168.1.5:5060>", "<sip:101@203.0.113.9:31337>"
    [record] = track(
        register(0, "101", contact=asked, expires=3600, listed=f"{written};expires=90"), end=30
    ).registrations
    assert (record.contact, record.expires_at_ms) == ("101@192.168.1.5:5060", at_ms(90.02))


def test_q_values_and_quoted_commas_leave_contacts_whole() -> None:
    both = '"Desk, left" <sip:101@10.0.1.1>;q=0.7;expires=60, "Lab" <sip:101@10.0.1.2>;q=0.1;expires=90'
    told = track(register(0, "101", contact=both, expires=None, listed=both), end=30).registrations
    assert [(record.contact, record.expires_at_ms) for record in told] == [
        ("101@10.0.1.1", at_ms(60.02)),
        ("101@10.0.1.2", at_ms(90.02)),
    ]


def test_a_call_to_a_rewritten_contact_or_a_temporary_gruu_is_the_endpoints() -> None:
    """RFC 5627 section 4.1: the answer gives the device URIs that only it answers to."""
    asked, written = instance("k3j4@10.0.1.101"), instance("k3j4@203.0.113.9:31337")
    gruu = '"sip:tgruu.7hs==jd7vnzga5w7fajsc7-ajd6fabz0f8g5@office.example;gr"'
    answer = f'{written};pub-gruu="sip:101@office.example;gr=urn:uuid:f81d4fae";temp-gruu={gruu};expires=120'
    for target in ("sip:k3j4@203.0.113.9:31337", gruu.strip('"'), "sip:101@office.example;gr=urn:uuid:f81d4fae"):
        call = Exchange("c", PBX, "203.0.113.9:31337", "102", "101", uri=target)
        told = track([*register(0, "101", contact=asked, listed=answer), *call.talk(5, 8, 20)])
        assert told.call.answered_by is not None
        assert told.call.answered_by.endpoint == "101"


def test_a_third_party_registers_who_to_names() -> None:
    """RFC 3261 section 10.2: From is who registers, To is who is registered."""
    [record] = track(register(0, "101", sender="manager"), end=30).registrations
    assert record.endpoint == "101"


def test_a_registration_that_a_proxy_passes_on_is_one() -> None:
    """The same Call-ID and CSeq on two hops; the second with a Path (RFC 3327)."""
    proxy = "10.0.0.20:5060"
    path = [("Path", "<sip:10.0.0.20;lr>")]
    asked, answered = register(0, "101", dst=proxy)
    passed = register(0.005, "101", src=proxy, headers=path, answer=[*path, ("Service-Route", "<sip:10.0.0.10;lr>")])
    told = track(in_order([asked, answered], passed), end=30)
    assert (len(told.registrations), told.counters["relayed"]) == (1, 1)
    assert "retransmissions" not in told.counters


def test_a_proxy_that_asks_elsewhere_after_a_refusal_registers_in_the_end() -> None:
    proxy = "10.0.0.20:5060"
    asked, answered = register(0, "101", dst=proxy)
    broken = register(0.001, "101", src=proxy, status=503)
    second = register(0.005, "101", src=proxy, dst="10.0.0.30:5060")
    told = track([asked, *broken, *second, answered], end=30)
    assert (len(told.registrations), told.counters["refused"]) == (1, 1)


def test_too_brief_an_interval_is_asked_for_again() -> None:
    """RFC 3261 section 10.2.8."""
    brief = register(0, "101", expires=30, status=423, answer=[("Min-Expires", "300")])
    told = track([*brief, *register(0.1, "101", expires=300, cseq=2)], end=60)
    assert [record.expires_at_ms for record in told.registrations] == [at_ms(300.12)]


def test_a_phone_is_asked_for_its_password_and_then_for_a_newer_nonce() -> None:
    digest = [("Authorization", 'Digest username="101", realm="x", nonce="n", uri="sip:x", response="0"')]
    stale = [("WWW-Authenticate", 'Digest realm="x", nonce="m", stale=TRUE')]
    packets = [
        *register(0, "101", status=401, answer=[("WWW-Authenticate", 'Digest realm="x", nonce="n"')]),
        *register(1, "101", status=401, cseq=2, headers=digest, answer=stale),
        *register(2, "101", cseq=3, headers=digest),
    ]
    told = track(packets, end=30)
    assert (len(told.registrations), told.counters["challenged"]) == (1, 2)
    assert "refused" not in told.counters


def test_what_is_known_goes_on_from_a_snapshot() -> None:
    packets = [
        *register(0, "101", contact=instance("101@10.0.1.101:1111")),
        *register(1, "102", agent="Zoiper rv2.10.3.2"),
        *register(60, "101", contact=instance("101@10.0.1.101:2222"), cseq=2),
        *register(61, "101", contact=instance("101@10.0.1.101:2222"), expires=0, cseq=3),
        *register(62, "103", contact=instance("103@10.0.1.101:2222")),
    ]
    whole = track(packets, end=500)
    for cut in range(len(packets) + 1):
        first = Tracker()
        for packet in packets[:cut]:
            first.feed(packet)
        before = first.drain()[0]
        second = Tracker()
        second.restore(first.snapshot())
        for packet in packets[cut:]:
            second.feed(packet)
        second.tick(at(500))
        assert before + second.drain()[0] == whole.records
    assert [use.code for use in whole.uses] == ["hot_desk"]


# --- one device, several seats


MINE = "urn:uuid:00000000-0000-1000-8000-000413A1B2C3"


def desk(seconds: float, user: str, cseq: int, expires: int = 3600) -> list[SipPacket]:
    return register(seconds, user, contact=instance(f"{user}@10.0.1.7:5060", None, MINE), expires=expires, cseq=cseq)


def test_a_seat_at_a_device_that_another_one_has_left_is_hot_desking() -> None:
    told = track([*desk(0, "101", 1), *desk(100, "101", 2, 0), *desk(110, "102", 1)], end=200)
    assert [(use.code, use.endpoint, use.at_ms) for use in told.uses] == [("hot_desk", "102", at_ms(110.02))]


def test_the_lines_of_one_phone_are_no_hot_desk_even_when_it_restarts() -> None:
    up = [*desk(0, "101", 1), *desk(1, "102", 1)]
    down = [*desk(100, "101", 2, 0), *desk(101, "102", 2, 0)]
    again = [*desk(130, "101", 3), *desk(131, "102", 3)]
    assert track([*up, *down, *again], end=200).uses == []


def test_a_seat_that_comes_back_to_its_own_device_is_no_hot_desk() -> None:
    assert track([*desk(0, "101", 1), *desk(100, "101", 2, 0), *desk(110, "101", 3)], end=200).uses == []


def test_a_device_is_also_known_by_the_mac_address_in_its_user_agent() -> None:
    agent = "Gigaset N670 IP PRO/83.V2.23.0+build.f68eeed;589EC600C8A9"
    first = [*register(0, "101", agent=agent), *register(50, "101", agent=agent, expires=0, cseq=2)]
    told = track([*first, *register(60, "102", agent=agent)], end=90)
    assert [(use.code, use.endpoint) for use in told.uses] == [("hot_desk", "102")]


def test_a_desk_that_was_left_more_than_a_day_ago_is_nobodys() -> None:
    day = 86_400
    told = track([*desk(0, "101", 1), *desk(10, "101", 2, 0), *desk(day + 20, "102", 1)], end=day + 30)
    assert told.uses == []


# --- MESSAGE and SUBSCRIBE


def exchange(
    seconds: float,
    method: str,
    src: str,
    dst: str,
    call_id: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: str = "",
    status: int = 200,
    to_tag: str = "",
) -> list[SipPacket]:
    head = [
        ("Via", f"SIP/2.0/UDP {src};branch=z9hG4bK{call_id}"),
        ("From", "<sip:101@office.example>;tag=1"),
        ("To", "<sip:102@office.example>" + (f";tag={to_tag}" if to_tag else "")),
        ("Call-ID", call_id),
        ("CSeq", f"1 {method}"),
    ]
    asked = message(f"{method} sip:102@office.example SIP/2.0", [*head, *headers], body)
    told = message(f"SIP/2.0 {status} Told", head)
    return [SipPacket(at(seconds), "udp", src, dst, asked), SipPacket(at(seconds + 0.1), "udp", dst, src, told)]


def test_an_accepted_message_is_a_use_of_its_sender() -> None:
    [use] = track(exchange(5, "MESSAGE", phone(101), PBX, "m", body="hello")).uses
    assert (use.code, use.endpoint, use.at_ms, use.count) == ("message", "101", at_ms(5), 1)
    assert use.key


def test_a_message_that_the_phone_system_passes_on_is_one_message() -> None:
    passed = exchange(5.01, "MESSAGE", PBX, phone(102), "m2", body="hello")
    first, second = exchange(5, "MESSAGE", phone(101), PBX, "m1", body="hello")
    assert len(track([first, *passed, second]).uses) == 1


def test_the_same_words_twice_are_two_messages() -> None:
    twice = [packet for n in (1, 2) for packet in exchange(n, "MESSAGE", phone(101), PBX, f"m{n}", body="ok")]
    told = track(twice).uses
    assert len(told) == 2
    assert len({use.key for use in told}) == 2


def test_a_refused_message_is_no_use() -> None:
    assert track(exchange(5, "MESSAGE", phone(101), PBX, "m", body="hello", status=403)).uses == []


def test_a_subscription_to_presence_counts_once_and_its_refreshes_do_not() -> None:
    for event in ("presence", "dialog"):
        begin = exchange(5, "SUBSCRIBE", phone(101), PBX, "s", headers=[("Event", event), ("Expires", "600")])
        refresh = exchange(500, "SUBSCRIBE", phone(101), PBX, "s", headers=[("Event", event)], to_tag="x")
        [use] = track([*begin, *refresh]).uses
        assert (use.code, use.endpoint) == ("presence", "101")


def test_other_subscriptions_and_their_end_are_no_presence() -> None:
    mailbox = exchange(5, "SUBSCRIBE", phone(101), PBX, "s", headers=[("Event", "message-summary")])
    fetch = exchange(5, "SUBSCRIBE", phone(101), PBX, "t", headers=[("Event", "presence"), ("Expires", "0")])
    assert track([*mailbox, *fetch]).uses == []
