"""When uploads start: at the times of `timing`, soon after something new, when a back-off ends that outlives the process.

Laws
- At most one upload runs, none is missed for being late, and several that are due together are one.
- While a back-off stands, all other times pass by and the attempt is made when it ends. `upload_now` does not ask.
- With a window, events leave within it only (and when a person asks); the regular times outside it bring the platform a
  heartbeat, for silence is not the same as no use.
- The regular times follow the wall clock; when that is set anew, they are worked out again. A clock that jumps back by a
  day must not silence a site for a day.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from uplink.timing import Timing
from uplink.uploader import Uploader, UploadReport

CLOCK_CHECK_S = 30.0
CLOCK_JUMP_S = 20.0
"""NTP slews what is below a second; more than this is a clock that was set."""
LINGER_S = 0.25
"""With `stream`: how long what is new waits for more, such as the other events of the same commit's calls. An office then makes
four requests a second at the most."""
_FRESH_MAX = 3
"""One upload that tells its report, one that waits for it, one more."""
_REGULAR, _RETRY, _OPENING, _FRESH = "regular", "retry", "opening", "fresh"


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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._hours = timing.hours()
        uploader.may_send = self._within_hours

    async def start(self) -> None:
        """The first upload comes within the jitter, or when a stored back-off ends."""
        self._loop = asyncio.get_running_loop()
        first_ms = self.uploader.clock_ms() + int(1000 * self.timing.first_s(self.random))
        self._scheduler.start()
        self._scheduler.add_job(self._regular, self.timing.trigger(self.random), id=_REGULAR)
        if opening := self.timing.opening(self.random):
            self._scheduler.add_job(self._regular, opening, id=_OPENING)
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

    def notice(self) -> None:
        """There is something new; may be called from any thread. Does nothing unless started, and with `stream`."""
        if self.timing.stream and self._loop is not None:
            self._loop.call_soon_threadsafe(self._soon)

    async def upload_now(self) -> UploadReport:
        """At once, whatever the schedule, the window and the back-off say."""
        return await self._upload(asked=True)

    async def _upload(self, *, asked: bool = False) -> UploadReport:
        report = await self.uploader.upload(asked=asked)
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
        """A job of the scheduler's, which takes a cancellation for an error to be logged; a stop may cut it short."""
        with suppress(asyncio.CancelledError):
            due_ms = await self.uploader.due_at_ms()
            if due_ms <= self.uploader.clock_ms():
                await self._upload()
            else:
                self._retry_at(due_ms)

    def _soon(self) -> None:
        """An upload after LINGER_S, unless one runs that takes it along, or one is near, or events may not be sent."""
        if not self._scheduler.running or not self._within_hours() or self.uploader.look_again():
            return
        if self._scheduler.get_job(_FRESH) is None:
            at = datetime.now(UTC) + timedelta(seconds=LINGER_S)
            self._scheduler.add_job(self._regular, "date", run_date=at, id=_FRESH, max_instances=_FRESH_MAX)

    def _within_hours(self) -> bool:
        now = datetime.fromtimestamp(self.uploader.clock_ms() / 1000, UTC)
        return self._hours is None or self._hours.is_open(now)

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
                self._scheduler.reschedule_job(_REGULAR, trigger=self.timing.trigger(self.random))
                if opening := self.timing.opening(self.random):
                    self._scheduler.reschedule_job(_OPENING, trigger=opening)
                if self._scheduler.get_job(_FRESH):  # the attempt below takes its place
                    self._scheduler.remove_job(_FRESH)
                self._retry_at(max(await self.uploader.due_at_ms(), self.uploader.clock_ms()))
