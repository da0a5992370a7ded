"""Charts as SVG text, from numbers alone. Pure; no style attribute, so that a page's policy needs no exception.

The bars stretch with the page (`preserveAspectRatio="none"`); every word stands in the HTML around them, where it keeps
its size on a phone.
"""

from collections.abc import Sequence
from decimal import Decimal

from markupsafe import Markup, escape

HEIGHT = 100
GAP = 0.18
"""Space between two bars, as a share of a bar's place."""


def ceiling(largest: int | Decimal) -> int:
    """The round number at the top of a scale that holds `largest`: 1, 2, 4, 5 or 8 times a power of ten, at least 4."""
    power = 1
    while True:
        for step in (1, 2, 4, 5, 8):
            if step * power >= max(largest, 4):
                return step * power
        power *= 10


def bars(values: Sequence[int | Decimal], titles: Sequence[str], label: str) -> Markup:
    """One upright bar a value, each with its title, over a scale from 0 to `ceiling(max)`; none for less than 0."""
    top = ceiling(max(values, default=0))
    parts = [_bar(place, value, top, title) for place, (value, title) in enumerate(zip(values, titles, strict=True))]
    lines = [f'<line x1="0" x2="{len(values)}" y1="{y}" y2="{y}" class="grid"/>' for y in (0, HEIGHT // 2)]
    return Markup(
        f'<svg class="bars" role="img" aria-label="{escape(label)}" viewBox="0 0 {len(values)} {HEIGHT}"'
        f' preserveAspectRatio="none">{"".join(lines + parts)}</svg>'
    )


def _bar(place: int, value: int | Decimal, top: int, title: str) -> str:
    """The bar, and an unseen one of full height that carries the title, so that small bars can be pointed at too."""
    height = max(0.0, round(float(HEIGHT * value / top), 2))
    x, width = round(place + GAP / 2, 2), round(1 - GAP, 2)
    return (
        f'<g><title>{escape(title)}</title><rect class="hit" x="{place}" y="0" width="1" height="{HEIGHT}"/>'
        f'<rect class="bar" x="{x}" y="{round(HEIGHT - height, 2)}" width="{width}" height="{height}"/></g>'
    )
