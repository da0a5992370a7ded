"""Times as cron tells them: what crontab(5) says, on days with 23, 24 and 25 hours."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uplink.cron import parse
from uplink.timing import Timing

FRIDAY = datetime(2026, 11, 20, 12, tzinfo=UTC)


def told(text: str, after: datetime, count: int, timezone: str = "UTC") -> list[str]:
    """The next times, as a clock at the site shows them, with its distance from UTC."""
    times = islice(parse(text, timezone).times(after), count)
    return [f"{at.astimezone(ZoneInfo(timezone)):%a %d %H:%M %z}" for at in times]


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0 3 * * 0", "Sun 22, Sun 29"),
        ("0 3 * * 7", "Sun 22, Sun 29"),
        ("0 3 * * sun", "Sun 22, Sun 29"),
        ("0 3 * * 1", "Mon 23, Mon 30"),
        ("0 3 * * 1-5", "Mon 23, Tue 24, Wed 25, Thu 26, Fri 27, Mon 30"),
        ("0 3 * * mon-fri", "Mon 23, Tue 24, Wed 25, Thu 26, Fri 27, Mon 30"),
        ("0 3 * * 5-7", "Sat 21, Sun 22, Fri 27"),
        ("0 3 25 * 1", "Mon 23, Wed 25, Mon 30"),  # crontab(5): either of the two days will do
    ],
)
def test_days_of_the_week_are_those_of_crontab(text: str, days: str) -> None:
    expected = [f"{day} 03:00 +0000" for day in days.split(", ")]
    assert told(text, FRIDAY, len(expected)) == expected


def test_on_the_day_with_25_hours_a_time_of_day_comes_once_and_quarters_of_an_hour_come_in_both() -> None:
    midnight = datetime(2026, 10, 25, 0, tzinfo=ZoneInfo("Europe/Berlin"))
    assert told("30 2 * * *", midnight, 2, "Europe/Berlin") == ["Sun 25 02:30 +0200", "Mon 26 02:30 +0100"]
    assert told("*/30 * * * *", midnight + timedelta(hours=2), 5, "Europe/Berlin") == [
        "Sun 25 02:30 +0200",
        "Sun 25 02:00 +0100",
        "Sun 25 02:30 +0100",
        "Sun 25 03:00 +0100",
        "Sun 25 03:30 +0100",
    ]


def test_in_the_second_of_two_equal_hours_a_time_of_the_first_is_past() -> None:
    again = datetime(2026, 10, 25, 1, 15, tzinfo=UTC)  # 02:15, for the second time
    assert told("30 2 * * *", again, 1, "Europe/Berlin") == ["Mon 26 02:30 +0100"]


def test_a_time_of_day_that_does_not_exist_comes_at_the_end_of_the_missing_hour() -> None:
    evening = datetime(2027, 3, 27, 12, tzinfo=UTC)
    assert told("30 2 * * *", evening, 2, "Europe/Berlin") == ["Sun 28 03:00 +0200", "Mon 29 02:30 +0200"]
    assert told("0 * * * *", datetime(2027, 3, 28, 0, tzinfo=UTC), 2, "Europe/Berlin") == [
        "Sun 28 03:00 +0200",
        "Sun 28 04:00 +0200",
    ]


@given(
    st.sampled_from(["*/7 * * * *", "0 * * * *", "30 2 * * *", "15 1,2,3 * * *", "0 0 * * 0", "*/20 2 * * *"]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "UTC"]),
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC)),
)
def test_the_next_time_is_always_later_than_now(text: str, timezone: str, now: datetime) -> None:
    """A schedule whose next time were past would upload without end."""
    trigger = Timing(cron=text, timezone=timezone, jitter_s=0).trigger()
    previous = None
    for _ in range(4):
        found = trigger.get_next_fire_time(previous, now)
        assert found > now
        previous, now = found, found + timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "text", ["", "now", "* * * *", "* * * * * *", "@daily", "61 * * * *", "0 0 * * 8", "0 0 * * fri-mon"]
)
def test_what_is_no_expression_of_five_fields_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse(text, "UTC")


def test_a_time_that_never_comes_is_told_from_one_that_comes_seldom() -> None:
    with pytest.raises(ValueError, match="day-of-month"):
        parse("0 0 30 2 *", "UTC")
    with pytest.raises(ValueError, match="never comes"):
        parse("0 0 */31 * 1#5", "UTC")  # a first of a month that is its fifth Monday
    assert told("0 0 29 2 *", FRIDAY, 1) == ["Tue 29 00:00 +0000"]


def test_the_longest_silence_is_the_night_or_the_weekend_between_two_times() -> None:
    """The platform finds a site silent by it, the back-off is capped by the next two times."""
    office = Timing(cron="*/15 8-17 * * 1-5", timezone="Europe/Berlin")
    assert office.longest_ms() == (6 + 2 * 24 + 8.25) * 3_600_000  # from Friday 17:45 to Monday 8:00
    assert Timing(cron="0 3 * * *").longest_ms() == 86_400_000
    assert Timing(interval_s=300).longest_ms() == Timing(interval_s=300).interval_ms() == 300_000
