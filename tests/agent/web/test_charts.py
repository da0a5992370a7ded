"""The lying bar that stands beside a figure."""

from agent.web.charts import share


def test_a_share_of_nothing_is_empty() -> None:
    assert 'class="bar" width="0"' in share(0, 0)
    assert 'class="bar" width="50.0"' in share(1, 2)


def test_it_carries_no_style_attribute() -> None:
    assert "style" not in share(1, 2)
