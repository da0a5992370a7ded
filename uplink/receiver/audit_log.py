"""Does a log prove itself? Each site's messages in their order: what each holds, and what it says of how its site stands.

Laws
- A batch is opened as the receiver opened it: digest, form, count and chain. It goes on where the site's messages before it
  ended, and the state that it was logged with is worked out again.
- What was taken out at the beginning (`--trim`) is no loss: a site begins with its oldest message. A hole behind that is one,
  unless it was logged again later.
- Books that were made of it hold the same history, by its chain, and none of it is missing behind what they have.
- A site at a time, a message at a time: memory does not grow with the log, but for the names of sites.
"""

from msgspec import Struct

from uplink.batch import BatchError, chain_through
from uplink.proof import Mismatch
from uplink.receiver.audit import TRIES
from uplink.receiver.placing import Append
from uplink.receiver.storage import EpochState, Incoming, Store
from uplink.receiver.storage.jetstream_log import JetStreamLog, MessageUnreadable
from uplink.receiver.storage.logged import Logged, Mark, advance, mark_of


class LogAudited(Struct, frozen=True, kw_only=True):
    """What fits together. `waiting`: events that the books do not have yet; 0 without books."""

    sites: int
    messages: int
    events: int
    waiting: int = 0


async def audit_log(log: JetStreamLog, books: Store | None = None, only_site: str = "") -> LogAudited:
    """Raises Mismatch and StoreUnavailable."""
    sites = messages = events = waiting = 0
    for site in [only_site] if only_site else await log.sites():
        booked = await books.epochs(site) if books else []  # before the log, so that they cannot be ahead of it
        walk = await _walked(log, site)
        for state in booked:
            await _compare(log, site, walk.marks, state)
        sites, messages, events = sites + 1, messages + walk.messages, events + walk.events
        held = {state.epoch: state.acked_through for state in booked}
        if books:
            waiting += sum(mark.acked_through - held.get(mark.epoch, 0) for mark in walk.marks)
    return LogAudited(sites=sites, messages=messages, events=events, waiting=waiting)


async def _walked(log: JetStreamLog, site: str) -> "LogWalk":
    """Over all messages of a site. What seems to be missing may have been taken out meanwhile: then once more."""
    for tries_left in reversed(range(TRIES)):
        walk, oldest = LogWalk(site), await _next(log, site, 0)
        try:
            await _over(log, site, walk)
            walk.finish()
            break
        except Mismatch:
            now_oldest = await _next(log, site, 0)
            if not tries_left or (oldest and oldest.seq) == (now_oldest and now_oldest.seq):
                raise
    return walk


async def _over(log: JetStreamLog, site: str, walk: "LogWalk") -> None:
    seq = 0
    while (logged := await _next(log, site, seq + 1)) is not None:
        seq = logged.seq
        walk.take(logged)


async def _next(log: JetStreamLog, site: str, seq: int) -> Logged | None:
    try:
        return await log.next(site, seq)
    except MessageUnreadable as error:
        raise Mismatch(f"site {site}: the message", "one of this log", error) from None


async def _compare(log: JetStreamLog, site: str, marks: list[Mark], booked: EpochState) -> None:
    mark, through = mark_of(marks, booked.epoch), booked.acked_through
    if through > mark.acked_through:
        raise Mismatch("the last event of the books", mark.acked_through, through, booked.epoch, through, site)
    chain = mark.chain if through == mark.acked_through else None
    if chain is None and through and (holding := await log.holding(site, booked.epoch, through)):
        chain = holding.chain_at(through) if holding.head.epoch == booked.epoch else None
    if chain and chain != booked.chain:
        raise Mismatch("the chain of the books", chain, booked.chain, booked.epoch, through, site)


class _Hole(Struct):
    """Events from `first` to `last` that the log does not hold, and the chain before them."""

    epoch: str
    first: int
    last: int
    prev: bytes


class LogWalk:
    """Over one site's messages, in the order of the log. `marks`: how its epochs stand."""

    def __init__(self, site: str) -> None:
        self._site = site
        self.marks: list[Mark] = []
        self.messages = self.events = 0
        self._holes: list[_Hole] = []

    def take(self, logged: Logged) -> None:
        """Raises Mismatch."""
        head = logged.head
        if logged.site != self._site:
            raise self._mismatch(logged, "the site of the message", self._site, logged.site)
        try:
            incoming = logged.incoming()
        except BatchError as error:
            raise self._mismatch(logged, "the message", "the batch of its head", error) from None
        self._check_marks(logged, self._expected(logged, incoming))
        self.marks = logged.marks
        self.messages, self.events = self.messages + 1, self.events + head.count

    def _expected(self, logged: Logged, incoming: Incoming) -> list[Mark] | None:
        """How the epochs stand after it; None where what came before is not known."""
        head, mark = logged.head, mark_of(self.marks, logged.head.epoch)
        if self.messages == 0:
            return None
        if head.first > mark.acked_through + 1:
            self._holes.append(_Hole(head.epoch, mark.acked_through + 1, head.first - 1, mark.chain))
            return None
        if head.last < mark.acked_through or (head.last == mark.acked_through and head.first <= head.last):
            self._fill(logged)
            return self.marks
        if head.lost:
            return advance(self.marks, incoming, Append())
        skip = mark.acked_through - head.first + 1
        chain = chain_through(head.prev, [event.body for event in incoming.events[:skip]])
        if chain != mark.chain:
            raise self._mismatch(logged, "the chain before the batch", mark.chain, chain)
        return advance(self.marks, incoming, Append(skip))

    def _fill(self, logged: Logged) -> None:
        """What was logged again closes a hole, from its beginning on."""
        head = logged.head
        for hole in self._holes:
            if hole.epoch == head.epoch and head.first <= hole.first <= head.last:
                chain = logged.chain_at(hole.first - 1)
                if chain != hole.prev:
                    raise self._mismatch(logged, "the chain before what was logged again", hole.prev, chain)
                last = min(head.last, hole.last)
                hole.first, hole.prev = last + 1, logged.chain_at(last)
        self._holes = [hole for hole in self._holes if hole.first <= hole.last]

    def _check_marks(self, logged: Logged, expected: list[Mark] | None) -> None:
        mark, head = mark_of(logged.marks, logged.head.epoch), logged.head
        if (
            expected is None
            and mark.acked_through <= head.last
            and (mark.acked_through, mark.chain)
            != (
                head.last,
                head.chain,
            )
        ):
            raise self._mismatch(logged, "where the site stands after the message", head.last, mark.acked_through)
        if expected is not None and expected != logged.marks:
            raise self._mismatch(logged, "how the site stands after the message", expected, logged.marks)

    def finish(self) -> None:
        """Raises Mismatch where a hole is left."""
        for hole in self._holes:
            what = f"events {hole.first} to {hole.last}"
            raise Mismatch(what, "to be in the log", "nothing", hole.epoch, hole.first, self._site)

    def _mismatch(self, logged: Logged, what: str, expected: object, found: object) -> Mismatch:
        told = f"message {logged.seq}: {what}"
        return Mismatch(told, expected, found, logged.head.epoch, logged.head.first, self._site)
