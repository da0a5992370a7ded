"""Charts: read back as XML, with heights worked out by hand."""

import xml.etree.ElementTree as ElementTree

import pytest

from agent.web import charts


def heights(svg: str) -> list[float]:
    return [
        float(one.get("height", "")) for one in ElementTree.fromstring(svg).iter("rect") if one.get("class") == "bar"
    ]


def test_bars_are_as_high_as_their_share_of_the_scale() -> None:
    svg = charts.bars([0, 25, 50, 10], ["a", "b", "c", "d"], "Calls")
    assert heights(svg) == [0, 50, 100, 20]


@pytest.mark.parametrize(
    ("largest", "top"), [(0, 4), (1, 4), (4, 4), (5, 5), (6, 8), (9, 10), (44, 50), (51, 80), (2300, 4000)]
)
def test_the_scale_ends_at_a_round_number(largest: int, top: int) -> None:
    assert charts.ceiling(largest) == top


def test_titles_are_text_whatever_they_hold() -> None:
    svg = ElementTree.fromstring(charts.bars([1], ["<script> & co"], 'say "hi"'))
    assert svg.get("aria-label") == 'say "hi"'
    assert [one.text for one in svg.iter("title")] == ["<script> & co"]


def test_a_share_of_nothing_is_empty() -> None:
    assert 'class="bar" width="0"' in charts.share(0, 0)
    assert 'class="bar" width="50.0"' in charts.share(1, 2)


def test_no_chart_carries_a_style_attribute() -> None:
    assert "style" not in charts.bars([1, 2], ["a", "b"], "x") + charts.share(1, 2)
