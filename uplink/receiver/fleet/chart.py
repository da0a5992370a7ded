"""A day's calls by hour as bars. Pure numbers; the template draws them."""

from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from uplink.receiver.fleet.words import counted, decimal, number

HEIGHT = 100


class Bar(Struct, frozen=True):
    """`height` of HEIGHT. `title` says it in words."""

    height: float
    title: str


class Chart(Struct, frozen=True):
    """`top`: what stands at the top of the scale, `half` in its middle."""

    bars: tuple[Bar, ...]
    top: str
    half: str
    label: str


def chart(calls: Sequence[Decimal]) -> Chart | None:
    """None where there were no calls: an empty chart tells nothing that a sentence does not. Corrections may leave less than
    none in an hour, which has no bar."""
    if not any(calls):
        return None
    top = ceiling(max(calls))
    titles = [f"{hour:02d}:00 to {hour + 1:02d}:00: {_calls(value)}" for hour, value in enumerate(calls)]
    busiest = max(range(len(calls)), key=lambda hour: calls[hour])
    bars = (
        Bar(max(0.0, round(float(HEIGHT * value / top), 2)), title) for value, title in zip(calls, titles, strict=True)
    )
    return Chart(tuple(bars), number(top), number(top // 2), f"Calls by hour. Busiest: {titles[busiest]}")


def _calls(value: Decimal) -> str:
    return counted(int(value), "call") if value == int(value) else f"{decimal(f'{value:f}')} calls"


def ceiling(largest: Decimal) -> int:
    """The round number at the top of a scale that holds `largest`: 1, 2, 4, 5 or 8 times a power of ten, at least 4."""
    power = 1
    while True:
        for step in (1, 2, 4, 5, 8):
            if step * power >= max(largest, Decimal(4)):
                return step * power
        power *= 10
