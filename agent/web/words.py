"""Figures, spans and instants as a person reads them. Pure; `now_ms` and the zone come in as arguments.

Laws
- A figure carries its unit or stands under a heading that does; digits are grouped by commas from 1,000 on.
- Instants are the site's local time; one of another day shows its day too. 0 means "never".
"""

from datetime import datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

NEVER = "never"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def zone_of(name: str) -> tzinfo:
    """The zone, or UTC where this machine does not know the name (the page must come up all the same)."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


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


def size(value: int) -> str:
    """Bytes in decimal units: `812 B`, `1.2 MB`."""
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


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


def took(value_ms: int) -> str:
    """A short span: `42 ms`, `1.3 s`, then as `span`."""
    if value_ms < 1000:
        return f"{value_ms} ms"
    return f"{value_ms / 1000:.1f} s" if value_ms < 60_000 else span(value_ms)


def talk(value_ms: int) -> str:
    """Talk time as phones show it: `0:42`, `1:02:03`."""
    minutes, seconds = divmod(value_ms // 1000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def from_now(at_ms: int, now_ms: int) -> str:
    """`12 s ago`, `in 3 min`, `now`, `never`."""
    if not at_ms:
        return NEVER
    away = at_ms - now_ms
    if abs(away) < 1000:
        return "now"
    return f"in {_coarse(away)}" if away > 0 else f"{_coarse(-away)} ago"


def _coarse(value_ms: int) -> str:
    """One unit is enough from ten of it on: nobody needs `3 d 4 min ago` or `12 min 7 s ago`."""
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


def day(text: str) -> str:
    """`2026-11-20` -> `Friday, 20 November`; a text that is no date stays as it is."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{at:%A}, {at.day} {at:%B}"


def zone_label(at_ms: int, zone: tzinfo) -> str:
    """`CET, UTC+1`; a zone without letters of its own is told by its distance alone."""
    at = local(at_ms, zone)
    away = _offset(at.utcoffset() or timedelta())
    name = at.tzname() or ""
    return f"{name}, {away}" if name.isalpha() and name != "UTC" else away


def _offset(away: timedelta) -> str:
    minutes = int(away.total_seconds()) // 60
    if not minutes:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '−'}{hours}" + (f":{rest:02d}" if rest else "")


def iso(at_ms: int, zone: tzinfo) -> str:
    """For `<time datetime>`."""
    return local(at_ms, zone).isoformat(timespec="seconds")
