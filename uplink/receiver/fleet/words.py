"""Figures, spans and instants as operators read them. Pure; instants are UTC, as the platform's days are; 0 means `never`."""

from datetime import UTC, datetime
from decimal import Decimal

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(value: int) -> str:
    """12345 -> `12,345`."""
    return f"{value:,}"


def counted(value: int, one: str) -> str:
    """`1 call`, `12,345 calls`."""
    return f"{value:,} {one if value == 1 else one + 's'}"


def decimal(text: str) -> str:
    """An exact decimal with grouped digits and no idle zeros: `1234.50` -> `1,234.5`."""
    shown = f"{Decimal(text):,f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def span(value_ms: int) -> str:
    """A span in its two largest units, in one from ten of it on: `3 h 5 min`, `42 s`, `27 h` is `1 d 3 h`."""
    rest = max(0, value_ms) // 1000
    for place, (seconds, unit) in enumerate(_UNITS):
        count, rest = divmod(rest, seconds)
        if count >= 10 or (count and unit == "s"):
            return f"{count} {unit}"
        if count:
            below, below_unit = _UNITS[place + 1]
            return f"{count} {unit}" + (f" {rest // below} {below_unit}" if rest // below else "")
    return "0 s"


def ago(at_ms: int, now_ms: int) -> str:
    """`12 s ago`, `now`, `never`."""
    if not at_ms:
        return "never"
    return f"{span(now_ms - at_ms)} ago" if now_ms - at_ms >= 1000 else "now"


def clock(at_ms: int, now_ms: int) -> str:
    """`10:31:02`, or `19 Nov 10:31` on another day, or `19 Nov 2025 10:31` in another year."""
    if not at_ms:
        return "never"
    at, now = _utc(at_ms), _utc(now_ms)
    if at.date() == now.date():
        return f"{at:%H:%M:%S}"
    return f"{at.day} {at:%b %H:%M}" if at.year == now.year else f"{at.day} {at:%b %Y %H:%M}"


def iso(at_ms: int) -> str:
    """For `<time datetime>`."""
    return _utc(at_ms).isoformat(timespec="seconds")


def day_of(at_ms: int) -> str:
    return f"{_utc(at_ms):%Y-%m-%d}"


def is_day(text: str) -> bool:
    """Of a century in which this can have happened: there is a day before it, and one after."""
    try:
        return datetime.fromisoformat(text).date().isoformat() == text and "1970" < text < "2970"
    except ValueError:
        return False


def day(text: str) -> str:
    """`2026-11-20` -> `Friday, 20 November 2026`."""
    at = datetime.fromisoformat(text)
    return f"{at:%A}, {at.day} {at:%B %Y}"


def skew(value_ms: int) -> str:
    """A clock beside the platform's: `right` within two seconds (a head tells whole ones), `+5 min`, `−27 h`."""
    if abs(value_ms) <= 2000:
        return "right"
    return f"{'+' if value_ms > 0 else '−'}{span(abs(value_ms))}"


def _utc(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
