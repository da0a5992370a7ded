"""What every destination's loop has in common: one upload at a time, a back-off that is remembered, problems to show.

Laws
- One upload at a time. A trigger that comes meanwhile is merged: the running upload looks once more before it ends.
- `stop` may come in any phase. What was sent and not yet acknowledged is sent again later, and is recognised.
- Outside the hours in which a site may send, no event leaves, and a long upload ends with the batch in flight; but what a
  person asked for is sent.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from random import Random

from msgspec import Struct

from uplink import backoff, clocks
from uplink.backoff import Backoff
from uplink.problems import CATALOGUE, Problem

STOP_GRACE_S = 5.0
"""How long `stop` lets a request in flight come to its answer; systemd kills after 90 s."""
CONFLICT_SHOWN_MS = 24 * 3_600_000
"""How long the status page shows that a new epoch had to be begun."""


class UploadReport(Struct, kw_only=True):
    """What one upload did. `acked` counts events newly acknowledged (refused ones among them); `known` those that the
    platform had counted under an earlier epoch; `bytes` is encoded. `problem` is the code on which it ended, or empty."""

    began_ms: int
    sent: int = 0
    acked: int = 0
    refused: int = 0
    known: int = 0
    batches: int = 0
    bytes: int = 0
    ms: int = 0
    problem: str = ""


class Standing(Struct, frozen=True, kw_only=True):
    """A problem that stands now."""

    problem: Problem
    since_ms: int
    detail: str = ""


def wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class Uploader(ABC):
    """The loop of the destination `name`. `interval_ms` caps its waits."""

    def __init__(
        self, name: str, interval_ms: int, clock_ms: Callable[[], int] = wall_clock_ms, random: Random | None = None
    ) -> None:
        self.name = name
        self.interval_ms = interval_ms
        self.clock_ms = clock_ms
        self.random = random or Random()
        self.backoff = Backoff()
        self.refused = 0
        self.refused_since_ms = 0
        self.stopping = False
        self.again = False
        self.may_send: Callable[[], bool] = lambda: True
        """Whether these are hours in which events may be sent."""
        self._asked = False
        self.clock_offset_ms = 0
        self._clock_wrong_since_ms = 0
        self.report: UploadReport | None = None
        self._running: asyncio.Task[UploadReport] | None = None

    @abstractmethod
    async def stored_backoff(self) -> bytes:
        """What was remembered last."""

    @abstractmethod
    async def run(self) -> UploadReport:
        """One upload: everything that is there."""

    async def upload(self, *, asked: bool = False) -> UploadReport:
        """Send everything that is there now, whatever the back-off says; see `due_at_ms` for what it says. `asked`: a person
        wants it, at whatever hour."""
        self._asked |= asked
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name=f"upload to {self.name}")
        else:
            self.again = True
        return await asyncio.shield(self._running)

    def look_again(self) -> bool:
        """There is something new: a running upload takes it along. False where none runs."""
        running = self._running is not None and not self._running.done()
        self.again |= running
        return running

    def sends_events(self) -> bool:
        return self._asked or self.may_send()

    async def _run(self) -> UploadReport:
        try:
            report = await self.run()
        finally:
            self._asked = False
        report.ms = self.clock_ms() - report.began_ms
        self.report = report
        return report

    async def due_at_ms(self) -> int:
        """When the stored back-off allows the next attempt; in the past where nothing stands against it."""
        self.backoff = backoff.load(await self.stored_backoff())
        return backoff.due_at_ms(self.backoff, self.clock_ms())

    def note_clock(self, offset_ms: int) -> None:
        """This machine's clock was so far ahead of the platform's. What is no more than lateness is none; see `clocks`."""
        self.clock_offset_ms = offset_ms if abs(offset_ms) >= clocks.WRONG_MS else 0
        self._clock_wrong_since_ms = (self._clock_wrong_since_ms or self.clock_ms()) if self.clock_offset_ms else 0

    def note_refused(self, count: int) -> None:
        """So many events went to quarantine."""
        self.refused_since_ms = self.refused_since_ms or self.clock_ms()
        self.refused += count

    def problems(self) -> list[Standing]:
        """What stands between the site and this destination, the gravest first."""
        standing = []
        if self.backoff.problem in CATALOGUE:
            standing.append(_standing(self.backoff.problem, self.backoff.since_ms, self.backoff.detail))
        renewed_at_ms = self.backoff.renewed_at_ms
        recently = 0 <= self.clock_ms() - renewed_at_ms < CONFLICT_SHOWN_MS
        if recently and self.backoff.problem != "conflict":
            standing.append(_standing("conflict", renewed_at_ms, ""))
        if self._clock_wrong_since_ms:
            detail = clocks.in_words(self.clock_offset_ms)
            standing.append(_standing("clock_wrong", self._clock_wrong_since_ms, detail))
        if self.refused:
            standing.append(_standing("events_refused", self.refused_since_ms, f"{self.refused} since the start"))
        return sorted(standing, key=lambda each: ("critical", "error", "warning").index(each.problem.severity))

    async def stop(self) -> None:
        """End the running upload: after the step it is in, or after STOP_GRACE_S by cancelling it. Idempotent."""
        self.stopping = True
        if self._running is None or self._running.done():
            return
        _done, late = await asyncio.wait({self._running}, timeout=STOP_GRACE_S)
        for task in late:
            task.cancel()
        await asyncio.gather(self._running, return_exceptions=True)


def _standing(code: str, since_ms: int, detail: str) -> Standing:
    return Standing(problem=CATALOGUE[code], since_ms=since_ms, detail=detail)
