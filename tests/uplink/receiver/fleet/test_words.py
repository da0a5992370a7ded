"""Figures and instants as operators read them."""

import pytest

from tests.uplink.receiver.fleet.fleets import NOW_MS
from uplink.receiver.fleet import words


@pytest.mark.parametrize(
    ("value_ms", "text"), [(2000, "right"), (-2000, "right"), (2001, "+2 s"), (-300_000, "−5 min")]
)
def test_a_clock_is_told_beside_the_platforms(value_ms: int, text: str) -> None:
    assert words.skew(value_ms) == text


def test_an_instant_tells_its_day_where_that_is_another_one() -> None:
    assert words.clock(NOW_MS, NOW_MS) == "11:06:40"
    assert words.clock(NOW_MS - 86_400_000, NOW_MS) == "17 Nov 11:06"
    assert words.clock(NOW_MS - 366 * 86_400_000, NOW_MS) == "17 Nov 2025 11:06"
    assert words.clock(0, NOW_MS) == words.ago(0, NOW_MS) == "never"
    assert (words.ago(NOW_MS - 999, NOW_MS), words.ago(NOW_MS - 5000, NOW_MS)) == ("now", "5 s ago")
    assert words.day("2026-11-18") == "Wednesday, 18 November 2026"
    assert (words.day_of(NOW_MS), words.iso(NOW_MS)) == ("2026-11-18", "2026-11-18T11:06:40+00:00")
