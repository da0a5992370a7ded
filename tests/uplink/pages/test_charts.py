"""Charts: read back as XML, with heights worked out by hand."""

import xml.etree.ElementTree as ElementTree
from decimal import Decimal

import pytest

from uplink.pages.charts import bars, ceiling


def heights(svg: str) -> list[float]:
    return [
        float(one.get("height", "")) for one in ElementTree.fromstring(svg).iter("rect") if one.get("class") == "bar"
    ]


def test_bars_are_as_high_as_their_share_of_the_scale() -> None:
    svg = bars([0, 25, 50, 10], ["a", "b", "c", "d"], "Calls")
    assert heights(svg) == [0, 50, 100, 20]


@pytest.mark.parametrize(
    ("largest", "top"), [(0, 4), (1, 4), (4, 4), (5, 5), (6, 8), (9, 10), (44, 50), (51, 80), (2300, 4000)]
)
def test_the_scale_ends_at_a_round_number(largest: int, top: int) -> None:
    assert ceiling(largest) == top


def test_what_corrections_leave_below_nothing_has_no_bar() -> None:
    assert heights(bars([Decimal("1.5"), Decimal(-2), Decimal(44)], ["a", "b", "c"], "Calls")) == [3, 0, 88]


def test_titles_are_text_whatever_they_hold() -> None:
    svg = ElementTree.fromstring(bars([1], ["<script> & co"], 'say "hi"'))
    assert svg.get("aria-label") == 'say "hi"'
    assert [one.text for one in svg.iter("title")] == ["<script> & co"]


def test_no_chart_carries_a_style_attribute() -> None:
    assert "style" not in bars([1, 2], ["a", "b"], "x")
