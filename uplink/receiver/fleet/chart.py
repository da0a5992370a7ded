"""A day's calls by hour as bars. Pure."""

from collections.abc import Sequence
from decimal import Decimal

from markupsafe import Markup
from msgspec import Struct

from uplink.pages.charts import bars, ceiling
from uplink.pages.words import counted, decimal, number


class Chart(Struct, frozen=True):
    """`top`: what stands at the top of the scale, `half` in its middle."""

    svg: Markup
    top: str
    half: str


def chart(calls: Sequence[Decimal]) -> Chart | None:
    """None where there were no calls: an empty chart tells nothing that a sentence does not. Corrections may leave less than
    none in an hour, which has no bar."""
    if not any(calls):
        return None
    top = ceiling(max(calls))
    titles = [f"{hour:02d}:00 to {hour + 1:02d}:00: {_calls(value)}" for hour, value in enumerate(calls)]
    busiest = max(range(len(calls)), key=lambda hour: calls[hour])
    drawn = bars(calls, titles, f"Calls by hour. Busiest: {titles[busiest]}")
    return Chart(drawn, number(top), number(top // 2))


def _calls(value: Decimal) -> str:
    return counted(int(value), "call") if value == int(value) else f"{decimal(f'{value:f}')} calls"
