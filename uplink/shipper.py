"""The loop that brings stored events to a platform of the own contract.

Laws
- An upload drains what is there, batch after batch, each acknowledged durably before the next is sent, and ends at the
  first wait. While one is on its way the next is read and packed, in the hope that it will be
  wanted. If there was nothing it sends a heartbeat: silence is not the same as no use.
- It knows no rule of the contract: `session.decide` says what to do, and this does it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol

import msgspec
from msgspec import Struct

from uplink import backoff, clocks, receipts, session, status
from uplink.backoff import Backoff
from uplink.batch import (
    EVENT_MAX_BYTES,
    EVENTS_MAX,
    Batch,
    BatchError,
    Head,
    build,
    stamped,
    withhold,
)
from uplink.outbox import Chunk, Cursor, Identity, Outbox, Refusal, UploadLog
from uplink.problems import CATALOGUE
from uplink.receipts import Receipted, ReceiptInvalid
from uplink.session import Answer, Failure, Moment
from uplink.status import AgentStatus
from uplink.uploader import Standing, Uploader, UploadReport, wall_clock_ms

log = logging.getLogger(__name__)

REWINDS_MAX = 3
"""Rewinds in one upload. A platform that loses data once is followed; one that always answers `gap` is not chased."""


class Destination(Protocol):
    async def post(self, batch: Batch) -> Answer | Failure:
        """Send one batch and return whatever came back. Raises nothing."""

    async def close(self) -> None: ...


class Platform(Destination, Protocol):
    """A destination of the own contract. `platform_keys`: those that an enrolled machine's platform signs its receipts
    with, by their ids; without any, none are asked for."""

    platform_keys: Mapping[str, bytes]

    async def policy(self, seen: str) -> Answer | Failure:
        """The site's policy, unless it is the one whose SHA-256 is `seen`. Raises nothing."""


class Pace(Struct, frozen=True, kw_only=True):
    """`interval_ms` caps every wait; `max_events` and `max_bytes` (before gzip) bound a batch. `longest_ms`: how far apart
    regular uploads may be, which the platform is told (0: as `interval_ms`)."""

    interval_ms: int = 900_000
    longest_ms: int = 0
    max_events: int = EVENTS_MAX
    max_bytes: int = 4 * 1024 * 1024


class Shipper(Uploader):
    """Ships to `destination`, which the outbox knows as `name`. `status`: what the agent says of itself besides how much is
    waiting. `platform_keys`: see `Platform`."""

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        destination: Destination,
        pace: Pace,
        clock_ms: Callable[[], int] = wall_clock_ms,
        random: Random | None = None,
        status: Callable[[], AgentStatus] = AgentStatus,
        platform_keys: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(name, pace.interval_ms, clock_ms, random)
        self.status = status
        self.platform_keys = platform_keys or {}
        self.outbox = outbox
        self.destination = destination
        self.pace = pace
        self.limit = pace.max_events
        self.lost = ""
        self.lost_since_ms = 0

    async def stored_backoff(self) -> bytes:
        return (await self.outbox.cursor(self.name)).backoff

    def note_lost(self, detail: str) -> None:
        """The platform asks for events that are pruned here; or, without detail, not any more. It holds up nothing."""
        if detail and not self.lost:
            problem = CATALOGUE["history_lost"]
            log.warning("%s: %s (%s) %s", self.name, problem.text, detail, problem.hint)
        self.lost_since_ms = self.lost_since_ms if self.lost else self.clock_ms()
        self.lost = detail

    def problems(self) -> list[Standing]:
        standing = super().problems()
        if self.lost and self.backoff.problem != "history_lost":
            lost = Standing(problem=CATALOGUE["history_lost"], since_ms=self.lost_since_ms, detail=self.lost)
            standing.insert(0, lost)
        return standing

    async def run(self) -> UploadReport:
        self.limit = min(self.pace.max_events, 2 * self.limit)
        run = await _Run.begin(self)
        while not self.stopping:
            self.again = False
            await run.drain()
            if not self.again or run.report.problem:
                break
        return run.report


_Place = tuple[str, int, int]
"""Epoch, the number after which is read, and how many events at most."""


class _Ready(Struct, frozen=True):
    """What can be sent next: some events, and the batch that carries them or why there is none."""

    chunk: Chunk
    head: Head
    batch: Batch | BatchError


class _Run:
    """One upload. `position` is the number after which it reads on; `suspect` ends the smallest range in which an event
    is known to be refused. `ahead`: what follows the batch that is on its way, if all of that is acknowledged."""

    def __init__(self, shipper: Shipper, identity: Identity, cursor: Cursor) -> None:
        self.shipper = shipper
        self.outbox = shipper.outbox
        self.identity = identity
        self.cursor = cursor
        self.position = cursor.acked_through
        self.acked = cursor.acked_through
        self.suspect = 0
        self.rewinds = 0
        self.sent_again = False
        self.answer_ms = 0
        self.receipt: Receipted | None = None
        self.withhold: session.Withhold | None = None
        self.ahead: tuple[_Place, asyncio.Task[_Ready]] | None = None
        self.report = UploadReport(began_ms=shipper.clock_ms())

    @classmethod
    async def begin(cls, shipper: Shipper) -> "_Run":
        identity, cursor = await shipper.outbox.identity(), await shipper.outbox.cursor(shipper.name)
        shipper.backoff = backoff.load(cursor.backoff)
        return cls(shipper, identity, cursor)

    async def drain(self) -> None:
        """Batch after batch until there is nothing more, a wait, or a stop."""
        try:
            while not self.shipper.stopping and not self.report.problem:
                ready = await self._next()
                if not ready.chunk.bodies and self.report.batches:
                    return
                await self._step(ready)
        finally:
            await self._give_up_ahead()

    async def _next(self) -> _Ready:
        place = (self.cursor.epoch, self.position, self._events_wanted())
        if self.ahead and self.ahead[0] == place and not self.withhold:
            task, self.ahead = self.ahead[1], None
            return await task
        await self._give_up_ahead()
        return await self._prepare(place)

    async def _prepare(self, place: _Place) -> _Ready:
        epoch, after, wanted = place
        chunk = await self.outbox.read(epoch, after, wanted, self.shipper.pace.max_bytes)
        head = self._head(epoch, chunk)
        try:
            return _Ready(chunk, head, await self._build(head, chunk))
        except BatchError as error:
            return _Ready(chunk, head, error)

    def _prepare_ahead(self, ready: _Ready) -> None:
        """Where there may be more behind it, and nothing is in doubt."""
        if len(ready.chunk.bodies) == self.shipper.limit and not self.withhold:
            place = (self.cursor.epoch, ready.chunk.last, self.shipper.limit)
            self.ahead = (place, asyncio.create_task(self._prepare(place), name="next batch"))

    async def _give_up_ahead(self) -> None:
        """What is wrong with it, if anything is, shows when it is read for good."""
        if self.ahead:
            (_, task), self.ahead = self.ahead, None
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()

    def _events_wanted(self) -> int:
        if not self.shipper.sends_events():
            return 0
        if self.withhold:
            return 1
        if self.position < self.suspect:
            return max(1, (self.suspect - self.position) // 2)
        unanswered = self.shipper.backoff.last - self.position
        return min(self.shipper.limit, unanswered) if unanswered > 0 else self.shipper.limit

    async def _step(self, ready: _Ready) -> None:
        if isinstance(ready.batch, BatchError):
            await self._obey(ready.head, self._unbuilt(ready.head, ready.batch))
            return
        self._prepare_ahead(ready)
        batch = stamped(ready.batch, self.shipper.clock_ms() // 1000)
        outcome = await self._post(batch)
        answer = outcome.body if isinstance(outcome, Answer) else b""
        action = self._receipted(batch.head, session.decide(batch.head, outcome, self._moment()), answer)
        await asyncio.gather(self._note(batch, action), self._obey(batch.head, action, answer))

    def _receipted(self, head: Head, action: session.Action, answer: bytes) -> session.Action:
        """What an acknowledgement is worth where the platform signs: nothing without its receipt."""
        self.receipt = None
        if not isinstance(action, session.Acknowledge) or not self.shipper.platform_keys:
            return action
        try:
            self.receipt = receipts.check(self.identity.site, head, action.through, answer, self.shipper.platform_keys)
        except ReceiptInvalid as error:
            return session.wait_slow(head, self._moment(), "receipt_invalid", str(error))
        return action

    def _head(self, epoch: str, chunk: Chunk) -> Head:
        named = chunk.first == 1
        return Head(
            epoch=epoch,
            first=chunk.first,
            last=chunk.last,
            count=len(chunk.bodies),
            prev=chunk.prev,
            chain=chunk.chain,
            head_time_s=self.shipper.clock_ms() // 1000,
            after_epoch=self.identity.after_epoch if named else "",
            after_chain=self.identity.after_chain if named else b"",
        )

    async def _build(self, head: Head, chunk: Chunk) -> Batch:
        """In a thread: 8 MiB take zlib a quarter of a second."""
        if self.withhold and head.count:
            return await asyncio.to_thread(build, withhold(head, chunk.bodies[0], self.withhold.code), [])
        if any(len(body) > EVENT_MAX_BYTES for body in chunk.bodies):
            raise BatchError("too_large", f"an event is larger than {EVENT_MAX_BYTES} bytes")
        return await asyncio.to_thread(build, head, chunk.bodies)

    def _unbuilt(self, head: Head, error: BatchError) -> session.Action:
        """What to do where not even a batch came about."""
        if error.code != "too_large":
            return session.wait_slow(head, self._moment(), "ledger_damaged", str(error))
        if head.count > 1:
            return session.Cut(events=head.count // 2, lasting=False)
        return session.Withhold(code="too_large", message=str(error))

    async def _post(self, batch: Batch) -> Answer | Failure:
        began_ms = time.monotonic_ns() // 1_000_000
        outcome = await self.shipper.destination.post(await self._with_status(batch))
        self.answer_ms = time.monotonic_ns() // 1_000_000 - began_ms
        offset_ms = clocks.offset_ms(outcome, self.shipper.clock_ms())
        if offset_ms is not None:
            self.shipper.note_clock(offset_ms)
        self.report.batches += 1
        self.report.sent += batch.head.count
        self.report.bytes += len(batch.body)
        return outcome

    async def _with_status(self, batch: Batch) -> Batch:
        waiting = await self.outbox.waiting(self.shipper.name)
        told = msgspec.structs.replace(
            self.shipper.status(),
            backlog=waiting.count,
            oldest_s=waiting.oldest_ms // 1000,
            newest_s=waiting.newest_ms // 1000,
            interval_s=(self.shipper.pace.longest_ms or self.shipper.pace.interval_ms) // 1000,
            clock_offset_s=int(self.shipper.clock_offset_ms / 1000),
        )
        return msgspec.structs.replace(batch, headers={**batch.headers, status.FIELD: status.write(told)})

    def _moment(self) -> Moment:
        return Moment(
            now_ms=self.shipper.clock_ms(),
            random=self.shipper.random.random(),
            interval_ms=self.shipper.pace.interval_ms,
            backoff=self.shipper.backoff,
        )

    async def _note(self, batch: Batch, action: session.Action) -> None:
        head = batch.head
        entry = UploadLog(
            at_ms=self.shipper.clock_ms(),
            first=head.first,
            last=head.last,
            count=head.count,
            bytes=len(batch.body),
            status=_status(action),
            ms=self.answer_ms,
        )
        await self.outbox.log_upload(self.shipper.name, entry)

    async def _obey(self, head: Head, action: session.Action, answer: bytes = b"") -> None:
        match action:
            case session.Acknowledge():
                await self._acknowledge(head, action, answer)
            case session.Rewind():
                await self._rewind(head, action)
            case session.BeginEpoch():
                await self._begin_epoch(action)
            case session.Cut():
                self._cut(head, action)
            case session.Withhold():
                self.withhold = action
            case session.Wait():
                await self._wait(action)

    async def _acknowledge(self, head: Head, action: session.Acknowledge, answer: bytes) -> None:
        refused = [self._reasoned(each) for each in action.refused]
        if action.through > self.acked or refused or self.receipt:
            await self.outbox.acknowledge(self.shipper.name, head.epoch, action.through, refused, answer, self.receipt)
        self._count(action, len(refused))
        self.position = action.through
        self.withhold = None
        if action.max_events:
            self.shipper.limit = min(self.shipper.pace.max_events, action.max_events)
        await self._remember(backoff.cleared(self.shipper.backoff))
        await self._send_again(head, action.replay_from)

    async def _send_again(self, head: Head, asked: int) -> None:
        """Once in an upload: a platform that never has enough is not followed round and round."""
        if not asked or asked >= await self.outbox.horizon(head.epoch):
            self.shipper.note_lost("")
            if asked and not self.sent_again:
                log.info("%s asks for everything from event %d on again", self.shipper.name, asked)
                self.sent_again, self.position = True, asked - 1
        else:
            self.shipper.note_lost(f"it asks for event {asked} of epoch {head.epoch}")

    def _reasoned(self, refusal: Refusal) -> Refusal:
        """A withheld event's reason is what the platform said when it came whole."""
        if self.withhold:
            return Refusal(seq=refusal.seq, code=refusal.code, message=self.withhold.message)
        return refusal

    def _count(self, action: session.Acknowledge, refused: int) -> None:
        self.report.acked += max(0, action.through - self.acked)
        self.report.refused += refused
        self.report.known += action.known
        self.acked = max(self.acked, action.through)
        if refused:
            self.shipper.note_refused(refused)
            log.warning("%s refused %d event(s); they are in quarantine", self.shipper.name, refused)

    async def _rewind(self, head: Head, action: session.Rewind) -> None:
        self.rewinds += 1
        self.withhold = None
        if action.expected < await self.outbox.horizon(head.epoch):
            detail = f"it asks for event {action.expected} of epoch {head.epoch}"
            await self._wait(session.wait_slow(head, self._moment(), "history_lost", detail))
        elif self.rewinds > REWINDS_MAX:
            detail = f"it asked {self.rewinds} times to go back"
            await self._wait(session.wait_slow(head, self._moment(), "no_progress", detail))
        else:
            log.warning("%s lacks events from %d on: sending them again", self.shipper.name, action.expected)
            self.position = action.expected - 1

    async def _begin_epoch(self, action: session.BeginEpoch) -> None:
        log.error("%s: %s %s", self.shipper.name, CATALOGUE["conflict"].text, CATALOGUE["conflict"].hint)
        await self._remember(action.backoff)
        await self.outbox.begin_epoch("conflict")
        self.identity, self.cursor = await self.outbox.identity(), await self.outbox.cursor(self.shipper.name)
        self.position = self.acked = self.cursor.acked_through
        self.suspect, self.withhold = 0, None

    def _cut(self, head: Head, action: session.Cut) -> None:
        if action.lasting:
            self.shipper.limit = action.events
        else:
            self.suspect = head.last

    async def _wait(self, action: session.Wait) -> None:
        if action.backoff.problem != self.shipper.backoff.problem:
            problem = CATALOGUE[action.backoff.problem]
            log.warning("%s: %s (%s) %s", self.shipper.name, problem.text, action.backoff.detail, problem.hint)
        self.report.problem = action.backoff.problem
        await self._remember(action.backoff)

    async def _remember(self, state: Backoff) -> None:
        if state == self.shipper.backoff:
            return
        if self.shipper.backoff.problem and not state.problem:
            log.info("%s is back", self.shipper.name)
        self.shipper.backoff = state
        await self.outbox.save_backoff(self.shipper.name, backoff.dump(state))


def _status(action: session.Action) -> str:
    """The word for a request in the upload log."""
    match action:
        case session.Acknowledge():
            return "duplicate" if action.duplicate else "acknowledged"
        case session.Wait():
            return action.backoff.problem
        case session.Rewind():
            return "gap"
        case session.BeginEpoch():
            return "conflict"
        case session.Cut() | session.Withhold():
            return "refused"
