"""The hours of a site: on ordinary days, over midnight, and on the two days of the year that are no ordinary days."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uplink import window
from uplink.timing import Timing
from uplink.window import Window

BERLIN = "Europe/Berlin"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("hours", "utc", "open_then"),
    [
        ("22:00-06:00", "2026-11-20T20:59:59", False),
        ("22:00-06:00", "2026-11-20T21:00:00", True),
        ("22:00-06:00", "2026-11-21T04:59:59", True),
        ("22:00-06:00", "2026-11-21T05:00:00", False),
        ("09:00-17:00", "2026-11-20T07:59:59", False),
        ("09:00-17:00", "2026-11-20T08:00:00", True),
        ("09:00-17:00", "2026-11-20T16:00:00", False),
        # the night of 25 October 2026 has 02:00 to 03:00 twice: 00:00 and 01:00 UTC
        ("22:00-02:30", "2026-10-25T00:15:00", True),
        ("22:00-02:30", "2026-10-25T00:45:00", True),
        ("22:00-02:30", "2026-10-25T01:15:00", True),
        ("22:00-02:30", "2026-10-25T01:30:00", False),
        ("22:00-06:00", "2026-10-25T04:59:59", True),
        # in the night of 29 March 2026 there is no 02:30: it is 03:30, 01:30 UTC
        ("02:30-05:00", "2026-03-29T01:29:59", False),
        ("02:30-05:00", "2026-03-29T01:30:00", True),
        ("02:30-05:00", "2026-03-29T03:00:00", False),
        ("22:00-06:00", "2026-03-29T03:59:59", True),
        ("22:00-06:00", "2026-03-29T04:00:00", False),
        ("06:00-06:00", "2026-11-20T12:00:00", True),
    ],
)
def test_it_is_open_from_its_first_minute_to_the_one_before_its_last(hours: str, utc: str, open_then: bool) -> None:
    assert window.parse(hours, BERLIN).is_open(at(utc)) is open_then


@pytest.mark.parametrize(
    ("after", "opens"),
    [
        ("2026-10-24T12:00:00", "2026-10-24T20:00:00"),
        ("2026-10-24T20:00:00", "2026-10-25T21:00:00"),
        ("2026-03-28T21:00:00", "2026-03-29T20:00:00"),
    ],
)
def test_it_opens_at_the_sites_hour_summer_and_winter(after: str, opens: str) -> None:
    assert window.parse("22:00-06:00", BERLIN).next_opening(at(after)) == at(opens)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1)),
    st.times().map(lambda each: f"{each:%H:%M}"),
    st.times().map(lambda each: f"{each:%H:%M}"),
    st.sampled_from([BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu"]),
)
def test_at_an_opening_it_is_open_and_one_comes_each_day(when: datetime, opens: str, closes: str, zone: str) -> None:
    hours: Window = window.parse(f"{opens}-{closes}", zone)
    now = when.replace(tzinfo=UTC)
    opening = hours.next_opening(now)
    assert timedelta() < opening - now <= timedelta(hours=25)
    assert hours.is_open(opening) or opens != closes  # a span that a change of clocks swallows is none


def test_an_opening_is_the_sites_own_moment_after_it() -> None:
    timing = Timing(window="22:00-06:00", timezone=BERLIN, jitter_s=600, site="site-1")
    trigger = timing.opening(Random(1))
    first = trigger.get_next_fire_time(None, at("2026-11-20T12:00:00"))
    second = trigger.get_next_fire_time(first, first)
    for opened, day in ((first, "2026-11-20"), (second, "2026-11-21")):
        late = (opened - at(f"{day}T21:00:00")).total_seconds()
        assert timing.own_s() <= late <= timing.own_s() + 60
