"""When uploads start: an interval or a cron expression, a jitter, and a back-off that outlives the process.

Laws
- At most one upload runs, none is missed for being late, and several that are due together are one.
- While a back-off stands, the regular times pass by and the attempt is made when it ends. `upload_now` does not ask.
- The regular times follow the wall clock; when that is set anew, they are worked out again. A clock that jumps back by a
  day must not silence a site for a day.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from msgspec import Struct

from uplink.uploader import Uploader, UploadReport

CLOCK_CHECK_S = 30.0
CLOCK_JUMP_S = 20.0
"""NTP slews what is below a second; more than this is a clock that was set."""
_REGULAR, _RETRY = "regular", "retry"


class Timing(Struct, frozen=True, kw_only=True):
    """Every `interval_s`, or by `cron` (five fields, in `timezone`) where it is given; up to `jitter_s` later each time."""

    interval_s: float = 900
    cron: str = ""
    jitter_s: float = 60
    timezone: str = "UTC"

    def trigger(self) -> Any:
        """Raises ValueError where `cron` is no cron expression, KeyError where there is no such time zone."""
        if not self.cron:
            return IntervalTrigger(seconds=self.interval_s, jitter=self.jitter_s or None, timezone=UTC)
        trigger = CronTrigger.from_crontab(self.cron, ZoneInfo(self.timezone))
        trigger.jitter = self.jitter_s or None
        return trigger

    def interval_ms(self) -> int:
        """The upload interval, which caps the back-off: with `cron`, the time between its next two times."""
        if not self.cron:
            return int(self.interval_s * 1000)
        trigger = CronTrigger.from_crontab(self.cron, ZoneInfo(self.timezone))
        first = trigger.get_next_fire_time(None, datetime.now(UTC))
        second = trigger.get_next_fire_time(first, first) if first else None
        return int((second - first).total_seconds() * 1000) if first and second else 86_400_000


class Schedule:
    """Starts `uploader`'s uploads. `told` is called with the report of each."""

    def __init__(
        self,
        uploader: Uploader,
        timing: Timing,
        told: Callable[[UploadReport], Coroutine[Any, Any, None]] | None = None,
        random: Random | None = None,
    ) -> None:
        self.uploader = uploader
        self.timing = timing
        self.told = told
        self.random = random or Random()
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """The first upload comes within the jitter, or when a stored back-off ends."""
        first_ms = self.uploader.clock_ms() + int(1000 * self.random.uniform(0, self.timing.jitter_s))
        self._scheduler.start()
        self._scheduler.add_job(self._regular, self.timing.trigger(), id=_REGULAR)
        self._retry_at(max(first_ms, await self.uploader.due_at_ms()))
        self._watch = asyncio.create_task(self._watch_clock(), name="clock watch")

    async def stop(self) -> None:
        """No further upload starts; the running one ends as `Uploader.stop` says."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        if self._scheduler.running:
            self._scheduler.pause()
        await self.uploader.stop()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
            # APScheduler does it in the next turn of the loop.
            await asyncio.sleep(0)

    async def upload_now(self) -> UploadReport:
        """At once, whatever the schedule and the back-off say."""
        report = await self.uploader.upload()
        self._after(report)
        if self.told is not None:
            await self.told(report)
        return report

    def next_at_ms(self) -> int | None:
        """When the next attempt will be made; None while stopped."""
        if not self._scheduler.running:
            return None
        times = [int(job.next_run_time.timestamp() * 1000) for job in self._scheduler.get_jobs() if job.next_run_time]
        due_ms = self.uploader.backoff.retry_at_ms if self.uploader.backoff.problem else 0
        return min((at for at in times if at >= due_ms), default=due_ms or None)

    async def _regular(self) -> None:
        due_ms = await self.uploader.due_at_ms()
        if due_ms <= self.uploader.clock_ms():
            await self.upload_now()
        else:
            self._retry_at(due_ms)

    def _after(self, report: UploadReport) -> None:
        if report.problem:
            self._retry_at(self.uploader.backoff.retry_at_ms)
        elif self._scheduler.get_job(_RETRY):
            self._scheduler.remove_job(_RETRY)

    def _retry_at(self, at_ms: int) -> None:
        if self._scheduler.running:
            at = datetime.fromtimestamp((at_ms + 1) / 1000, UTC)
            self._scheduler.add_job(self._regular, "date", run_date=at, id=_RETRY, replace_existing=True)

    async def _watch_clock(self) -> None:
        """Work the times out again when the wall clock has moved against the monotonic one."""
        offset_s = time.time() - time.monotonic()
        while True:
            await asyncio.sleep(CLOCK_CHECK_S)
            moved_s = time.time() - time.monotonic() - offset_s
            if abs(moved_s) > CLOCK_JUMP_S:
                offset_s += moved_s
                self._scheduler.reschedule_job(_REGULAR, trigger=self.timing.trigger())
                self._retry_at(max(await self.uploader.due_at_ms(), self.uploader.clock_ms()))
