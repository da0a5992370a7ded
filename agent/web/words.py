"""Figures, spans and instants as a person reads them. Pure; `now_ms` and the zone come in as arguments.

Laws
- A figure carries its unit or stands under a heading that does; digits are grouped by commas from 1,000 on.
- Instants are the site's local time; one of another day shows its day too. 0 means "never".
"""

from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.ledger.snapshot import EstimateView, PriceView, UnpricedView
from uplink.pages.words import NEVER, clock, coarse, counted, decimal, iso, local, number, span

UNPRICED_SHOWN = 12
"""In words; `/api/status` has all of them."""

__all__ = [
    "card",
    "clock",
    "counted",
    "day",
    "decimal",
    "estimate_notes",
    "from_now",
    "grouped",
    "iso",
    "local",
    "month",
    "number",
    "priced",
    "size",
    "span",
    "talk",
    "took",
    "zone_label",
    "zone_of",
]


def zone_of(name: str) -> tzinfo:
    """The zone, or UTC where this machine does not know the name (the page must come up all the same)."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def size(value: int) -> str:
    """Bytes in decimal units: `812 B`, `1.2 MB`."""
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


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
    return f"in {coarse(away)}" if away > 0 else f"{coarse(-away)} ago"


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


def month(text: str) -> str:
    """`2026-11` -> `November 2026`."""
    return f"{datetime.fromisoformat(text + '-01'):%B %Y}"


def grouped(text: str) -> str:
    """A sum of money, with all the digits that it has: `1234.50` -> `1,234.50`."""
    return f"{Decimal(text):,f}"


def card(estimate: EstimateView) -> str:
    """`rate card 2026-11 (a1b2...)`."""
    return f"rate card {estimate.version} ({estimate.digest})" if estimate.version else f"rate card {estimate.digest}"


def priced(price: PriceView | UnpricedView) -> str:
    """`voice.minutes (mobile, national)`."""
    return f"{price.meter} ({', '.join(price.only)})" if price.only else price.meter


def estimate_notes(estimate: EstimateView, zone: tzinfo) -> str:
    """What is not in it."""
    notes = []
    if estimate.from_ms:
        at = local(estimate.from_ms, zone)
        notes.append(f"Begins on {at.day} {at:%B}, for older events are not kept.")
    if estimate.unpriced:
        listed = [f"{priced(each)} {decimal(each.quantity)}" for each in estimate.unpriced]
        more = [f"{len(listed) - UNPRICED_SHOWN} more"] if len(listed) > UNPRICED_SHOWN else []
        notes.append(f"Without a price: {', '.join([*listed[:UNPRICED_SHOWN], *more])}.")
    if estimate.waiting:
        notes.append(f"{counted(estimate.waiting, 'event')} not counted yet.")
    return " ".join(notes)
