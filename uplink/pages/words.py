"""Figures, spans and instants as a person reads them. Pure: `now_ms` and the zone come in as arguments.

Laws
- A figure carries its unit or stands under a heading that does; digits are grouped by commas from 1,000 on.
- An instant of another day shows its day too. 0 means `never`.
"""

from datetime import datetime, tzinfo
from decimal import Decimal, InvalidOperation

NEVER = "never"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(value: int) -> str:
    """12345 -> `12,345`."""
    return f"{value:,}"


def counted(value: int, one: str, many: str = "") -> str:
    """`1 call`, `12,345 calls`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def decimal(text: str) -> str:
    """An exact decimal with grouped digits and no idle zeros: `1234.50` -> `1,234.5`."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return text
    shown = f"{value:,f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def span(value_ms: int) -> str:
    """A span in its two largest units: `3 h 5 min`, `42 s`, `0 s`."""
    rest = max(0, value_ms) // 1000
    parts: list[str] = []
    for seconds, unit in _UNITS:
        count, rest = divmod(rest, seconds)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def coarse(value_ms: int) -> str:
    """A span in one unit from ten of it on: nobody needs `12 d 4 h ago` or `12 min 7 s ago`."""
    first, _, rest = span(value_ms).partition(" ")
    unit, _, more = rest.partition(" ")
    return f"{first} {unit} {more}".strip() if int(first) < 10 else f"{first} {unit}"


def local(at_ms: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, zone)


def clock(at_ms: int, now_ms: int, zone: tzinfo) -> str:
    """`10:31:02`, or `19 Nov 10:31` on another day, or `19 Nov 2025 10:31` in another year."""
    if not at_ms:
        return NEVER
    at, now = local(at_ms, zone), local(now_ms, zone)
    if at.date() == now.date():
        return f"{at:%H:%M:%S}"
    return f"{at.day} {at:%b %H:%M}" if at.year == now.year else f"{at.day} {at:%b %Y %H:%M}"


def iso(at_ms: int, zone: tzinfo) -> str:
    """For `<time datetime>`."""
    return local(at_ms, zone).isoformat(timespec="seconds")
