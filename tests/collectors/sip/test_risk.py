"""Risks: what is an attack, what is a phone with a wrong password, and what is neither."""

import tracemalloc
from collections.abc import Iterable

import pytest

from collectors.records import Risk
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from collectors.sip.site import Site
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import CARRIER, PBX, Exchange, at, at_ms, message, phone, register, track

STRANGER = "198.51.100.66:5071"
DIGEST = [("Authorization", 'Digest username="x", realm="x", nonce="n", uri="sip:x", response="0"')]


def told(risks: Iterable[Risk]) -> list[tuple[str, str, str, int]]:
    return [(risk.code, risk.origin, risk.endpoint, risk.count) for risk in risks]


def wrong(seconds: float, user: str, src: str = "", cseq: int = 2, status: int = 401) -> list[SipPacket]:
    """A REGISTER with credentials that are refused."""
    return register(seconds, user, src=src, cseq=cseq, status=status, headers=DIGEST)


def options(seconds: float, src: str, dst: str, agent: str = "", answer: int = 0) -> list[SipPacket]:
    head = [
        ("Via", f"SIP/2.0/UDP {src};branch=z9hG4bKo{seconds}"),
        ("From", "<sip:ping@x.example>;tag=1"),
        ("To", f"<sip:{dst}>"),
        ("Call-ID", f"o{src}{dst}{seconds}"),
        ("CSeq", "1 OPTIONS"),
    ]
    named = [("User-Agent", agent)] if agent else []
    asked = message(f"OPTIONS sip:{dst} SIP/2.0", [*head, *named])
    packets = [SipPacket(at(seconds), "udp", src, dst, asked)]
    if answer:
        packets.append(SipPacket(at(seconds + 0.05), "udp", dst, src, message(f"SIP/2.0 {answer} Told", head)))
    return packets


# --- REGISTER


def test_many_accounts_from_one_address_are_guesses() -> None:
    tries = [packet for n in range(20) for packet in wrong(n, str(100 + n), STRANGER)]
    first, more = track(tries, end=7200).risks
    assert told([first, more]) == [
        ("risk.register_guessing", "198.51.100.66", "", 8),
        ("risk.register_guessing", "198.51.100.66", "", 12),
    ]
    assert (first.at_ms, more.until_ms) == (at_ms(7.02), at_ms(19.02))
    assert first.detail == "105, 106, 107"


def test_accounts_that_do_not_exist_are_guesses_without_any_password() -> None:
    tries = [packet for n in range(8) for packet in register(n, str(100 + n), src=STRANGER, status=404)]
    assert [risk.code for risk in track(tries, end=60).risks] == ["risk.register_guessing"]


def test_passwords_tried_by_the_hundred_on_one_account_are_guesses() -> None:
    tries = [packet for n in range(400) for packet in wrong(n / 10, "101", STRANGER, cseq=n + 2)]
    codes = [risk.code for risk in track(tries, end=60).risks]
    assert codes == ["risk.register_failing", "risk.register_guessing"]


def test_passwords_tried_under_one_sequence_number_are_tries_all_the_same() -> None:
    """As SIPVicious does it: Call-ID and CSeq stay, branch and response change."""
    tries = [
        packet
        for n in range(320)
        for packet in register(
            n / 10, "101", src=STRANGER, cseq=2, status=401, headers=[("Authorization", f'Digest response="{n}"')]
        )
    ]
    assert [risk.code for risk in track(tries, end=60).risks] == ["risk.register_failing", "risk.register_guessing"]
    assert track([*tries[:2], *tries[:2]], end=60).counters["retransmissions"] == 1


def test_accounts_that_are_looked_for_and_left_when_a_password_is_asked_for_are_guesses() -> None:
    """As svwar does it under a name of its own: a phone system that answers 401 to all of them tells nothing."""
    looked = [packet for n in range(40) for packet in register(n / 10, str(100 + n), src=STRANGER, status=401)]
    assert told(track(looked, end=60).risks) == [("risk.register_guessing", "198.51.100.66", "", 16)]


def test_an_office_behind_one_address_that_logs_in_at_once_is_none() -> None:
    office = "203.0.113.9:31337"
    asked = [packet for n in range(40) for packet in register(n / 100, str(100 + n), src=office, status=401)]
    given = [
        packet for n in range(40) for packet in register(1 + n / 100, str(100 + n), src=office, cseq=2, headers=DIGEST)
    ]
    assert track([*asked, *given], end=600).risks == []


def test_a_phone_with_a_wrong_password_is_failing_however_long_it_tries() -> None:
    """Each half a minute for six hours: no attack."""
    tries = [packet for n in range(720) for packet in wrong(n * 30, "101", cseq=n + 2)]
    risks = track(tries, end=8 * 3600).risks
    assert {(risk.code, risk.endpoint) for risk in risks} == {("risk.register_failing", "101")}
    assert [risk.count for risk in risks] == [5, 115, 120, 120, 120, 120, 120]
    assert len({risk.key for risk in risks}) == len(risks)


def test_a_password_that_is_mistyped_twice_is_nothing() -> None:
    tries = [*wrong(0, "101", cseq=1), *wrong(20, "101", cseq=2), *register(40, "101", cseq=3)]
    again = [*wrong(100, "101", cseq=4), *wrong(120, "101", cseq=5), *wrong(140, "101", cseq=6)]
    assert track([*tries, *again], end=300).risks == []


def test_challenges_are_no_failures() -> None:
    asked = [packet for n in range(50) for packet in register(n * 60, "101", status=401, cseq=n + 1)]
    assert track(asked, end=4000).risks == []


def test_a_whole_office_that_is_refused_for_a_while_is_failing_and_no_attack() -> None:
    """Behind one address, all with accounts that were registered before: their registrar has lost its database."""
    office = "203.0.113.9:31337"
    up = [packet for n in range(30) for packet in register(n / 10, str(101 + n), src=office, expires=3600)]
    down = [packet for n in range(30) for packet in wrong(600 + n, str(101 + n), office, status=403)]
    assert {risk.code for risk in track([*up, *down], end=900).risks} <= {"risk.register_failing"}


def test_overload_and_absence_are_nobodys_fault() -> None:
    tries = [packet for n in range(20) for packet in register(n, str(100 + n), src=STRANGER, status=503)]
    assert track(tries, end=60).risks == []


def test_the_sites_own_phone_system_and_trunks_are_no_attackers() -> None:
    tries = [packet for n in range(20) for packet in wrong(n, str(100 + n), PBX)]
    assert track(tries, site=Site(pbx=("10.0.0.10",)), end=60).risks == []
    assert track(tries, site=Site(trunks={"carrier": PBX}), end=60).risks == []


# --- who says that it is a scanner


@pytest.mark.parametrize("agent", ["friendly-scanner", "sipcli/v1.8", "VaxSIPUserAgent/3.1"])
def test_a_scanner_that_says_so(agent: str) -> None:
    for packets in (options(0, STRANGER, PBX, agent), register(0, "101", src=STRANGER, agent=agent)[:1]):
        [risk] = track(packets, end=60).risks
        assert (risk.code, risk.origin, risk.count, risk.detail) == ("risk.scanner", "198.51.100.66", 1, agent)


def test_a_scanner_that_calls_says_so_too() -> None:
    call = Exchange("c", STRANGER, PBX, "100", "900441174960000", headers=[("User-Agent", "sipcli/v1.8")])
    assert [risk.code for risk in track(call.refused(0, 1, 403), end=300).risks] == ["risk.scanner"]


def test_a_scanner_is_told_once_and_then_once_an_hour() -> None:
    seen = [packet for n in range(100) for packet in options(n * 100, STRANGER, PBX, "friendly-scanner")]
    risks = track(seen, end=5 * 3600).risks
    assert [risk.count for risk in risks] == [1, 35, 36, 28]
    assert [risk.until_ms // 3_600_000 - at_ms(0) // 3_600_000 for risk in risks] == [0, 0, 1, 2]


# --- calls and OPTIONS


def dials(count: int, src: str, status: int = 404, apart: float = 2) -> list[SipPacket]:
    calls = [Exchange(f"c{n}", src, PBX, "100", f"90044117496{n:04}") for n in range(count)]
    return [
        packet
        for n, call in enumerate(calls)
        for packet in (call.invite(n * apart), call.answer(n * apart + 0.1, status), call.ack(n * apart + 0.2))
    ]


def test_numbers_that_a_stranger_dials_in_vain_are_a_scan() -> None:
    first, more = track(dials(20, STRANGER), end=7200).risks
    assert told([first, more]) == [
        ("risk.invite_scanning", "198.51.100.66", "", 8),
        ("risk.invite_scanning", "198.51.100.66", "", 12),
    ]


def test_numbers_that_are_challenged_or_not_answered_at_all_are_a_scan_as_well() -> None:
    silent = [Exchange(f"c{n}", STRANGER, PBX, "100", f"0044{n:06}").invite(n) for n in range(8)]
    for packets in (dials(8, STRANGER, 401), silent):
        assert [risk.code for risk in track(packets, end=600).risks] == ["risk.invite_scanning"]


def test_the_same_number_again_and_again_is_no_scan_and_neither_are_busy_lines() -> None:
    same = [Exchange(f"c{n}", STRANGER, PBX, "100", "500") for n in range(20)]
    packets = [p for n, call in enumerate(same) for p in (call.invite(n), call.answer(n + 0.1, 404))]
    assert track(packets, end=600).risks == []
    assert track(dials(20, STRANGER, 486), end=600).risks == []


def test_a_registered_phone_that_misdials_is_no_scanner() -> None:
    assert track([*register(0, "101"), *dials(20, phone(101))], end=600).risks == []


def test_a_partner_whose_calls_ring_is_no_scanner() -> None:
    good = Exchange("good", CARRIER, PBX, "02071234567", "101").talk(0, 2, 9)
    assert track([*good, *dials(20, CARRIER, apart=20)], end=1000).risks == []


def test_numbers_dialled_over_a_day_are_no_scan() -> None:
    assert track(dials(20, STRANGER, apart=3600), end=90_000).risks == []


def test_options_that_nobody_answers_at_many_addresses_are_a_sweep() -> None:
    sweep = [packet for n in range(40) for packet in options(n / 100, STRANGER, f"10.0.2.{n}:5060")]
    [risk] = track(sweep, end=60).risks
    assert (risk.code, risk.origin, risk.count) == ("risk.options_sweep", "198.51.100.66", 16)


def test_a_phone_system_that_asks_after_its_phones_is_no_sweep() -> None:
    """Asterisk's qualify: a burst each minute, answered by each phone in its own way."""
    qualify = [
        packet
        for minute in range(5)
        for n in range(100)
        for packet in options(minute * 60 + n / 1000, PBX, f"10.0.1.{n}:5060", answer=200 if n % 3 else 404)
    ]
    assert track(sorted(qualify, key=lambda packet: packet.at_us), end=600).risks == []


def test_messages_that_cannot_be_read_by_the_dozen_are_told() -> None:
    junk = [SipPacket(at(n), "udp", STRANGER, PBX, b"REGISTER sip:x SIP/2.0\r\nVia: x\r\n\r\n") for n in range(60)]
    assert track(junk[:49], end=7200).risks == []
    assert [(risk.code, risk.count) for risk in track(junk, end=7200).risks] == [
        ("risk.malformed_flood", 50),
        ("risk.malformed_flood", 10),
    ]


# --- laws


def test_what_goes_on_at_the_end_of_a_capture_is_told() -> None:
    seen = [packet for n in range(4) for packet in options(n, STRANGER, PBX, "friendly-scanner")]
    assert [risk.count for risk in track(seen, end=None).risks] == [1, 3]


def test_the_same_packets_give_the_same_records_also_over_a_snapshot() -> None:
    packets = [
        *(packet for n in range(12) for packet in wrong(n, str(100 + n), STRANGER)),
        *dials(10, "198.51.100.67:5060"),
        *(packet for n in range(20) for packet in options(100 + n / 10, "198.51.100.68:5060", f"10.0.2.{n}:5060")),
        *(packet for n in range(5) for packet in options(200 + n, STRANGER, PBX, "sipcli/v1")),
    ]
    packets.sort(key=lambda packet: packet.at_us)
    whole = track(packets, end=5000).risks
    assert len(whole) == 7
    for cut in range(0, len(packets), 7):
        first, second = Tracker(), Tracker()
        for packet in packets[:cut]:
            first.feed(packet)
        before = first.drain()[0]
        second.restore(first.snapshot())
        for packet in packets[cut:]:
            second.feed(packet)
        for seconds in (1000, 2000, 3000, 4000, 5000):
            second.tick(at(seconds))
        assert [one for one in before + second.drain()[0] if isinstance(one, Risk)] == whole


def test_a_clock_that_is_set_back_makes_no_attack() -> None:
    tries = [*wrong(0, "101", STRANGER), *wrong(1, "102", STRANGER), *wrong(-7200, "103", STRANGER)]
    assert track(tries, end=60).risks == []


def test_a_flood_from_invented_addresses_stays_in_bounds_and_known_attackers_are_told() -> None:
    limits = Limits(risk_origins=500, risks_per_hour=50)
    tracker = Tracker(limits)
    flood = [
        options(n / 5000, f"{10 + n % 100}.{n // 100 % 250}.{n // 25000}.9:5060", PBX, "sipcli/v1.8")[0]
        for n in range(20_000)
    ]
    for packet in flood[:1000]:
        tracker.feed(packet)
    tracker.drain()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for packet in flood[1000:]:
        tracker.feed(packet)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    records = tracker.drain()[0]
    assert sum(isinstance(record, Risk) for record in records) == 0
    assert tracker.counters["risk_origins_evicted"] >= 19_000
    assert tracker.counters["risks_dropped"] >= 19_000
    assert grown < 1_000_000
