"""Times of day and week as cron tells them: `15 2 * * *`, five fields, in the site's time. Pure.

Laws
- An expression means what it means to Debian's cron: 0 and 7 are Sunday; where both days are restricted, either will do.
- A time of day comes once a day, also on the day on which an hour comes twice or not at all (then at its end); what comes
  every few minutes or every hour goes on through both hours.
- Times only go on: whatever the clocks of the zone do, each is later than the one before.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from msgspec import Struct

FIELDS = 5
"""CronSim knows a sixth in front, of seconds."""
ANY_DAY = datetime(2026, 1, 1, tzinfo=UTC)
"""CronSim looks fifty years ahead: from wherever one begins, a 29th of February is among them."""
LOOKED_AT = timedelta(days=8)
"""How long times are looked at for the longest gap: nights and weekends are in it. One a minute takes a tenth of a second."""


class Cron(Struct, frozen=True):
    text: str
    zone: ZoneInfo

    def first(self, after: datetime) -> datetime | None:
        """The first time later than `after`, in UTC; None where none comes."""
        return next(self.times(after), None)

    def times(self, after: datetime) -> Iterator[datetime]:
        """All of them. In the second of two equal hours CronSim says a time of the first again."""
        last = after.astimezone(UTC)
        for local in CronSim(self.text, after.astimezone(self.zone)):
            at = local.astimezone(UTC)
            if at > last:
                yield at
                last = at

    def gaps_s(self, after: datetime) -> Iterator[float]:
        """From each time later than `after` to the next, for LOOKED_AT or at least one."""
        for begin, end in pairwise(self.times(after)):
            yield (end - begin).total_seconds()
            if begin - after > LOOKED_AT:
                return


def parse(text: str, timezone: str) -> Cron:
    """Raises ValueError, also where its time never comes, and KeyError where there is no such time zone."""
    cron = Cron(text, ZoneInfo(timezone))
    if len(text.split()) != FIELDS:
        raise ValueError(f"{len(text.split())} fields")
    try:
        never = cron.first(ANY_DAY) is None
    except CronSimError as error:
        raise ValueError(str(error)) from None
    if never:
        raise ValueError("that never comes")
    return cron
