"""Waiting: never longer than the interval, never shorter than asked, and over a restart."""

import pytest

from uplink import backoff
from uplink.backoff import Backoff

MINUTE_MS = 60_000
DAY_MS = 86_400_000
NOW_MS = 1_795_000_000_000


def test_fast_waits_double_and_are_capped_by_the_interval() -> None:
    longest = [backoff.fast_ms(failures, 15 * MINUTE_MS, 0.999_999) for failures in range(12)]
    assert [round(each / 1000) for each in longest] == [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]


def test_fast_waits_are_spread_over_all_of_it() -> None:
    assert backoff.fast_ms(9, 15 * MINUTE_MS, 0.5) == 450_000
    assert backoff.fast_ms(9, 15 * MINUTE_MS, 0.0) == backoff.SHORTEST_MS


def test_many_failures_do_not_overflow() -> None:
    assert backoff.fast_ms(10**6, 15 * MINUTE_MS, 0.5) == 450_000


def test_slow_waits_are_half_to_one_interval() -> None:
    assert backoff.slow_ms(0, 15 * MINUTE_MS, 0.0) == 450_000
    assert backoff.slow_ms(50, 15 * MINUTE_MS, 0.999_999) == pytest.approx(900_000, abs=2)


def test_what_is_asked_for_is_waited_and_a_little_more() -> None:
    assert backoff.asked_ms(120_000, 0.0) == 120_000
    assert backoff.asked_ms(120_000, 0.5) == 126_000


def test_a_retry_after_of_years_is_a_day() -> None:
    assert backoff.asked_ms(backoff.retry_after_ms("99999999999999", "", NOW_MS) or 0, 0.0) == DAY_MS


@pytest.mark.parametrize(
    ("value", "date", "expected"),
    [
        ("120", "", 120_000),
        ("0", "", 0),
        ("Fri, 20 Nov 2026 10:05:00 GMT", "Fri, 20 Nov 2026 10:00:00 GMT", 5 * MINUTE_MS),
        ("Fri, 20 Nov 2026 09:00:00 GMT", "Fri, 20 Nov 2026 10:00:00 GMT", 0),
        ("soon", "", None),
        ("", "", None),
        ("-5", "", None),
        ("1.5", "", None),
        ("٣", "", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, date: str, expected: int | None) -> None:
    assert backoff.retry_after_ms(value, date, NOW_MS) == expected


def test_c12_a_date_is_measured_by_the_answers_own_clock() -> None:
    site_is_27_h_ahead = 1_795_169_100_000 + 27 * 3_600_000
    asked = backoff.retry_after_ms("Fri, 20 Nov 2026 10:05:00 GMT", "Fri, 20 Nov 2026 10:00:00 GMT", site_is_27_h_ahead)
    assert asked == 5 * MINUTE_MS


def test_a_state_is_the_same_after_a_restart() -> None:
    state = Backoff(failures=3, retry_at_ms=NOW_MS, last=500, problem="dns", detail="x", since_ms=5, renewed_at_ms=7)
    assert backoff.load(backoff.dump(state)) == state


@pytest.mark.parametrize("stored", [b"", b"\x00\xff", b"[]", b'{"failures":"many"}', b'{"failures":'])
def test_an_unreadable_state_is_a_fresh_one(stored: bytes) -> None:
    assert backoff.load(stored) == Backoff()


def test_c12_a_time_from_a_clock_that_was_wrong_does_not_silence_a_site() -> None:
    assert backoff.due_at_ms(Backoff(retry_at_ms=NOW_MS + 400 * DAY_MS), NOW_MS) == NOW_MS
    assert backoff.due_at_ms(Backoff(retry_at_ms=NOW_MS + MINUTE_MS), NOW_MS) == NOW_MS + MINUTE_MS
