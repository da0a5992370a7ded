"""How far one upload is, and what each answer does to that.

Laws
- It knows no rule of the contract: `session.decide` says what to do, and this does it.
- Answers are obeyed in the order in which their batches were sent, one after the other, each durably before the next.
"""

import logging
from typing import TYPE_CHECKING

from uplink import backoff, session
from uplink.backoff import Backoff
from uplink.batch import Batch, BatchError, Head
from uplink.outbox import Cursor, Identity, Refusal, UploadLog
from uplink.packing import Place
from uplink.problems import CATALOGUE
from uplink.receipts import Receipted
from uplink.session import Moment
from uplink.uploader import UploadReport
from uplink.witness import witness

if TYPE_CHECKING:
    from uplink.shipper import Shipper

log = logging.getLogger(__name__)

REWINDS_MAX = 3
"""Rewinds in one upload. A platform that loses data once is followed; one that always answers `gap` is not chased."""


class Progress:
    """`position` is the number after which events are read next when none are on their way; `suspect` ends the smallest range
    in which an event is known to be refused. `plain`: the last answer took all of its batch and asked for nothing."""

    def __init__(self, shipper: "Shipper", identity: Identity, cursor: Cursor) -> None:
        self.shipper = shipper
        self.outbox = shipper.outbox
        self.identity = identity
        self.epoch = cursor.epoch
        self.position = self.acked = cursor.acked_through
        self.suspect = 0
        self.plain = False
        self.report = UploadReport(began_ms=shipper.clock_ms())
        self._rewinds = 0
        self._sent_again = False
        self._withhold: session.Withhold | None = None
        self._lost = ""

    def place(self) -> Place:
        """What is to be sent next."""
        if self._lost:
            return Place(self.epoch, self.position, 0, lost=self._lost)
        return Place(self.epoch, self.position, self._wanted(), self._withhold.code if self._withhold else "")

    def moment(self) -> Moment:
        return Moment(
            now_ms=self.shipper.clock_ms(),
            random=self.shipper.random.random(),
            interval_ms=self.shipper.pace.interval_ms,
            backoff=self.shipper.backoff,
        )

    def unbuilt(self, head: Head, error: BatchError) -> session.Action:
        """What to do where not even a batch came about."""
        if error.code != "too_large":
            return session.wait_slow(head, self.moment(), "ledger_damaged", str(error))
        if head.count > 1:
            return session.Cut(events=head.count // 2, lasting=False)
        return session.Withhold(code="too_large", message=str(error))

    async def note(self, batch: Batch, action: session.Action, ms: int) -> None:
        head = batch.head
        entry = UploadLog(
            at_ms=self.shipper.clock_ms(),
            first=head.first,
            last=head.last,
            count=head.count,
            bytes=len(batch.body),
            status=_status(action),
            ms=ms,
        )
        await self.outbox.log_upload(self.shipper.name, entry)

    async def obey(
        self, head: Head, action: session.Action, answer: bytes = b"", receipt: Receipted | None = None
    ) -> None:
        self.plain = False
        match action:
            case session.Acknowledge():
                await self._acknowledge(head, action, answer, receipt)
            case session.Rewind():
                await self._rewind(head, action)
            case session.BeginEpoch():
                await self._begin_epoch(action)
            case session.Cut():
                self._cut(head, action)
            case session.Withhold():
                self._withhold = action
            case session.Wait():
                await self._wait(action)

    def _wanted(self) -> int:
        """How many events."""
        if not self.shipper.sends_events():
            return 0
        if self._withhold:
            return 1
        if self.position < self.suspect:
            return max(1, (self.suspect - self.position) // 2)
        unanswered = self.shipper.backoff.last - self.position
        return min(self.shipper.limit, unanswered) if unanswered > 0 else self.shipper.limit

    async def _acknowledge(
        self, head: Head, action: session.Acknowledge, answer: bytes, receipt: Receipted | None
    ) -> None:
        refused = [self._reasoned(each) for each in action.refused]
        if action.through > self.acked or refused or receipt:
            await self.outbox.acknowledge(self.shipper.name, head.epoch, action.through, refused, answer, receipt)
        if receipt:
            self.shipper.witness = witness(self.identity.site, head, receipt)
        self._count(action, len(refused))
        self.position = action.through
        self._withhold = None
        if head.lost:
            self.shipper.note_stated(f"events {head.first} to {head.last} of epoch {head.epoch}")
            self._lost = ""
        if action.max_events:
            self.shipper.limit = min(self.shipper.pace.max_events, action.max_events)
        await self._remember(backoff.cleared(self.shipper.backoff))
        await self._send_again(head, action.replay_from)
        self.plain = self.position == head.last

    async def _send_again(self, head: Head, asked: int) -> None:
        """Once in an upload: a platform that never has enough is not followed round and round."""
        if not asked or asked >= await self.outbox.horizon(head.epoch):
            self.shipper.note_lost("")
            if asked and not self._sent_again:
                log.info("%s asks for everything from event %d on again", self.shipper.name, asked)
                self._sent_again, self.position = True, asked - 1
        else:
            self.shipper.note_lost(f"it asks for event {asked} of epoch {head.epoch}")

    def _reasoned(self, refusal: Refusal) -> Refusal:
        """A withheld event's reason is what the platform said when it came whole."""
        if self._withhold:
            return Refusal(seq=refusal.seq, code=refusal.code, message=self._withhold.message)
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
        self._rewinds += 1
        self._withhold = None
        if self._rewinds > REWINDS_MAX:
            detail = f"it asked {self._rewinds} times to go back"
            await self._wait(session.wait_slow(head, self.moment(), "no_progress", detail))
        elif action.expected < await self.outbox.horizon(head.epoch):
            log.error(
                "%s lacks events from %d on, which are pruned here: stating so", self.shipper.name, action.expected
            )
            self._lost, self.position = "pruned", action.expected - 1
        else:
            self._lost = ""
            log.warning("%s lacks events from %d on: sending them again", self.shipper.name, action.expected)
            self.position = action.expected - 1

    async def _begin_epoch(self, action: session.BeginEpoch) -> None:
        log.error("%s: %s %s", self.shipper.name, CATALOGUE["conflict"].text, CATALOGUE["conflict"].hint)
        await self._remember(action.backoff)
        await self.outbox.begin_epoch("conflict")
        self.identity, cursor = await self.outbox.identity(), await self.outbox.cursor(self.shipper.name)
        self.epoch = cursor.epoch
        self.position = self.acked = cursor.acked_through
        self.suspect, self._withhold, self._lost = 0, None, ""

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
