"""Figures and spans as a person reads them; expected texts are written by hand."""

import pytest

from uplink.pages import words


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [
        (0, "0 s"),
        (-5000, "0 s"),
        (59_999, "59 s"),
        (60_000, "1 min"),
        (61_000, "1 min 1 s"),
        (660_000, "11 min"),
        (3_600_000, "1 h"),
        (11_100_000, "3 h 5 min"),
        (97_200_000, "1 d 3 h"),
        (10**12, "11574 d"),
    ],
)
def test_a_coarse_span_has_one_unit_from_ten_of_it_on(value_ms: int, text: str) -> None:
    assert words.coarse(value_ms) == text


@pytest.mark.parametrize(("text", "shown"), [("1234.50", "1,234.5"), ("100", "100"), ("-0.10", "-0.1"), ("0.0", "0")])
def test_a_quantity_has_grouped_digits_and_no_idle_zeros(text: str, shown: str) -> None:
    assert words.decimal(text) == shown
