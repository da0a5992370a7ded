"""The log for any number of receivers: NATS JetStream. What is in it is booked elsewhere, by `receiver/consume.py`.

Laws
- A batch is placed on the site's last message, and published on the condition that this still is the last one
  (Nats-Expected-Last-Subject-Sequence). So receivers share nothing but the log, and two that race cannot both win.
- What is remembered of a site only saves a question. An append proves it by its condition; any other answer is given on what
  the log says now.
- A batch of the past that the log does not hold any more (it was booked and taken out, or is lost), or that its site was asked
  for, is logged once more, changes nothing of how its site stands, and is left to the books to place.
- The stream refuses when it is full (discard new), and forgets nothing by itself: one that would is not used.
- That an acknowledged batch outlives a power cut is the server's part: `sync_interval: always`, and replicas.

JetStream's window of message ids is no part of this: it only saves a message that the condition would refuse.
"""

from collections import OrderedDict
from decimal import Decimal

import msgspec
from nats.js import api
from nats.js.errors import APIError

from uplink.feed import Item
from uplink.receiver.placing import Append, Duplicate, Placement, asked
from uplink.receiver.storage import (
    Appended,
    Booked,
    EpochState,
    Exceptional,
    Incoming,
    ReadElsewhere,
    Room,
    SitesQuery,
    SiteState,
    Storage,
    StoredEvent,
    StoreUnavailable,
    Total,
    TotalsQuery,
)
from uplink.receiver.storage.jetstream_log import JetStreamLog
from uplink.receiver.storage.kv_documents import KvDocuments
from uplink.receiver.storage.logged import (
    Mark,
    advance,
    headers_of,
    is_beyond_memory,
    mark_of,
    message_id,
    placed,
    states,
    subject,
)
from uplink.receiver.storage.nats_place import OVERTAKEN, answered
from uplink.receiver.storage.outage import Outage

RACES_MAX = 20
"""Tries of one batch against other receivers. An agent sends one batch at a time, so one other try is what is seen."""
REMEMBERED_MAX = 20_000
"""Sites; about 1 KiB each."""

_Remembered = tuple[int, list[Mark]]
"""The number of a site's last message, 0 for none, and its marks."""


class JetStreamStore(KvDocuments):
    """`Store` and `Documents`. Sums and events are read from the `books`, the storage that the log is booked into."""

    def __init__(self, log: JetStreamLog, books: Storage | None) -> None:
        super().__init__(log.js, log.place)
        self.log = log
        self._books = books
        self._outage = Outage(log.place.shown)
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()

    @classmethod
    async def open(cls, url: str, books: Storage | None = None) -> "JetStreamStore":
        """Raises StoreUnavailable. Closing it closes `books`."""
        store = cls(await JetStreamLog.open(url), books)
        try:
            await store.ensure_bucket()
        except StoreUnavailable:
            await store.log.close()
            raise
        return store

    async def close(self) -> None:
        await self.log.close()
        if self._books is not None:
            await self._books.close()

    async def check(self) -> None:
        """Its books may be away meanwhile."""
        await self.log.check()
        await self.check_bucket()

    async def room(self) -> Room:
        return await self.log.room()

    async def append(self, incoming: Incoming) -> Appended:
        with self._outage.watched():
            return await self._append(incoming)

    async def _append(self, incoming: Incoming) -> Appended:
        appended = await self._append_to_remembered(incoming) or await self._append_to_read(
            incoming, message_id(incoming)
        )
        for _ in range(RACES_MAX):
            if appended is not None:
                return appended
            appended = await self._append_to_read(incoming, "")
        raise StoreUnavailable(f"{RACES_MAX} times another receiver was faster")

    async def _append_to_remembered(self, incoming: Incoming) -> Appended | None:
        """Only where it is the next batch by what is remembered: that the log proves or refuses."""
        remembered = self._remembered.pop(incoming.site, None)
        if remembered is None:
            return None
        seq, marks = remembered
        mark = mark_of(marks, incoming.head.epoch)
        if incoming.head.first != mark.acked_through + 1 or incoming.head.prev != mark.chain:
            return None
        return await self._publish(incoming, Append(), seq, marks, message_id(incoming))

    async def _append_to_read(self, incoming: Incoming, known_as: str) -> Appended | None:
        last = await self.log.last(incoming.site)
        seq, marks = (last.seq, last.marks) if last else (0, [])
        chains = await self._chains(incoming, marks)
        mark = mark_of(marks, incoming.head.epoch)
        beyond = is_beyond_memory(mark, incoming.head, chains)
        placement = Duplicate() if beyond else placed(mark, incoming, chains)
        if isinstance(placement, Append):
            return await self._publish(incoming, placement, seq, marks, known_as)
        if isinstance(placement, Duplicate) and (beyond or await self._is_wanted(incoming, mark)):
            return await self._publish(incoming, placement, seq, marks, "")
        self._remember(incoming.site, seq, marks)
        return _appended(incoming, placement, mark.acked_through)

    async def _is_wanted(self, incoming: Incoming, mark: Mark) -> bool:
        """Whether events that are logged are logged again: for books that lack some, or since the log itself does (what begins
        with the site's last batch it holds)."""
        head = incoming.head
        if head.last < head.first or head.lost:
            return False
        return incoming.mend or (head.first < mark.first and not await self.log.holds(incoming.site, head))

    async def _chains(self, incoming: Incoming, marks: list[Mark]) -> dict[int, bytes]:
        """As `placed` wants them; one that the log does not hold any more is left out."""
        epoch = incoming.head.epoch
        mark = mark_of(marks, epoch)
        chains = mark.chains()
        for number in asked(mark.acked_through, incoming.head) - chains.keys():
            holding = await self.log.holding(incoming.site, epoch, number)
            if holding and holding.head.epoch == epoch and (chain := holding.chain_at(number)):
                chains[number] = chain
        return chains

    async def _publish(
        self, incoming: Incoming, placement: Append | Duplicate, seq: int, marks: list[Mark], known_as: str
    ) -> Appended | None:
        """None where another message stands last by now, or where one of that id came within the window. That one may have
        been lost since: what the log says decides, and the next try goes without an id."""
        after = advance(marks, incoming, placement) if isinstance(placement, Append) else marks
        headers = headers_of(incoming, after) | {api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value: str(seq)}
        if known_as:
            headers[api.Header.MSG_ID.value] = known_as
        try:
            published = await answered(
                self.log.js.publish(subject(incoming.site), incoming.encoded, headers=headers),
                APIError,
            )
        except APIError as error:
            if error.err_code in OVERTAKEN:
                return None
            raise StoreUnavailable(str(error)) from error
        if published.duplicate:
            return None
        self._remember(incoming.site, published.seq, after)
        return _appended(incoming, placement, mark_of(after, incoming.head.epoch).acked_through)

    def _remember(self, site: str, seq: int, marks: list[Mark]) -> None:
        self._remembered[site] = (seq, marks)
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)

    async def epochs(self, site: str) -> list[EpochState]:
        """What was acknowledged, by the log; what was counted, by the books where there are any."""
        last = await self.log.last(site or "-")
        logged = states(last.marks) if last else []
        if self._books is None:
            return logged
        booked = {state.epoch: state for state in await self._books.epochs(site)}
        return [
            msgspec.structs.replace(
                state,
                counted=booked[state.epoch].counted if state.epoch in booked else 0,
                known=booked[state.epoch].known if state.epoch in booked else 0,
                rejected=booked[state.epoch].rejected if state.epoch in booked else 0,
            )
            for state in logged
        ]

    async def totals(self, query: TotalsQuery) -> list[Total]:
        return await self._read_from().totals(query)

    async def sites(self, query: SitesQuery) -> list[SiteState]:
        return await self._read_from().sites(query)

    async def events(self, site: str, after: int, limit: int) -> list[StoredEvent]:
        return await self._read_from().events(site, after, limit)

    async def batches(self, site: str, epoch: str, after: int, limit: int) -> list[Booked]:
        return await self._read_from().batches(site, epoch, after, limit)

    async def counted(self, after: int, limit: int) -> list[Item]:
        return await self._read_from().counted(after, limit)

    async def calls_by_hour(self, site: str, day: str) -> list[Decimal]:
        return await self._read_from().calls_by_hour(site, day)

    async def newest(self) -> int:
        return await self._read_from().newest()

    def _read_from(self) -> Storage:
        if self._books is None:
            raise ReadElsewhere("a log is read where it is booked: give --books")
        return self._books


def _appended(incoming: Incoming, placement: Placement, acked_through: int) -> Appended:
    """A duplicate is the same content, by its chain: so it is refused for the same reasons as the first time."""
    if not isinstance(placement, Append | Duplicate):
        return Appended(placement=placement, acked_through=acked_through)
    head = incoming.head
    exceptions = [
        Exceptional(seq=event.seq, status="rejected", code=event.refused, message=event.message)
        for event in incoming.events
        if event.refused
    ]
    if head.withheld:
        exceptions.append(
            Exceptional(seq=head.first, status="rejected", code=head.withheld, message="withheld at the site")
        )
    counted = 0
    if isinstance(placement, Append):
        counted = sum(not event.refused for event in incoming.events[placement.skip :])
    return Appended(
        placement=placement, acked_through=max(head.last, head.first - 1), counted=counted, exceptions=exceptions
    )
