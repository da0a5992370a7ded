"""The hours in which a site may send: `22:00-06:00`, in the site's time. Pure.

Laws
- A window is one span from an instant to another, worked out from the day that it opens on: where a clock is put back within
  it, it stays open through the hour that comes twice and closes once; where a time does not exist, it is the one an hour on.
- It closes on the day that it opens on, or on the next one where `closes` is not later. `closes` itself is outside.
"""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

_TIMES = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
DAY = timedelta(days=1)


class Window(Struct, frozen=True):
    opens: time
    closes: time
    zone: ZoneInfo

    def is_open(self, at: datetime) -> bool:
        return any(begin <= at < end for begin, end in self._spans(at))

    def next_opening(self, after: datetime) -> datetime:
        """The first opening later than `after`."""
        return next(begin for begin, _ in self._spans(after) if begin > after)

    def _spans(self, around: datetime) -> Iterator[tuple[datetime, datetime]]:
        """In UTC: those that began yesterday, today, tomorrow and the day after (a date line may lie between)."""
        today = around.astimezone(self.zone).date()
        for days in range(-1, 3):
            day = today + days * DAY
            last = day if self.closes > self.opens else day + DAY
            yield self._instant(day, self.opens, 0), self._instant(last, self.closes, 1)

    def _instant(self, day: date, at: time, fold: int) -> datetime:
        return datetime.combine(day, at, self.zone).replace(fold=fold).astimezone(UTC)


def parse(text: str, timezone: str) -> Window:
    """Raises ValueError, and KeyError where there is no such time zone."""
    found = _TIMES.fullmatch(text)
    if found is None:
        raise ValueError(f"{text} is no window: two times of day, such as 22:00-06:00")
    opens_hour, opens_minute, closes_hour, closes_minute = map(int, found.groups())
    return Window(time(opens_hour, opens_minute), time(closes_hour, closes_minute), ZoneInfo(timezone))
