"""The status as text, from handwritten snapshots."""

from msgspec.structs import replace

from agent.cli.status_text import status_text
from tests.agent.web.snapshots import BROKEN, BUSY, EMPTY


def test_the_verdict_comes_first() -> None:
    assert status_text(BUSY).splitlines()[0] == (
        "Healthy. Every call is counted, and the platform has all but the last 42 events."
    )


def test_figures_have_their_units_and_times_their_zone() -> None:
    text = status_text(BUSY)
    assert "at        2026-11-20 11:31:02 Europe/Berlin, pegcount 0.1.0" in text
    assert (
        "office-pbx (asterisk_cdr) running: 1,204 legs, 911 calls, 0 registrations, 2 rejects, heard 33 s ago" in text
    )
    assert (
        "uplink    platform https://meter.example.net: 42 events waiting, last answer 5 min ago, next try in 1 min 48 s"
        in text
    )
    assert "today     138 calls, 104 answered, 412.5 billed min, 4 seats" in text


def test_problems_tell_what_to_do() -> None:
    text = status_text(BROKEN)
    assert "problems  Error: The disk is full (disk_full)" in text
    assert "What to do: Free some space on /var" in text


def test_an_agent_without_anything_set_up_says_so() -> None:
    text = status_text(EMPTY)
    assert "sources   none set up" in text
    assert "uplink    none set up" in text


def test_what_a_policy_sets_and_when_events_leave_is_told() -> None:
    at_night = tuple(replace(uplink, window="22:00-06:00") for uplink in BUSY.uplinks)
    text = status_text(replace(BUSY, uplinks=at_night, governed=("schedule.window", "metering.increment_s")))
    assert "next try in 1 min 48 s, events leave 22:00-06:00 only" in text
    assert "policy    of the platform, sets schedule.window, metering.increment_s" in text
    assert "policy" not in status_text(BUSY)


def test_risks_are_told_in_words() -> None:
    assert (
        "risks     A device is set up with a wrong account or password: 10.0.1.23, account 123, 1,214 times, last 1 min ago"
        " (risk.register_failing)" in status_text(BROKEN)
    )
    assert "risks" not in status_text(BUSY)


def test_what_the_month_comes_to_is_told_price_by_price() -> None:
    assert status_text(BUSY).splitlines()[-5:] == [
        "estimate  November 2026 so far: EUR 1,234.50, an estimate by rate card 2026-11 (0123456789abcdef)",
        "            voice.minutes (national, mobile): 8,412.5 min, 1,000 of them free"
        " at graduated: 0.02 up to 1000, 0.0151 above: 116.84375",
        "            seat.month: 112 seat-month at 9.50: 1,064",
        "            fax.pages: 671 page at 0.08: 53.68",
        "            Begins on 3 November, for older events are not kept."
        " Without a price: call 9,120, voice.minutes (local) 371.5. 12 events not counted yet.",
    ]
    assert "estimate" not in status_text(EMPTY)
