"""Registrations, messages and subscriptions: only what was accepted counts, and a refresh is nothing new."""

from collections.abc import Iterable

from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from tests.collectors.sip.flows import PBX, at, at_ms, message, phone, register, track


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
    silent = register(1, "102")[:1]
    told = track([*challenged, *silent], end=100)
    assert told.registrations == []
    assert (told.counters["refused"], told.counters["unanswered"], told.counters["registers"]) == (1, 1, 2)


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


def test_the_oldest_binding_goes_at_the_limit() -> None:
    packets = [packet for n in range(5) for packet in register(n, str(101 + n))]
    told = track(packets, limits=Limits(bindings=3), end=10)
    assert told.counters["bindings_evicted"] == 2
    assert len(told.registrations) == 5


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
