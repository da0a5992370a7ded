"""The site's days: which local day an instant falls in, with the two days a year of 23 and 25 hours right.

All zone offsets, and the instants at which they change, are whole quarters of an hour since 1972, so one lookup serves a
quarter of an hour of instants.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

QUARTER_MS = 900_000


@lru_cache(maxsize=8192)
def _day(quarter: int, timezone: str) -> str:
    return datetime.fromtimestamp(quarter * 900, ZoneInfo(timezone)).date().isoformat()


def local_day(at_ms: int, timezone: str) -> str:
    """The local day of an instant, `2026-11-20`."""
    return _day(at_ms // QUARTER_MS, timezone)


def local_hour(at_ms: int, timezone: str) -> int:
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(timezone)).hour


@lru_cache(maxsize=64)
def day_bounds(day: str, timezone: str) -> tuple[int, int]:
    """The first millisecond of a local day and the first of the next."""
    start = date.fromisoformat(day)
    zone = ZoneInfo(timezone)
    return _midnight(start, zone), _midnight(start + timedelta(days=1), zone)


def _midnight(day: date, zone: ZoneInfo) -> int:
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(local.astimezone(UTC).timestamp() * 1000)
