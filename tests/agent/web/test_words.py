"""Figures, spans and instants as a person reads them; expected texts are written by hand."""

from zoneinfo import ZoneInfo

import pytest
from msgspec import structs

from agent.ledger.snapshot import UnpricedView
from agent.web import words
from tests.agent.web.snapshots import ESTIMATE

BERLIN = ZoneInfo("Europe/Berlin")
NOON_MS = 1_795_172_400_000
"""2026-11-20T11:00:00Z: noon in Berlin."""


def test_digits_are_grouped() -> None:
    assert [words.number(n) for n in (0, 999, 1000, 1234567)] == ["0", "999", "1,000", "1,234,567"]


def test_decimals_stay_exact_and_lose_idle_zeros() -> None:
    assert [words.decimal(t) for t in ("0", "412.50", "1234567.0", "0.1", "90071992547409931.7")] == [
        "0",
        "412.5",
        "1,234,567",
        "0.1",
        "90,071,992,547,409,931.7",
    ]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (6212, "6.2 kB"),
        (123_456, "123 kB"),
        (999_600, "1.0 MB"),
        (2_000_000_000, "2.0 GB"),
        (1_234_567_890_123, "1.2 TB"),
    ],
)
def test_sizes_have_a_unit(size: int, text: str) -> None:
    assert words.size(size) == text


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (0, "0 s"),
        (999, "0 s"),
        (42_000, "42 s"),
        (60_000, "1 min"),
        (192_000, "3 min 12 s"),
        (3_600_000, "1 h"),
        (3_605_000, "1 h"),
        (11_100_000, "3 h 5 min"),
        (93_000_000, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_spans_show_their_two_largest_units(span_ms: int, text: str) -> None:
    assert words.span(span_ms) == text


def test_talk_time_is_as_on_a_phone() -> None:
    assert [words.talk(ms) for ms in (0, 42_999, 92_400, 3_905_000)] == ["0:00", "0:42", "1:32", "1:05:05"]


@pytest.mark.parametrize(
    ("away_ms", "text"),
    [
        (-33_000, "33 s ago"),
        (-500, "now"),
        (108_000, "in 1 min 48 s"),
        (-727_000, "12 min ago"),
        (-5_340_000, "1 h 29 min ago"),
    ],
)
def test_instants_are_told_from_now(away_ms: int, text: str) -> None:
    assert words.from_now(NOON_MS + away_ms, NOON_MS) == text


def test_zero_is_never() -> None:
    assert words.from_now(0, NOON_MS) == "never"
    assert words.clock(0, NOON_MS, BERLIN) == "never"


def test_the_clock_is_the_sites_and_shows_another_day() -> None:
    assert words.clock(NOON_MS, NOON_MS, BERLIN) == "12:00:00"
    assert words.clock(NOON_MS - 86_400_000, NOON_MS, BERLIN) == "19 Nov 12:00"
    assert words.clock(NOON_MS - 365 * 86_400_000, NOON_MS, BERLIN) == "20 Nov 2025 12:00"


def test_the_day_has_a_name() -> None:
    assert words.day("2026-11-20") == "Friday, 20 November"


@pytest.mark.parametrize(
    ("zone", "label"),
    [
        ("Europe/Berlin", "CET, UTC+1"),
        ("UTC", "UTC"),
        ("Asia/Kolkata", "IST, UTC+5:30"),
        ("America/Sao_Paulo", "UTC−3"),
    ],
)
def test_a_zone_tells_its_distance(zone: str, label: str) -> None:
    assert words.zone_label(NOON_MS, ZoneInfo(zone)) == label


def test_an_unknown_zone_is_shown_as_utc() -> None:
    assert words.zone_label(NOON_MS, words.zone_of("Not/There")) == "UTC"


def test_of_much_without_a_price_the_rest_is_counted() -> None:
    many = tuple(UnpricedView(meter="call", unit="call", only=(f"c{n}",), quantity="1") for n in range(14))
    told = words.estimate_notes(structs.replace(ESTIMATE, unpriced=many, from_ms=0, waiting=0), BERLIN)
    assert told.startswith("Without a price: call (c0) 1, call (c1) 1, ")
    assert told.endswith(", call (c11) 1, 2 more.")
