"""Each feature by the messages that show it, and by those that look alike and do not."""

import re
from pathlib import Path

import pytest

from agent.metering.catalogue import FEATURES
from collectors.records import Call
from collectors.sip.features import DIVERSION_REASONS, HISTORY_CAUSES
from collectors.sip.packets import SipPacket
from collectors.sip.site import Site
from collectors.sip.standalone import PACKAGES
from tests.collectors.sip.flows import (
    CARRIER,
    PBX,
    Exchange,
    Told,
    at,
    at_ms,
    codes,
    in_order,
    message,
    phone,
    register,
    sdp,
    track,
)

MUSIC_SERVER = "10.0.0.40"


def near(call_id: str = "a", caller: str = "101", dialled: str = "102", **more: str) -> Exchange:
    return Exchange(call_id, phone(int(caller)), PBX, caller, dialled, **more)


def far(call_id: str = "b", caller: str = "101", callee: str = "102", **more: str) -> Exchange:
    return Exchange(call_id, PBX, phone(int(callee)), caller, callee, **more)


def up(one: Exchange, answer: float = 1) -> list[SipPacket]:
    return [*one.ring(0), one.accept(answer), one.ack(answer + 0.1)]


def again(
    one: Exchange, seconds: float, cseq: int, body: str, *, by: str = "caller", status: int = 200
) -> list[SipPacket]:
    """A re-INVITE and its answer."""
    other = "callee" if by == "caller" else "caller"
    request = one.request(seconds, "INVITE", cseq, by=by, body=body)
    return [request, one.answer(seconds + 0.1, status, f"{cseq} INVITE", by=other, body=sdp("recvonly"))]


def names(told: Told) -> set[tuple[str, str]]:
    return {(use.code, use.endpoint) for call in told.calls for use in call.features}


# --- hold and music


def test_music_on_hold_comes_from_elsewhere_than_the_phone_that_holds() -> None:
    """RFC 7088: the held end is told to listen to the music server."""
    one = near()
    music = sdp("sendonly").replace("c=IN IP4 10.0.1.1", f"c=IN IP4 {MUSIC_SERVER}")
    told = track([*up(one), *again(one, 10, 2, music), *again(one, 20, 3, music), one.bye(30)]).call
    assert [(use.code, use.endpoint, use.count) for use in told.features] == [
        ("hold", "101", 1),
        ("music_on_hold", "101", 1),
    ]


@pytest.mark.parametrize(
    "offer", [sdp("sendonly"), sdp("inactive").replace("c=IN IP4 10.0.1.1", f"c=IN IP4 {MUSIC_SERVER}")]
)
def test_hold_without_media_from_elsewhere_is_no_music(offer: str) -> None:
    one = near()
    assert codes(track([*up(one), *again(one, 10, 2, offer), one.bye(30)]).call) == [("hold", "101")]


def test_the_callee_may_play_music_too_and_a_refused_offer_plays_none() -> None:
    one = near()
    music = sdp("sendonly").replace("c=IN IP4 10.0.1.1", f"c=IN IP4 {MUSIC_SERVER}")
    by_callee = track([*up(one), *again(one, 10, 2, music, by="callee"), one.bye(30)]).call
    assert codes(by_callee) == [("hold", "102"), ("music_on_hold", "102")]
    refused = track([*up(one), *again(one, 10, 2, music, status=488), one.bye(30)]).call
    assert codes(refused) == []


# --- announcements and intercom

AUTO = [("Call-Info", "<sip:office.example>;answer-after=0")]


def test_phones_that_are_told_to_answer_together_are_paged_and_one_alone_is_an_intercom_call() -> None:
    page = [far(f"b{number}", "101", f"{number}", headers=AUTO).talk(0.1, 0.4, 9) for number in (102, 103, 104)]
    assert codes(track(in_order(near(dialled="*80").talk(0, 0.5, 9), *page)).call)[0] == ("paging", "101")
    alone = track(in_order(near(dialled="*80102").talk(0, 0.5, 9), far(headers=AUTO).talk(0.1, 0.4, 9))).call
    assert codes(alone) == [("intercom", "101")]


def test_an_announcement_to_a_multicast_group_is_paging() -> None:
    group = sdp("sendonly").replace("c=IN IP4 10.0.1.1", "c=IN IP4 239.255.1.1/32")
    one = near(dialled="700", headers=[("Alert-Info", "<http://office.example>;info=alert-autoanswer")])
    told = track([one.invite(0, body=group), one.accept(0.2), one.ack(0.3), one.bye(9)]).call
    assert codes(told) == [("paging", "101")]


# --- a seat that is busy, or wants to be left alone


def talking(seat: str = "102", start: float = 0, end: float = 200) -> list[SipPacket]:
    """The seat talks to 109, in a call that it placed."""
    return in_order(
        near("x", seat, "109").talk(start, start + 1, end), far("y", seat, "109").talk(start, start + 0.9, end)
    )


def test_a_call_that_rings_at_a_seat_that_talks_waits() -> None:
    told = track(in_order(talking(), near().talk(20, 30, 40), far().talk(20.1, 29.9, 40)))
    assert ("call_waiting", "102") in names(told)
    received = in_order(near("x", "109", "102").talk(0, 1, 200), far("y", "109", "102").talk(0, 0.9, 200))
    assert ("call_waiting", "102") in names(
        track(in_order(received, near().talk(20, 30, 40), far().talk(20.1, 29.9, 40)))
    )


def test_a_call_to_a_seat_that_talks_no_more_or_at_another_phone_does_not_wait() -> None:
    over = track(in_order(talking(end=10), near().talk(20, 30, 40), far().talk(20.1, 29.9, 40)))
    elsewhere = Exchange("b", PBX, phone(202), "101", "102")
    other = track(in_order(talking(), near().talk(20, 30, 40), elsewhere.talk(20.1, 29.9, 40)))
    assert not {code for code, _ in names(over) | names(other)} & {"call_waiting"}


def test_the_phone_system_may_say_that_the_call_waits() -> None:
    waits = far(headers=[("Alert-Info", "<urn:alert:service:call-waiting>")])
    assert ("call_waiting", "102") in names(track(in_order(near().talk(20, 30, 40), waits.talk(20.1, 29.9, 40))))


def at_once(one: Exchange, status: int, after: float = 0.2) -> list[SipPacket]:
    return [one.invite(0.1), one.answer(0.15, 100), one.answer(0.1 + after, status), one.ack(0.2 + after)]


@pytest.mark.parametrize("status", [480, 486, 603])
def test_a_phone_that_refuses_by_itself_is_not_to_be_disturbed(status: int) -> None:
    calls = in_order(near().refused(0, 1, status), at_once(far(), status))
    assert names(track([*register(-5, "102"), *calls])) == {("do_not_disturb", "102")}
    nobody_knows_who_answers = set() if status == 480 else {("do_not_disturb", "102")}
    assert names(track(calls)) == nobody_knows_who_answers


def test_a_refusal_after_ringing_or_time_or_by_a_seat_that_talks_or_by_the_phone_system_is_none() -> None:
    assert names(track(in_order(near().refused(0, 3, 486), far().refused(0.1, 2, 486)))) == set()
    assert names(track(in_order(near().refused(0, 3, 486), at_once(far(), 486, after=2)))) == set()
    assert names(track(at_once(near(), 486))) == set()
    busy = in_order(talking(start=-20), near().refused(0, 1, 486), at_once(far(), 486))
    assert ("do_not_disturb", "102") not in names(track(busy))
    outside = Exchange("b", PBX, CARRIER, "101", "+12125551234")
    assert names(track(in_order(near(dialled="92125551234").refused(0, 1, 486), at_once(outside, 486)))) == set()


def test_a_phone_may_say_that_it_is_not_to_be_disturbed() -> None:
    rang = far()
    for why in (("Warning", '399 phone "Do Not Disturb"'), ("Reason", 'SIP;cause=480;text="DND active"')):
        packets = [*rang.ring(0.1), rang.answer(5, 480, headers=[why]), rang.ack(5.1)]
        told = track(in_order(near().refused(0, 6, 480), packets))
        assert names(told) == {("do_not_disturb", "102")}, why


def test_a_key_that_switches_do_not_disturb_on_is_a_use_of_it_and_one_that_switches_it_off_is_none() -> None:
    def pressed(on: str) -> Told:
        body = f"<SetDoNotDisturb><doNotDisturbOn>{on}</doNotDisturbOn></SetDoNotDisturb>"
        return outside("SUBSCRIBE", [("Event", "as-feature-event")], body)

    assert [(use.code, use.endpoint) for use in pressed("true").uses] == [("do_not_disturb", "101")]
    assert pressed("false").uses == []


# --- requests outside of calls


def outside(method: str, headers: list[tuple[str, str]], body: str = "", kind: str = "", seconds: float = 5) -> Told:
    """From 101 to the phone system, and accepted."""
    head = [
        ("Via", f"SIP/2.0/UDP {phone(101)};branch=z9hG4bKo"),
        ("From", "<sip:101@office.example>;tag=1"),
        ("To", "<sip:102@office.example>"),
        ("Call-ID", "o"),
        ("CSeq", f"1 {method}"),
    ]
    asked = message(f"{method} sip:102@office.example SIP/2.0", [*head, *headers], body)
    if kind:
        asked = asked.replace(b"application/sdp", kind.encode())
    told = message("SIP/2.0 200 OK", head)
    return track(
        [
            SipPacket(at(seconds), "udp", phone(101), PBX, asked),
            SipPacket(at(seconds + 0.1), "udp", PBX, phone(101), told),
        ]
    )


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ("presence", "presence"),
        ("dialog;sla", "presence"),
        ("call-completion", "callback"),
        ("conference", "conference"),
    ],
)
def test_a_subscription_uses_the_feature_of_its_package(event: str, code: str) -> None:
    told = outside("SUBSCRIBE", [("Event", event), ("Expires", "600")])
    assert [(use.code, use.endpoint) for use in told.uses] == [(code, "101")]
    assert outside("SUBSCRIBE", [("Event", event), ("Expires", "0")]).uses == []


def test_what_nobody_wrote_is_no_message() -> None:
    wrapped = "From: <sip:101@x>\r\n\r\nContent-Type: {}\r\n\r\nbody"
    for kind, body, count in (
        ("text/plain", "hello", 1),
        ("application/im-iscomposing+xml", "<isComposing/>", 0),
        ("message/imdn+xml", "<imdn/>", 0),
        ("message/cpim", wrapped.format("text/plain; charset=utf-8"), 1),
        ("message/cpim", wrapped.format("message/imdn+xml"), 0),
    ):
        assert len(outside("MESSAGE", [], body, kind).uses) == count, kind


# --- recording

METADATA = (
    '<?xml version="1.0"?><recording xmlns="urn:ietf:params:xml:ns:recording:1"><session session_id="s">{session}</session>'
    '<participant participant_id="p1"><nameID aor="sip:101@office.example"><name>Jo</name></nameID></participant>'
    '<participant participant_id="p2"><nameID aor="sip:102@office.example"/></participant></recording>'
)
RECORDER = "10.0.0.50:5060"


def recording(start: float, end: float, session: str = "", status: int = 200) -> list[SipPacket]:
    """The phone system records at a recording server."""
    one = Exchange("r", PBX, RECORDER, "pbx", "recorder")
    metadata = METADATA.format(session=f"<sipSessionID>{session}</sipSessionID>" if session else "")
    body = f"--x\r\nContent-Type: application/sdp\r\n\r\n{sdp('sendonly')}--x\r\n{metadata}\r\n--x--\r\n"
    invite = one.invite(start, body=body, headers=[("Require", "siprec")])
    if status >= 300:
        return [invite, one.answer(start + 0.1, status), one.ack(start + 0.2)]
    return [invite, one.accept(start + 0.1), one.ack(start + 0.2), one.bye(end), one.bye_ok(end + 0.1)]


def test_a_recording_session_is_no_call_and_shows_that_the_call_it_names_is_recorded() -> None:
    told = track(in_order(near().talk(0, 5, 65), far().talk(0.1, 4.9, 65), recording(5.2, 65.1)))
    assert (told.call.legs, codes(told.call)) == (2, [("recording", "101")])
    assert (told.counters["calls"], told.counters["recordings"], told.uses) == (1, 1, [])


def test_a_recording_that_is_refused_records_nothing() -> None:
    told = track(in_order(near().talk(0, 5, 65), far().talk(0.1, 4.9, 65), recording(5.2, 65.1, status=488)))
    assert codes(told.call) == []


def test_a_recording_names_its_call_by_session_id() -> None:
    uuid, nil = "ab30317f1a784dc48ff824d0d3715d", "0" * 32
    calls = []
    for number in ("03", "04"):
        session = [("Session-ID", f"{uuid}{number};remote={nil}")]
        calls.append(Exchange(f"a{number}", phone(int(number)), PBX, "101", "102", headers=session))
    told = track(in_order(*[one.talk(0, 5, 65) for one in calls], recording(5.2, 65.1, f"{uuid}04")))
    found = {leg.src: [use.code for use in leg.features] for leg in told.legs}
    assert found == {phone(3): [], phone(4): ["recording"]}


def test_a_recording_of_a_call_that_is_not_known_stands_alone() -> None:
    told = track(recording(5.2, 65.1))
    assert (told.calls, [(use.code, use.endpoint) for use in told.uses]) == ([], [("recording", "101")])
    assert told.uses[0].key


def test_a_key_that_asks_the_phone_system_to_record_counts_when_it_is_accepted() -> None:
    one = near()

    def pressed(word: str, status: int) -> Call:
        info = [one.request(10, "INFO", 3, headers=[("Record", word)]), one.answer(10.1, status, "3 INFO")]
        return track([*up(one), *info, one.bye(60)]).call

    assert codes(pressed("on", 200)) == [("recording", "101")]
    assert codes(pressed("off", 200)) == codes(pressed("on", 488)) == []


# --- voicemail


def summary(seconds: float, new: int, old: int, number: int = 1, seat: str = "101") -> SipPacket:
    head = [
        ("Via", f"SIP/2.0/UDP {PBX};branch=z9hG4bKm{number}"),
        ("From", "<sip:asterisk@10.0.0.10>;tag=m"),
        ("To", f"<sip:{seat}@10.0.1.101>"),
        ("Call-ID", f"m{number}"),
        ("CSeq", "102 NOTIFY"),
        ("Event", "message-summary"),
    ]
    body = f"Messages-Waiting: yes\r\nMessage-Account: sip:asterisk@10.0.0.10\r\nVoice-Message: {new}/{old} (0/0)\r\n"
    return SipPacket(
        at(seconds), "udp", PBX, phone(101), message(f"NOTIFY sip:{seat}@{phone(101)} SIP/2.0", head, body)
    )


def test_a_box_that_fills_tells_of_messages_left_from_the_second_time_on() -> None:
    told = track(
        [summary(0, 3, 1, 1), summary(60, 4, 1, 2), summary(61, 4, 1, 3), summary(90, 0, 5, 4), summary(99, 2, 5, 5)]
    )
    assert [(use.code, use.endpoint, use.at_ms, use.count) for use in told.uses] == [
        ("voicemail_deposit", "101", at_ms(60), 1),
        ("voicemail_deposit", "101", at_ms(99), 2),
    ]


def test_where_the_voicemails_number_is_configured_its_calls_tell_and_the_boxes_do_not() -> None:
    told = track([summary(0, 3, 1, 1), summary(60, 4, 1, 2)], site=Site(services={"*97": "voicemail_retrieve"}))
    assert told.uses == []


# --- parking, picking up, queueing


@pytest.mark.parametrize("orbit", ["park", "callpark", "park+701", "700"])
def test_a_call_that_is_sent_to_a_park_orbit_is_parked_and_whoever_calls_there_fetches_it(orbit: str) -> None:
    site, one = Site(services={"700": "park"}), near()
    refer = one.request(10, "REFER", 2, by="callee", headers=[("Refer-To", f"<sip:{orbit}@office.example>")])
    parked = track([*up(one), refer, one.answer(10.1, 202, "2 REFER", by="caller"), one.bye(60)], site=site).call
    assert codes(parked) == [("park", "102")]
    assert codes(track(near(dialled=orbit).talk(0, 1, 9), site=site).call) == [("park", "101")]
    assert codes(track(near(dialled=orbit).refused(0, 1, 404), site=site).call) == []


def test_a_ringing_call_that_is_replaced_is_picked_up_whether_early_only_is_said_or_not() -> None:
    ringing, pickup = far(), near("c", "103", "102", headers=[("Replaces", "b;to-tag=tb;from-tag=fb")])
    told = track(in_order(near().talk(0, 5.2, 65), ringing.cancelled(0.1, 5.1), pickup.talk(4.8, 5, 65)))
    assert ("pickup", "103") in codes(told.call)


def test_a_caller_who_is_told_to_wait_in_a_queue() -> None:
    one = near(dialled="700")
    told = track(
        [one.invite(0), one.answer(0.1, 182), one.answer(5, 182), one.accept(30), one.ack(30.1), one.bye(60)]
    ).call
    assert codes(told) == [("queue", "101")]


# --- forwards


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("unconditional", "call_forward_unconditional"),
        ("deflection", "call_forward_unconditional"),
        ("user-busy", "call_forward_busy"),
        ("no-answer", "call_forward_no_answer"),
        ("unavailable", "call_forward_no_answer"),
        ("follow-me", "find_me_follow_me"),
        ("do-not-disturb", "do_not_disturb"),
        ("time-of-day", "time_condition"),
    ],
)
def test_a_diversion_by_its_reason(reason: str, code: str) -> None:
    told = track(near(headers=[("Diversion", f"<sip:107@x>;reason={reason}")]).talk(0, 1, 9)).call
    assert codes(told) == [(code, "107")]


def test_a_call_that_is_being_forwarded_may_say_by_whom_and_why() -> None:
    one = near()
    forwarded = one.answer(1, 181, headers=[("Diversion", "<sip:102@x>;reason=user-busy")])
    told = track([one.invite(0), forwarded, one.answer(2, 181), one.accept(5), one.ack(5.1), one.bye(9)]).call
    assert codes(told) == [("call_forward_busy", "102")]


# --- fax, conference, another number


def test_an_offer_of_nothing_but_g711_without_silence_suppression_passes_a_fax_through() -> None:
    one = near()
    turned = sdp().replace("RTP/AVP 0 8 101", "RTP/AVP 8") + "a=silenceSupp:off - - - -\r\n"
    assert codes(track([*up(one), *again(one, 10, 2, turned), one.bye(60)]).call) == [("fax", "101")]
    usual = sdp() + "a=silenceSupp:off - - - -\r\n"
    assert codes(track([*up(one), *again(one, 10, 2, usual), one.bye(60)]).call) == []
    assert codes(track([one.invite(0, body=turned), one.accept(1), one.ack(1.1), one.bye(9)]).call) == []


def test_a_phone_that_begins_to_mix_says_so_and_so_does_a_conference_that_calls_somebody_in() -> None:
    one = near()
    mixes = one.request(10, "INVITE", 2, body=sdp(), headers=[("Contact", "<sip:101@10.0.1.101>;isfocus")])
    assert codes(track([*up(one), mixes, one.accept(10.1, cseq=2), one.bye(60)]).call) == [("conference", "101")]
    called_in = far(headers=[("Contact", "<sip:500@10.0.0.10>;isfocus")])
    packets = called_in.talk(0, 1, 9)
    packets[0] = called_in.request(0, "INVITE", 1, in_dialog=False, body=sdp(), headers=called_in.headers)
    assert codes(track(packets).call) == [("conference", "102")]


def test_a_seat_that_shows_another_number_than_its_own() -> None:
    asserted = [("P-Asserted-Identity", "<sip:101@office.example>")]
    out = Exchange("b", PBX, CARRIER, "+12125550100", "+12125551234", headers=asserted)
    told = track(in_order(near(dialled="92125551234").talk(0, 5, 65), out.talk(0.1, 4.9, 65)))
    assert names(told) == {("caller_id_override", "101")}
    plain = Exchange("b", PBX, CARRIER, "101", "+12125551234", headers=asserted)
    assert names(track(in_order(near(dialled="92125551234").talk(0, 5, 65), plain.talk(0.1, 4.9, 65)))) == set()


def test_every_code_is_the_catalogues_and_the_readmes() -> None:
    folder = Path(__file__).resolve().parents[3] / "collectors" / "sip"
    source = "".join(path.read_text() for path in folder.rglob("*.py"))
    used = set(re.findall(r'code="([a-z_]+)"', source)) | set(PACKAGES.values())
    used |= (
        set(DIVERSION_REASONS.values()) | set(HISTORY_CAUSES.values()) | {"transfer_blind", "transfer_attended", "park"}
    )
    table = (folder / "README.md").read_text().partition("## Features")[2].partition("## Counters")[0]
    told = set(
        re.findall(r"`([a-z_]+)`", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("|")))
    )
    told |= {"call_forward" + code for code in told if code.startswith("_")}
    assert used <= set(FEATURES)
    assert used <= told
