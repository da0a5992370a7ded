"""One upload to a platform of the own contract: what is sent when.

Laws
- Batches are sent in the order of their numbers, and their answers are obeyed in that order, whatever comes back first.
- While a batch is on its way the next is packed, in the hope that it will be wanted. With each answer that takes all of its
  batch and comes soon one more may be on its way, up to IN_FLIGHT_MAX, so that the platform works while the site does. After
  one that comes late the next goes alone; any other gives up what is on its way behind it besides.
- What was given up is as if its answer was lost: it is sent again, and what the platform has of it by then is recognised.
"""

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from uplink import backoff, clocks, receipts, session, status
from uplink.batch import Batch, BatchError, Head, stamped
from uplink.outbox import Waiting
from uplink.packing import Place, Ready, prepare
from uplink.progress import Progress
from uplink.receipts import Receipted, ReceiptInvalid
from uplink.session import Answer, Failure
from uplink.uploader import UploadReport

if TYPE_CHECKING:
    from uplink.shipper import Shipper

IN_FLIGHT_MAX = 4
"""One that the platform stores, one that it reads, and one on the line each way. More would only wait there, and be sent again
after a failure."""
SOON_MS = 1000
"""A platform that takes longer is busy, or the line so thin that bodies side by side make each other late. The round trip by a
geostationary satellite is within it."""
OVERTAKEN_MAX = 3
"""In one upload. Where several receivers stand behind one address, a batch may be placed before the one ahead of it has been;
where that is the rule, one at a time is quicker."""


class _Posted(Struct, frozen=True):
    outcome: Answer | Failure
    ms: int


class _Sent(Struct, frozen=True):
    """A batch on its way. `behind`: others were, when it was sent."""

    batch: Batch
    behind: bool
    posting: asyncio.Task[_Posted]


class _Ahead(Struct, frozen=True):
    """What is packed for when it is wanted."""

    place: Place
    packing: asyncio.Task[Ready]


class Upload:
    """`begin` one, then `drain`."""

    def __init__(self, shipper: "Shipper", progress: Progress) -> None:
        self.shipper = shipper
        self.outbox = shipper.outbox
        self.progress = progress
        self._flight: deque[_Sent] = deque()
        self._ahead: _Ahead | None = None
        self._room = 1
        self._overtaken = 0

    @classmethod
    async def begin(cls, shipper: "Shipper") -> "Upload":
        identity, cursor = await shipper.outbox.identity(), await shipper.outbox.cursor(shipper.name)
        shipper.backoff = backoff.load(cursor.backoff)
        return cls(shipper, Progress(shipper, identity, cursor))

    @property
    def report(self) -> UploadReport:
        return self.progress.report

    async def drain(self) -> None:
        """Batch after batch until there is nothing more, a wait, or a stop."""
        try:
            while self._flight or not (self.shipper.stopping or self.report.problem):
                if not self._flight:
                    ready = await self._next()
                    if ready.is_heartbeat() and self.report.batches:
                        return
                    await self._step(ready)
                elif following := await self._following():
                    await self._send(following)
                else:
                    await self._take_answer(self._flight.popleft())
        finally:
            await self._give_up_flight()
            await self._give_up_ahead()

    async def _step(self, ready: Ready) -> None:
        """With nothing on its way."""
        if isinstance(ready.batch, BatchError):
            await self.progress.obey(ready.head, self.progress.unbuilt(ready.head, ready.batch))
        else:
            await self._send(ready)

    # --- packing

    async def _next(self) -> Ready:
        place = self.progress.place()
        if self._ahead and self._ahead.place == place:
            ahead, self._ahead = self._ahead, None
            return await ahead.packing
        await self._give_up_ahead()
        return await self._prepare(place)

    async def _prepare(self, place: Place) -> Ready:
        return await prepare(self.outbox, self.progress.identity, place, self.shipper.pace.max_bytes)

    def _prepare_ahead(self, ready: Ready) -> None:
        if ready.may_be_followed() and ready.place.wanted == self.shipper.limit:
            place = Place(ready.place.epoch, ready.head.last, self.shipper.limit)
            self._ahead = _Ahead(place, asyncio.create_task(self._prepare(place), name="next batch"))

    async def _give_up_ahead(self) -> None:
        """What is wrong with it, if anything is, shows when it is read for good."""
        if self._ahead:
            ahead, self._ahead = self._ahead, None
            await _cancel(ahead.packing)

    # --- sending

    async def _following(self) -> Ready | None:
        """What may be sent behind those that are on their way; None where the oldest is answered before there is any."""
        ahead = self._ahead
        if ahead is None or not self._in_stride() or ahead.place.wanted != self.shipper.limit:
            return None
        await asyncio.wait({self._flight[0].posting, ahead.packing}, return_when=asyncio.FIRST_COMPLETED)
        if not ahead.packing.done() or ahead.packing.exception() or not self._in_stride():
            return None
        ready = ahead.packing.result()
        if isinstance(ready.batch, BatchError) or not ready.head.count:
            return None
        self._ahead = None
        return ready

    def _in_stride(self) -> bool:
        """Whether one more may be sent before the oldest is answered."""
        return len(self._flight) < self._room and not self.shipper.stopping and self.shipper.sends_events()

    async def _send(self, ready: Ready) -> None:
        assert isinstance(ready.batch, Batch)
        waiting = await self.outbox.waiting(self.shipper.name)
        now_s = self.shipper.clock_ms() // 1000
        batch = self._with_status(stamped(ready.batch, now_s, waiting.end, waiting.end_chain), waiting)
        posting = asyncio.create_task(self._post(batch), name=f"batch from {batch.head.first}")
        self._flight.append(_Sent(batch, bool(self._flight), posting))
        self.report.batches += 1
        self.report.sent += batch.head.count
        self.report.bytes += len(batch.body)
        self._prepare_ahead(ready)

    def _with_status(self, batch: Batch, waiting: Waiting) -> Batch:
        """What waits is what is neither acknowledged nor on its way ahead of it."""
        behind = waiting.end - self._flight[-1].batch.head.last if self._flight else waiting.count
        told = msgspec.structs.replace(
            self.shipper.status(),
            backlog=min(waiting.count, behind),
            oldest_s=waiting.oldest_ms // 1000,
            newest_s=waiting.newest_ms // 1000,
            interval_s=(self.shipper.pace.longest_ms or self.shipper.pace.interval_ms) // 1000,
            clock_offset_s=int(self.shipper.clock_offset_ms / 1000),
        )
        return msgspec.structs.replace(batch, headers={**batch.headers, status.FIELD: status.write(told)})

    async def _post(self, batch: Batch) -> _Posted:
        began_ms = time.monotonic_ns() // 1_000_000
        outcome = await self.shipper.destination.post(batch)
        return _Posted(outcome, time.monotonic_ns() // 1_000_000 - began_ms)

    # --- answers

    async def _take_answer(self, sent: _Sent) -> None:
        posted = await sent.posting
        offset_ms = clocks.offset_ms(posted.outcome, self.shipper.clock_ms())
        if offset_ms is not None:
            self.shipper.note_clock(offset_ms)
        head = sent.batch.head
        answer = posted.outcome.body if isinstance(posted.outcome, Answer) else b""
        action, receipt = self._receipted(head, session.decide(head, posted.outcome, self.progress.moment()), answer)
        obeying = self._overtook() if _overtook(sent, action) else self.progress.obey(head, action, answer, receipt)
        await asyncio.gather(self.progress.note(sent.batch, action, posted.ms), obeying)
        if not self.progress.plain:
            await self._give_up_flight()
        goes_well = self.progress.plain and posted.ms <= SOON_MS and self._overtaken < OVERTAKEN_MAX
        self._room = min(self._room + 1, IN_FLIGHT_MAX) if goes_well else 1

    async def _overtook(self) -> None:
        """The one ahead of it was taken meanwhile. If anything is missing all the same, that shows when it goes alone."""
        self._overtaken += 1
        self.progress.plain = False

    def _receipted(self, head: Head, action: session.Action, answer: bytes) -> tuple[session.Action, Receipted | None]:
        """What an acknowledgement is worth where the platform signs: nothing without its receipt."""
        if not isinstance(action, session.Acknowledge) or not self.shipper.platform_keys:
            return action, None
        site, keys = self.progress.identity.site, self.shipper.platform_keys
        try:
            return action, receipts.check(site, head, action.through, answer, keys)
        except ReceiptInvalid as error:
            return session.wait_slow(head, self.progress.moment(), "receipt_invalid", str(error)), None

    async def _give_up_flight(self) -> None:
        while self._flight:
            await _cancel(self._flight.pop().posting)


def _overtook(sent: _Sent, action: session.Action) -> bool:
    """Whether it only came to be placed before the one ahead of it."""
    return sent.behind and isinstance(action, session.Rewind)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.exception()
