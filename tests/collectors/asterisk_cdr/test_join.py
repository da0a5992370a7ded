"""Rows to calls. The rows are as Asterisk 22 writes them, by hand; so are the expectations."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.asterisk_cdr.channel import endpoint, rung
from collectors.asterisk_cdr.join import join
from collectors.records import Call, FeatureUse, Party
from tests.collectors.asterisk_cdr.rows import T0, UID, call, calls, legs, line, used

CONSULT = "1767605410.7"


def at(clock_s: int) -> int:
    return T0 + clock_s * 1000


def test_an_answered_call() -> None:
    assert call(line(billsec=59)) == Call(
        key=UID,
        started_at_ms=at(0),
        answered_at_ms=at(5),
        ended_at_ms=at(65),
        talk_ms=59_000,
        outcome="answered",
        caller=Party("101", "101"),
        dialled="102",
        answered_by=Party("102", "102"),
        offered=("102",),
    )


@pytest.mark.parametrize(
    ("disposition", "outcome"),
    [("NO ANSWER", "no_answer"), ("BUSY", "busy"), ("FAILED", "failed"), ("CONGESTION", "failed")],
)
def test_an_unanswered_call_with_the_row_of_the_hangup_after_it(disposition: str, outcome: str) -> None:
    found = call(
        line(answer="", end="09:30:03", how=disposition),
        line(b="", app="Hangup", data="", start="09:30:03", answer="", end="09:30:03", how=disposition, sequence=2),
    )
    assert (found.outcome, found.answered_at_ms, found.talk_ms, found.answered_by) == (outcome, None, 0, None)
    assert (found.offered, found.legs) == (("102",), 2)


GROUP = "PJSIP/102&PJSIP/106&PJSIP/116,10"


def ring_group(**change: str) -> list[str]:
    late = {"answer": "", "end": "09:30:05", "how": "NO ANSWER", "billsec": 0}
    return [
        line(dst="200", data=GROUP, **change),
        line(dst="200", data=GROUP, b="PJSIP/106-00000003", sequence=2, **{**late, **change}),
        line(dst="200", data=GROUP, b="PJSIP/116-00000004", sequence=3, **{**late, **change}),
    ]


def test_a_ring_group_is_one_call_that_rang_three_phones() -> None:
    found = call(*ring_group())
    assert (found.talk_ms, found.dialled, found.answered_by) == (60_000, "200", Party("102", "102"))
    assert found.offered == ("102", "106", "116")
    assert used(found) == [("ring_group", "102")]


def test_a_ring_group_that_nobody_answered_is_a_use_by_the_caller() -> None:
    found = call(*ring_group(answer="", how="NO ANSWER"))
    assert (found.outcome, used(found)) == ("no_answer", [("ring_group", "101")])


def test_a_group_is_busy_only_when_all_of_it_is() -> None:
    rows = ring_group(answer="", how="BUSY")
    assert call(*rows).outcome == "busy"
    assert call(rows[0], rows[1], rows[2].replace("BUSY", "NO ANSWER")).outcome == "no_answer"


def test_all_phones_of_one_extension_that_ring_are_simultaneous_ring() -> None:
    assert used(call(line(data="PJSIP/102&PJSIP/1020,20"))) == [("simultaneous_ring", "102")]
    two_devices = "PJSIP/102/sip:102@10.0.0.7&PJSIP/102/sip:102@10.0.0.8"
    assert used(call(line(data=two_devices, dst="600"))) == [("simultaneous_ring", "102")]


def test_a_call_that_goes_to_voicemail_is_one_call_answered_by_no_phone() -> None:
    found = call(
        line(answer="", end="09:30:20", how="NO ANSWER"),
        line(b="", app="VoiceMail", data="102@default,u", start="09:30:20", answer="09:30:20", sequence=2),
    )
    assert (found.talk_ms, found.answered_at_ms, found.answered_by) == (45_000, at(20), Party("102", ""))
    assert used(found) == [("voicemail_deposit", "102")]


def test_freepbx_names_the_mailbox_in_the_extension() -> None:
    found = call(line(b="", dst="vmu102", app="VoiceMail", data="", context="macro-vm"))
    assert (found.dialled, used(found)) == ("102", [("voicemail_deposit", "102")])


def test_an_auto_attendant_that_forwards_is_connected_from_its_own_answer() -> None:
    found = call(line(dst="t", context="menu", answer="09:30:00"))
    assert (found.talk_ms, found.answered_by, found.dialled) == (65_000, Party("102", "102"), "102")
    assert used(found) == [("auto_attendant", "101")]


def test_an_auto_attendant_that_forwards_to_a_busy_phone_was_a_call_all_the_same() -> None:
    found = call(line(dst="s", context="ivr-3", answer="09:30:00", end="09:30:20", how="BUSY"))
    assert (found.outcome, found.talk_ms, found.answered_by) == ("answered", 20_000, Party("s", ""))
    assert used(found) == [("auto_attendant", "101")]


def test_a_queue_that_rang_two_agents_is_connected_from_the_queues_answer() -> None:
    queue = {"app": "Queue", "data": "support", "dst": "700", "answer": "09:30:00"}
    found = call(line(**queue), line(**queue, b="PJSIP/109-00000003", end="09:30:05", how="NO ANSWER", sequence=2))
    assert (found.talk_ms, found.answered_by, found.offered) == (65_000, Party("102", "102"), ("102", "109"))
    assert used(found) == [("queue", "102")]


def test_a_caller_who_waits_in_vain_was_connected_to_the_queue_over_the_gap_between_two_tries() -> None:
    queue = {"app": "Queue", "data": "night", "dst": "701"}
    found = call(
        line(**queue, start="09:30:00", answer="09:30:00", end="09:30:03", billsec=2, how="NO ANSWER"),
        line(b="", app="Hangup", data="", dst="701", start="09:30:04", answer="09:30:04", end="09:30:04", sequence=2),
    )
    assert (found.outcome, found.talk_ms, found.answered_by) == ("answered", 4_000, Party("701", ""))
    assert used(found) == [("queue", "101")]


BLIND = [
    line(end="09:30:30", billsec=24),
    line(b="PJSIP/103-00000003", dst="103", data="PJSIP/103,20", start="09:30:30", answer="09:30:30", sequence=2),
]


def test_a_blind_transfer_is_one_call() -> None:
    found = call(*BLIND)
    assert (found.talk_ms, found.dialled, found.answered_by) == (60_000, "102", Party("102", "102"))
    assert found.features == (FeatureUse(code="transfer_blind", endpoint="102", at_ms=at(30)),)
    assert found.offered == ("102", "103")


def test_a_blind_transfer_that_overwrote_what_was_dialled_is_known_by_the_phone_that_was_rung() -> None:
    assert call(BLIND[0].replace('"102","office"', '"103","office"'), BLIND[1]).dialled == "102"


def test_an_attended_transfer_is_known_by_an_application_that_still_calls_the_first_phone() -> None:
    found, asked = calls(
        line(end="09:30:30"),
        line(b="PJSIP/103-00000009", start="09:30:30", answer="09:30:30", sequence=4),
        line(a="PJSIP/102-00000008", b="PJSIP/103-00000009", src="102", dst="103", start="09:30:10", answer="09:30:15",
             end="09:30:30", data="PJSIP/103,20", uid=CONSULT, linked=CONSULT, sequence=3),
    )  # fmt: skip
    assert used(found) == [("transfer_attended", "102")]
    assert (found.talk_ms, found.offered) == (60_000, ("102", "103"))
    assert (asked.talk_ms, asked.caller, asked.features) == (15_000, Party("102", "102"), ())


def test_an_attended_transfer_under_one_linked_id_is_one_call_in_which_only_the_callers_time_counts() -> None:
    found = call(
        line(end="09:30:30"),
        line(a="PJSIP/102-00000002", b="PJSIP/103-00000003", src="102", dst="103", data="PJSIP/103", start="09:30:10",
             answer="09:30:15", end="09:30:30", uid=CONSULT, sequence=2),
        line(b="PJSIP/103-00000003", start="09:30:30", answer="09:30:30", sequence=3),
    )  # fmt: skip
    assert (found.talk_ms, found.caller.endpoint, used(found)) == (60_000, "101", [("transfer_attended", "102")])


def test_a_phone_that_does_not_answer_and_then_another_in_the_same_extension_is_a_forward() -> None:
    first = {"dst": "150", "data": "PJSIP/102,5", "answer": "", "end": "09:30:05"}
    then = {"dst": "150", "data": "PJSIP/+4930901820@carrier,20", "b": "PJSIP/carrier-00000003", "start": "09:30:05"}
    found = call(line(**first, how="NO ANSWER"), line(**then, answer="09:30:15", sequence=2))
    assert used(found) == [("call_forward_no_answer", "102")]
    assert (found.trunk_out, found.answered_by) == ("carrier", Party("150", "carrier"))
    assert used(call(line(**first, how="BUSY"), line(**then, sequence=2))) == [("call_forward_busy", "102")]


def test_a_second_trunk_after_a_busy_one_is_no_forward() -> None:
    found = call(
        line(b="PJSIP/carrier-2", data="PJSIP/1@carrier", dst="1", answer="", end="09:30:01", how="BUSY"),
        line(b="PJSIP/backup-3", data="PJSIP/1@backup", dst="1", start="09:30:01", sequence=2),
        trunks=("carrier", "backup"),
    )
    assert (found.features, found.trunk_out) == ((), "backup")


def test_a_call_from_the_trunk() -> None:
    found = call(line(a="PJSIP/carrier-00000001", src="+12125550177"))
    assert (found.caller, found.trunk_in, found.trunk_out) == (Party("+12125550177", "carrier"), "carrier", "")


def test_local_channels_are_nobodys_phone_and_never_add_time() -> None:
    found = call(
        line(b="Local/102@from-queue-00000001;1", app="Queue", data="sales", dst="700", answer="09:30:10"),
        line(a="Local/102@from-queue-00000001;2", b="PJSIP/102-00000004", src="700", start="09:30:05",
             answer="09:30:10", end="09:59:00", uid="1767605405.3", sequence=2),
    )  # fmt: skip
    assert (found.talk_ms, found.caller, found.answered_by) == (55_000, Party("101", "101"), Party("102", "102"))
    assert found.offered == ("102",)


def test_parking_is_part_of_the_call() -> None:
    found = call(
        line(end="09:30:15"),
        line(b="", app="Park", data="", dst="701", start="09:30:15", answer="09:30:15", end="09:30:50", sequence=2),
        line(b="PJSIP/103-00000003", app="Park", dst="701", start="09:30:50", answer="09:30:50", sequence=3),
    )
    assert (found.talk_ms, used(found)) == (60_000, [("park", "102")])


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"app": "BackGround"}, "auto_attendant"),
        ({"app": "WaitExten"}, "auto_attendant"),
        ({"app": "Directory"}, "directory"),
        ({"app": "VoiceMailMain"}, "voicemail_retrieve"),
        ({"app": "FollowMe"}, "find_me_follow_me"),
        ({"app": "ReceiveFAX"}, "fax"),
        ({"app": "Page"}, "paging"),
        ({"app": "Pickup"}, "pickup"),
        ({"app": "MixMonitor"}, "recording"),
        ({"context": "ext-intercom"}, "intercom"),
        ({"context": "app-pagegroups"}, "paging"),
    ],
)
def test_applications_and_contexts_that_are_features(row: dict[str, str], code: str) -> None:
    assert used(call(line(**{"app": "Hangup", "data": "", "b": "", "dst": "900", **row}))) == [(code, "101")]


@pytest.mark.parametrize("app", ["Echo", "Hangup", "Playback", "NoOp", "MusicOnHold"])
def test_applications_that_are_no_feature(app: str) -> None:
    assert call(line(app=app, b="", data="")).features == ()


# ---- conferences


def conference() -> list[str]:
    """123 comes first, 124 a second later, 125 after another. 123 and 124 leave together, 125 earlier."""
    a, b, c = "PJSIP/123-00000014", "PJSIP/124-00000015", "PJSIP/125-00000016"
    room = {"app": "ConfBridge", "data": "500", "dst": "500"}
    one = {"a": a, "src": "123", "uid": "1767605400.20", "linked": "1767605400.20"}
    two = {"a": b, "src": "124", "uid": "1767605401.21", "linked": "1767605401.21", "start": "09:30:01"}
    three = {"a": c, "src": "125", "uid": "1767605402.22", "linked": "1767605402.22", "start": "09:30:02"}
    return [
        line(**room, **three, b="", answer="09:30:02", end="09:30:02", sequence=27),
        line(**room, **one, b=b, answer="09:30:00", end="09:30:06", sequence=25),
        line(**room, **one, b=c, answer="09:30:02", end="09:30:04", sequence=31),
        line(**room, **two, b=c, answer="09:30:01", end="09:30:04", sequence=26),
    ]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2)])
def test_every_participant_of_a_conference_is_a_call_of_his_own_as_long_as_he_was_there(order: tuple[int, ...]) -> None:
    rows = conference()
    found = {one.caller.number: one for one in calls(*(rows[number] for number in order))}
    assert {number: one.talk_ms for number, one in found.items()} == {"123": 6000, "124": 5000, "125": 2000}
    assert {number: used(one) for number, one in found.items()} == {
        number: [("conference", number)] for number in ("123", "124", "125")
    }
    assert {one.answered_by for one in found.values()} == {Party("500", "")}
    assert {one.offered for one in found.values()} == {()}


def test_older_versions_put_all_participants_under_one_linked_id_and_they_are_calls_of_their_own_still() -> None:
    merged = [row.replace('"","","176760540', '"","","176760539') for row in conference()]
    assert {one.caller.number: one.talk_ms for one in calls(*merged)} == {"123": 6000, "124": 5000, "125": 2000}


# ---- laws

EVERY_SHAPE = [
    *(
        [line(), line(answer="", how="NO ANSWER"), line(app="Queue", data="q")][number : number + 1]
        for number in range(3)
    ),
    ring_group(),
    BLIND,
    [*ring_group(), *BLIND],
]


@given(st.sampled_from(EVERY_SHAPE), st.data())
def test_the_order_of_the_legs_does_not_matter(rows: list[str], data: st.DataObject) -> None:
    whole = legs(*rows)
    assert join(data.draw(st.permutations(whole))) == join(whole)


WORDS = {
    "a": st.sampled_from(["PJSIP/101-1", "PJSIP/102-2", "Local/9@x-1;2", "SIP/carrier-4", "DAHDI/1-1"]),
    "b": st.sampled_from(["", "PJSIP/102-2", "PJSIP/103-3", "Local/9@x-1;1", "SIP/carrier-5"]),
    "app": st.sampled_from(["Dial", "Queue", "VoiceMail", "Hangup", "Park", "BackGround", ""]),
    "data": st.sampled_from(["", "PJSIP/102&PJSIP/103", "PJSIP/102,20", "102@default"]),
    "dst": st.sampled_from(["102", "s", "", "t", "vmu102"]),
    "start": st.sampled_from(["09:30:00", "09:30:20"]),
    "answer": st.sampled_from(["", "09:30:20", "09:30:25"]),
    "end": st.sampled_from(["09:30:25", "09:30:40"]),
    "how": st.sampled_from(["ANSWERED", "NO ANSWER", "BUSY", "FAILED", "CONGESTION"]),
    "uid": st.sampled_from(["", UID, CONSULT]),
}
"""Rows of any shape, also of shapes that nobody has seen."""


@given(st.lists(st.fixed_dictionaries(WORDS), min_size=1, max_size=7), st.data())
def test_of_any_rows_any_order_makes_one_sound_call_and_more_rows_never_take_a_phone_away(
    rows: list[dict[str, str]], data: st.DataObject
) -> None:
    given_legs = legs(*(line(**row, sequence=number) for number, row in enumerate(rows)))
    whole = join(given_legs)
    assert join(data.draw(st.permutations(given_legs))) == whole
    assert (whole.answered_at_ms is None) == (whole.outcome != "answered") == (whole.answered_by is None)
    assert 0 <= whole.talk_ms <= whole.ended_at_ms - whole.started_at_ms + 1000
    parts = [join(given_legs[:end]) for end in range(1, len(rows) + 1)]
    phones = [{part.caller.endpoint, *part.offered} - {""} for part in parts]
    assert all(fewer <= more for fewer, more in pairwise(phones))


# ---- names


@pytest.mark.parametrize(
    ("channel", "name"),
    [
        ("PJSIP/101-00000001", "101"),
        ("SIP/sip-carrier-0000001a", "sip-carrier"),
        ("SIP/10.0.0.5-00000012", "10.0.0.5"),
        ("IAX2/office-1234", "office"),
        ("DAHDI/1-1", "DAHDI/1"),
        ("DAHDI/i1/5551234-3", "DAHDI/i1/5551234"),
        ("Console/dsp", "Console/dsp"),
        ("Local/101@office-00000001;2", ""),
        ("AsyncGoto/PJSIP/101-00000001", "101"),
        ("PJSIP/101-00000001<ZOMBIE>", "101"),
        ("", ""),
        ("nonsense", ""),
    ],
)
def test_the_endpoint_in_a_channel_name(channel: str, name: str) -> None:
    assert endpoint(channel) == name


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ("PJSIP/101&PJSIP/102,20,tT", ("101", "102")),
        ("SIP/101|20|t", ("101",)),
        ("PJSIP/+12125550199@carrier,30", ("carrier",)),
        ("SIP/carrier/+12125550199", ("carrier",)),
        ("PJSIP/101/sip:101@10.0.0.9:5060,20", ("101",)),
        ("IAX2/user:secret@peer/101", ("peer",)),
        ("Local/101@office&PJSIP/101&PJSIP/101", ("101",)),
        ("DAHDI/g0/5551234", ()),
        ("", ()),
    ],
)
def test_the_endpoints_in_a_dial_string(data: str, names: tuple[str, ...]) -> None:
    assert rung(data) == names
