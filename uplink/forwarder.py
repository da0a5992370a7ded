"""The loop that brings stored events to a destination that is not our own platform.

Laws
- An upload drains what is there, request after request, each noted durably before the next is made, and ends at the first
  failure. In order; an event that is not acceptable goes to quarantine alone, and what follows goes on.
- Where so many events in a row are refused that the fault is hardly theirs (REFUSED_IN_A_ROW), it stops and says so, and puts
  one more aside at each later attempt: a wrong setting must not empty the ledger into quarantine, nor block it for ever.
- A request whose answer was lost is made again with the same events: the destination knows them by their ids.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from random import Random

import msgspec
from msgspec import Struct

from uplink import backoff
from uplink.backoff import Backoff
from uplink.feed import Feed, Item
from uplink.outbox import Refusal, UploadLog
from uplink.problems import CATALOGUE
from uplink.taker import Event, Failed, Names, Outcome, Refused, Taken, Taker, TooLarge, event_of
from uplink.uploader import Uploader, UploadReport, wall_clock_ms

log = logging.getLogger(__name__)

REFUSED_IN_A_ROW = 20
"""Two bad records of one call come close together, a burst of them may be ten; twenty that nothing accepted stands between are
a setting."""
EVERYTHING = "everything_refused"
READ_EVENTS = 1_000
"""Read at once: what is not sent there (`Names`) is passed over without a request."""


class Request(Struct, frozen=True, kw_only=True):
    """What one request is about: the events, and the position up to which nothing is left once they are taken."""

    events: Sequence[Event]
    through: int
    broken: tuple[Refusal, ...] = ()
    """Stored bytes that are no event (a damaged ledger)."""


class Forwarder(Uploader):
    """Brings the events of `feed` to `taker`, which the feed knows as `name`."""

    def __init__(
        self,
        name: str,
        feed: Feed,
        taker: Taker,
        names: Names,
        interval_ms: int,
        clock_ms: Callable[[], int] = wall_clock_ms,
        random: Random | None = None,
        max_bytes: int = 0,
    ) -> None:
        """`max_bytes`: of one request, where the line asks for less than the destination takes."""
        super().__init__(name, interval_ms, clock_ms, random)
        self._max_bytes = max_bytes or taker.limits.max_bytes
        self.feed = feed
        self.taker = taker
        self.names = names
        self._limit = taker.limits.max_events
        self._suspect = self._narrowed = 0
        self._in_a_row = 0

    async def stored_backoff(self) -> bytes:
        return (await self.feed.place(self.name)).backoff

    async def run(self) -> UploadReport:
        report = UploadReport(began_ms=self.clock_ms())
        place = await self.feed.place(self.name)
        self.backoff = backoff.load(place.backoff)
        self._limit = min(self.taker.limits.max_events, 2 * self._limit)
        self._suspect = 0
        self._in_a_row = REFUSED_IN_A_ROW - 1 if self.backoff.problem == EVERYTHING else 0
        through = place.through
        while not self.stopping and not report.problem:
            self.again = False
            request = await self._next(through) if self.sends_events() else None
            if request is None:
                if self.again:
                    continue
                break
            through = await self._make(request, through, report)
        return report

    async def _next(self, after: int) -> Request | None:
        """As many events as go into one request; None where there is nothing more."""
        wanted = self._wanted(after)
        items = await self.feed.read(after, max(READ_EVENTS, wanted), self._max_bytes)
        return await asyncio.to_thread(cut, items, wanted, self.names) if items else None

    def _wanted(self, after: int) -> int:
        """Half of the range in which an event is known to be refused, else the limit."""
        return max(1, self._limit if after >= self._suspect else self._narrowed)

    async def _make(self, request: Request, after: int, report: UploadReport) -> int:
        """Make one request and do what its outcome says; returns how far everything is settled."""
        began_ms = time.monotonic_ns() // 1_000_000
        outcome: Outcome = await self.taker.send(request.events) if request.events else Taken()
        if request.events:
            report.batches += 1
            report.sent += len(request.events)
            await self._note(request, outcome, time.monotonic_ns() // 1_000_000 - began_ms)
        match outcome:
            case Taken():
                return await self._taken(request, outcome, report)
            case Refused() | TooLarge() if len(request.events) > 1:
                self._halve(request, outcome)
                return after
            case Refused() | TooLarge():
                return await self._alone(request, outcome, report)
            case Failed():
                await self._wait(outcome, report)
                return after

    async def _taken(self, request: Request, outcome: Taken, report: UploadReport) -> int:
        refused = (*request.broken, *outcome.refused)
        await self.feed.taken(self.name, request.through, refused)
        if len(outcome.refused) < len(request.events):
            self._in_a_row = 0
        report.acked += len(request.events)
        report.known += outcome.known
        self._count_refused(len(refused), report)
        await self._remember(backoff.cleared(self.backoff))
        return request.through

    def _halve(self, request: Request, outcome: Refused | TooLarge) -> None:
        half = len(request.events) // 2
        if isinstance(outcome, TooLarge):
            self._limit = half
        else:
            self._suspect, self._narrowed = request.through, half

    async def _alone(self, request: Request, outcome: Refused | TooLarge, report: UploadReport) -> int:
        """The one event that is not acceptable."""
        self._in_a_row += 1
        if self._in_a_row > REFUSED_IN_A_ROW:
            detail = f"{REFUSED_IN_A_ROW} events in a row were refused, the last with: {outcome.message}"
            await self._wait(Failed(code=EVERYTHING, detail=detail, slow=True), report)
            return request.events[0].position - 1
        code = outcome.code if isinstance(outcome, Refused) else "too_large"
        refusal = Refusal(seq=request.events[0].position, code=code, message=outcome.message)
        await self.feed.taken(self.name, request.through, (*request.broken, refusal))
        report.acked += 1
        self._count_refused(1 + len(request.broken), report)
        return request.through

    def _count_refused(self, refused: int, report: UploadReport) -> None:
        if refused:
            report.refused += refused
            self.note_refused(refused)
            log.warning("%s refused %d event(s); they are in quarantine", self.name, refused)

    async def _note(self, request: Request, outcome: Outcome, took_ms: int) -> None:
        status = {Taken: "acknowledged", Refused: "refused", TooLarge: "too_large"}.get(type(outcome), "")
        entry = UploadLog(
            at_ms=self.clock_ms(),
            first=request.events[0].position,
            last=request.events[-1].position,
            count=len(request.events),
            bytes=sum(len(event.body) for event in request.events),
            status=status or (outcome.code if isinstance(outcome, Failed) else ""),
            ms=took_ms,
        )
        await self.feed.log_upload(self.name, entry)

    async def _wait(self, failed: Failed, report: UploadReport) -> None:
        before, now_ms = self.backoff, self.clock_ms()
        if failed.code != before.problem:
            problem = CATALOGUE[failed.code]
            log.warning("%s: %s (%s) %s", self.name, problem.text, failed.detail, problem.hint)
        report.problem = failed.code
        await self._remember(
            Backoff(
                failures=before.failures + 1,
                retry_at_ms=now_ms + self._delay_ms(failed),
                problem=failed.code,
                detail=failed.detail,
                since_ms=before.since_ms if before.problem == failed.code else now_ms,
            )
        )

    def _delay_ms(self, failed: Failed) -> int:
        chance = self.random.random()
        if failed.retry_after_ms is not None:
            return backoff.asked_ms(failed.retry_after_ms, chance)
        spread = backoff.slow_ms if failed.slow else backoff.fast_ms
        return spread(self.backoff.failures, self.interval_ms, chance)

    async def _remember(self, state: Backoff) -> None:
        if state == self.backoff:
            return
        if self.backoff.problem and not state.problem:
            log.info("%s is back", self.name)
        self.backoff = state
        await self.feed.save_backoff(self.name, backoff.dump(state))


def cut(items: Sequence[Item], wanted: int, names: Names) -> Request:
    """The first of `items` that make one request of at most `wanted` events. At least one item."""
    events: list[Event] = []
    broken: list[Refusal] = []
    through = items[0].position
    for item in items:
        if len(events) == wanted:
            break
        through = item.position
        try:
            event = event_of(item.position, item.body, names)
        except (msgspec.DecodeError, ValueError) as error:
            broken.append(Refusal(seq=item.position, code="not_an_event", message=str(error)))
            continue
        if event is not None:
            events.append(event)
    return Request(events=events, through=through, broken=tuple(broken))
