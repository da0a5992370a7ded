"""The times at which uploads start, worked out from a destination's settings. It reads no clock but to shorten a back-off.

Laws
- A fleet is spread by each site's own place within `jitter_s`, which follows from the site's id and never changes, so that the
  platform knows when to expect it; a tenth of it is left to chance, for what two sites have in common.
- A regular time is later than it says by less than `jitter_s`, and never earlier.
"""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger
from msgspec import Struct

from uplink import cron, window
from uplink.cron import Cron
from uplink.window import Window

OWN_SHARE = 0.9
"""Of the jitter: how much is the site's own place. The rest is chance."""


class Timing(Struct, frozen=True, kw_only=True):
    """Every `interval_s`, or by `cron` (five fields, in `timezone`) where it is given; up to `jitter_s` later, by `site`. With
    `stream` also as soon as there is something new. Events are sent within `window` only, where there is one."""

    interval_s: float = 900
    cron: str = ""
    stream: bool = False
    window: str = ""
    jitter_s: float = 60
    timezone: str = "UTC"
    site: str = ""

    def own_s(self) -> float:
        """The site's own place within the jitter."""
        drawn = int.from_bytes(hashlib.sha256(self.site.encode()).digest()[:8])
        return self.jitter_s * OWN_SHARE * drawn / 2**64

    def first_s(self, random: Random) -> float:
        """How long after its start an agent uploads for the first time."""
        return self.own_s() + random.uniform(0, self.jitter_s * (1 - OWN_SHARE))

    def trigger(self, random: Random | None = None) -> Any:
        """Raises ValueError where `cron` is no cron expression, KeyError where there is no such time zone."""
        if self.cron:
            return self._later(_Instants(self._cron().first), random)
        return self._later(IntervalTrigger(seconds=self.interval_s, timezone=UTC), random)

    def opening(self, random: Random) -> Any:
        """The trigger of the window's openings; None without a window."""
        opened = self.hours()
        return self._later(_Instants(opened.next_opening), random) if opened else None

    def _later(self, inner: Any, random: Random | None) -> "Later":
        return Later(inner, self.own_s(), self.jitter_s * (1 - OWN_SHARE), random or Random())

    def hours(self) -> Window | None:
        return window.parse(self.window, self.timezone) if self.window else None

    def _cron(self) -> Cron:
        return cron.parse(self.cron, self.timezone)

    def interval_ms(self) -> int:
        """The upload interval, which caps the back-off: with `cron`, the time between its next two times."""
        return int(1000 * next(self._gaps_s()))

    def longest_ms(self) -> int:
        """Between two regular times at most: with `cron` there may be nights and weekends without any."""
        return int(1000 * max(self._gaps_s()))

    def _gaps_s(self) -> Iterator[float]:
        return self._cron().gaps_s(datetime.now(UTC)) if self.cron else iter([self.interval_s])


class _Instants(BaseTrigger):  # type: ignore[misc]  # APScheduler 3 has no types
    def __init__(self, first_after: Callable[[datetime], datetime | None]) -> None:
        self._first_after = first_after

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime | None:
        return self._first_after(now)


class Later(BaseTrigger):  # type: ignore[misc]
    """The times of another trigger, each later by `own_s` and by chance up to `chance_s`."""

    def __init__(self, inner: Any, own_s: float, chance_s: float, random: Random) -> None:
        self._inner = inner
        self._own = timedelta(seconds=own_s)
        self._chance_s = chance_s
        self._random = random

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime | None:
        """The inner time before `now` may still lie ahead of us, later as we are; a time that was given is not given again."""
        at = now - self._own
        if previous is not None:
            at = max(at, previous - self._own + timedelta(microseconds=1))
        found: datetime | None = self._inner.get_next_fire_time(None, at)
        if found is None:
            return None
        return found + self._own + timedelta(seconds=self._random.uniform(0, self._chance_s))
