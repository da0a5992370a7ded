"""The comparison finds what is missing, doubled or wrong."""

from agent.demo.compare import SHOWN_MAX, Comparison, Truth, compare, seat_days_held, table, verdict
from agent.demo.office import PlayedCall
from uplink.events import MicroTransaction, event_id

SITE = "00000000-0000-4000-8000-000000000de0"
DAY = "2026-11-20"
START_MS = 1_795_168_800_000

DESK_CALL = PlayedCall(
    way="cdr",
    key="1795168801.1",
    kind="answered",
    caller="101",
    dialled="102",
    started_at_ms=START_MS + 1_000,
    answered_at_ms=START_MS + 5_000,
    ended_at_ms=START_MS + 66_000,
    outcome="answered",
    call_class="internal",
    rings=("102",),
    answered_by="102",
)
WIRE_CALL = PlayedCall(
    way="sip",
    key="4711-000001@annex",
    kind="busy",
    caller="121",
    dialled="122",
    started_at_ms=START_MS + 2_345,
    answered_at_ms=None,
    ended_at_ms=START_MS + 3_345,
    outcome="busy",
    call_class="internal",
    rings=("122",),
)
DESK_REFERENCE = event_id(SITE, "call", "cdr", "1795168801.1")
WIRE_REFERENCE = "whatever the agent makes of it"


def event(
    meter: str, quantity: str, reference: str, time_ms: int, *, subject: str, call_class: str = "internal", **data: str
) -> MicroTransaction:
    return MicroTransaction(
        id=f"{meter} {quantity} {reference} {data}",
        meter=meter,
        subject=subject,
        time_ms=time_ms,
        quantity=quantity,
        unit="",
        data={"call": reference, "class": call_class, **data},
    )


def desk_call(quantity: str = "1", *, call_class: str = "internal", outcome: str = "answered") -> MicroTransaction:
    at_ms = DESK_CALL.started_at_ms
    return event("call", quantity, DESK_REFERENCE, at_ms, subject="101", call_class=call_class, outcome=outcome)


def desk_minutes(quantity: str) -> MicroTransaction:
    return event("voice.minutes", quantity, DESK_REFERENCE, DESK_CALL.started_at_ms, subject="101")


def wire_call(reference: str = WIRE_REFERENCE) -> MicroTransaction:
    return event("call", "1", reference, WIRE_CALL.started_at_ms, subject="121", outcome="busy")


def seat_day(seat: str, quantity: str = "1") -> MicroTransaction:
    return MicroTransaction(
        id=f"{seat} {quantity}",
        meter="seat.day",
        subject=seat,
        time_ms=START_MS,
        quantity=quantity,
        unit="seat-day",
        data={"day": DAY},
    )


SEATS = ("101", "102", "121", "122")
SEAT_EVENTS = [seat_day(seat) for seat in SEATS]
RIGHT = [desk_call(), desk_minutes("1.1"), wire_call(), *SEAT_EVENTS]
"""61 seconds in steps of six are 66: 1.1 minutes."""


def compared(events: list[MicroTransaction], **told: object) -> Comparison:
    truth = {
        "site_id": SITE,
        "since_ms": START_MS,
        "calls": [DESK_CALL, WIRE_CALL],
        "seat_days": {(seat, DAY) for seat in SEATS},
        **told,
    }
    return compare(Truth(**truth), events)  # type: ignore[arg-type]


def test_what_is_held_as_it_was_played_is_no_difference() -> None:
    found = compared(RIGHT)
    assert found.differences == []
    assert verdict(found) == ["no difference: 2 calls and 4 seat-days are held as they were played"]


def test_a_correction_that_nets_to_the_truth_is_no_difference() -> None:
    corrected = [
        desk_minutes("0.8"),
        desk_minutes("0.3"),
        desk_call(call_class="service"),
        desk_call("-1", call_class="service"),
    ]
    assert compared([*corrected, *RIGHT[:1], *RIGHT[2:]]).differences == []


def test_a_missing_call_is_named() -> None:
    found = compared([event for event in RIGHT if event.data.get("call") != WIRE_REFERENCE])
    assert found.differences == [
        "sip busy, 121 to 122 at 10:00:02 (4711-000001@annex): the receiver holds nothing of it"
    ]


def test_a_doubled_call_is_named() -> None:
    assert compared([*RIGHT, desk_call()]).differences == [
        "cdr answered, 101 to 102 at 10:00:01 (1795168801.1): call internal of 101: 2 held, 1 played"
    ]


def test_a_call_that_is_held_under_two_references_is_doubled() -> None:
    (difference,) = compared([*RIGHT, wire_call("another reference")]).differences
    assert difference.endswith("call internal of 121: 2 held, 1 played")


def test_a_call_without_its_minutes_is_named() -> None:
    (difference,) = compared([event for event in RIGHT if event.meter != "voice.minutes"]).differences
    assert difference.endswith("voice.minutes internal of 101: 0 held, 1.1 played")


def test_wrong_minutes_a_wrong_class_and_a_wrong_outcome_are_named() -> None:
    wrong = [desk_call(call_class="national", outcome="no_answer"), desk_minutes("1")]
    text = "\n".join(compared([*wrong, *RIGHT[2:]]).differences)
    assert "call internal of 101: 0 held, 1 played" in text
    assert "call national of 101: 1 held, 0 played" in text
    assert "voice.minutes internal of 101: 1 held, 1.1 played" in text
    assert "outcome: no_answer held, answered played" in text


def test_a_call_that_was_not_played_is_named() -> None:
    (difference,) = compared([*RIGHT, event("call", "1", "stray", START_MS + 9_000, subject="103")]).differences
    assert difference.startswith("a call that the office did not play, at 10:00:09: call internal of 103 1")


def test_what_was_held_before_the_office_opened_is_none_of_its_business() -> None:
    earlier = event("call", "1", "an earlier run's", START_MS - 1, subject="103")
    known = [seat_day("111")]
    assert compared([*RIGHT, earlier, *known], known_seat_days=seat_days_held(known)).differences == []


def test_seats_that_are_missing_strange_or_doubled_are_named() -> None:
    events = [event for event in RIGHT if event.subject != "122"]
    found = compared([*events, seat_day("130"), seat_day("101")])
    assert found.differences == [
        "seat 122 on 2026-11-20: no seat-day is held",
        "seat 130 on 2026-11-20: a seat-day is held, and the seat did nothing",
        "seat 101 on 2026-11-20: 2 seat-days are held",
    ]


def test_the_table_has_a_line_for_each_kind_and_the_sums() -> None:
    lines = [line.split() for line in table(compared(RIGHT[1:]))]
    assert lines[1] == ["cdr", "answered", "1", "1.1", "0", "1.1", "2"]
    assert lines[2] == ["sip", "busy", "1", "0.0", "1", "0.0", "-"]
    assert lines[3] == ["all", "calls", "2", "1.1", "1", "1.1", "2"]
    assert lines[4] == ["seat-days", "4", "4"]


def test_more_differences_than_one_can_read_are_counted() -> None:
    strays = [event("call", "1", f"stray {n}", START_MS + n, subject="103") for n in range(SHOWN_MAX + 5)]
    lines = verdict(compared([*RIGHT, *strays]))
    assert lines[0] == f"{SHOWN_MAX + 5} differences:"
    assert lines[-1] == "  and 5 more"
