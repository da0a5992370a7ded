"""Out of the log, into the books: what `pegcount receiver --consume` does.

Laws
- A message is acknowledged to the log when what it holds is in the books, and never before. Everything may come twice: the
  books place each batch themselves, by number and chain, and take nothing a second time.
- A site's batches are booked in order, sites side by side. A batch that comes before its turn (a redelivery, another
  consumer, books that were restored from a backup) has those before it read from the log first.
- What the log has lost is said, once a site, and what follows is not held up for other sites: document `unbooked`.
- Books that are away are waited for, with what was taken in hand.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext, api

from uplink.batch import BatchError
from uplink.receiver import repair
from uplink.receiver.placing import Conflict, Gap, Placement
from uplink.receiver.storage import Documents, Incoming, Store, StoreUnavailable, in_words
from uplink.receiver.storage.clickhouse import ClickHouseBooks
from uplink.receiver.storage.jetstream import JetStreamStore
from uplink.receiver.storage.jetstream_log import JetStreamLog
from uplink.receiver.storage.logged import Logged, read
from uplink.receiver.storage.opening import open_books
from uplink.receiver.storage.outage import Outage

log = logging.getLogger(__name__)

KIND = "unbooked"
TAKEN_MAX = 64
"""Messages in hand, each at most 8 MiB when it is open."""
WAIT_S = 5.0
GATHER_S = 0.05
ACK_WAIT_S = 60.0
"""Longer than the books may take for what is in hand: else the log gives it to another consumer as well."""
PENDING_MAX = 1024
RETRY_MIN_S, RETRY_MAX_S = 0.5, 30.0

_T = TypeVar("_T")


class Books(Protocol):
    """Where batches are booked: again and again, if need be, with the same result."""

    async def book(self, batches: list[Incoming]) -> list[Placement]:
        """Durable on return; in order for each site. Raises StoreUnavailable, then any of them may be booked."""

    async def close(self) -> None: ...


class StoreBooks:
    """A storage as books. It places each batch itself. `documents`: where what was mended is noted."""

    def __init__(self, store: Store, documents: Documents) -> None:
        self._store = store
        self._documents = documents

    async def close(self) -> None:
        await self._store.close()

    async def book(self, batches: list[Incoming]) -> list[Placement]:
        placements: dict[int, Placement] = {}
        by_site: dict[str, list[int]] = defaultdict(list)
        for number, batch in enumerate(batches):
            by_site[batch.site].append(number)

        async def of_site(numbers: list[int]) -> None:
            for number in numbers:
                appended = await repair.append(self._store, batches[number], self._documents)
                placements[number] = appended.placement

        await asyncio.gather(*(of_site(numbers) for numbers in by_site.values()))
        return [placements[number] for number in range(len(batches))]


class Unbooked(Struct, frozen=True, kw_only=True):
    """The first batch of a site that the books could not place, and why."""

    site: str
    epoch: str
    first: int
    last: int
    message: int
    why: str


class Consumer:
    """Books the log for ever, under the durable name `name`. `trim`: take what is booked out of the log, but for each site's
    last message; right where nobody else consumes it."""

    def __init__(
        self,
        origin: JetStreamLog,
        books: Books,
        documents: Documents,
        name: str = "books",
        trim: bool = False,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._origin = origin
        self._books = books
        self._documents = documents
        self._name = name
        self._trim = trim
        self._sleep = sleep
        self._outage = Outage("the log, or what it is booked into,")
        self._in_hand: list[Msg] = []

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            subscription = await self._patiently(self._subscribe)
            try:
                while True:
                    await self._take(await _fetched(subscription))
            except (StoreUnavailable, NatsError, OSError) as error:
                self._outage.begins(in_words(error))
                await self._sleep(RETRY_MIN_S)
            finally:
                self._in_hand = []
                with contextlib.suppress(NatsError, OSError):
                    await subscription.unsubscribe()

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        wanted = api.ConsumerConfig(
            ack_policy=api.AckPolicy.EXPLICIT,
            deliver_policy=api.DeliverPolicy.ALL,
            ack_wait=ACK_WAIT_S,
            max_ack_pending=PENDING_MAX,
        )
        return await self._origin.js.pull_subscribe("m.*.*", self._name, self._origin.place.stream, wanted)

    async def _take(self, messages: list[Msg]) -> None:
        """Book them, then acknowledge them."""
        self._in_hand = messages
        entries = await asyncio.to_thread(_opened, messages)
        batches = [batch for _, batch in entries]
        placements = await self._patiently(lambda: self._books.book(batches))
        for (logged, batch), placement in zip(entries, placements, strict=True):
            if isinstance(placement, Gap | Conflict):
                await self._out_of_turn(logged, batch)
        for message in messages[:-1]:
            await message.ack()
        for message in messages[-1:]:
            await message.ack_sync()
        self._in_hand = []
        if self._trim and entries:
            await self._forget({logged.site: logged.seq for logged, _ in entries})

    async def _forget(self, booked: dict[str, int]) -> None:
        """Of each site what is before its message, and before the first that any consumer of this name still has in hand."""
        info = await self._origin.js.consumer_info(self._origin.place.stream, self._name)
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        for site, seq in booked.items():
            await self._origin.forget_before(site, min(seq, floor + 1))

    async def _out_of_turn(self, logged: Logged, batch: Incoming) -> None:
        """Book what must come before, from the log, and then the batch."""
        placement = await self._book_one(batch)
        if isinstance(placement, Gap):
            await self._book_before(logged, placement.expected)
            placement = await self._book_one(batch)
        if isinstance(placement, Gap) or (isinstance(placement, Conflict) and not _is_heartbeat(batch)):
            await self._tell(logged, placement)

    async def _book_before(self, logged: Logged, expected: int) -> None:
        """What the log has of the site from `expected` on until `logged`."""
        epoch, site = logged.head.epoch, logged.site
        found = await self._patiently(lambda: self._origin.holding(site, epoch, expected))
        while found is not None and found.seq < logged.seq:
            await self._book_one(msgspec.structs.replace(found.incoming(), mend=logged.mend))
            found = await self._following(site, found.seq + 1)

    async def _following(self, site: str, seq: int) -> Logged | None:
        return await self._patiently(lambda: self._origin.next(site, seq))

    async def _book_one(self, batch: Incoming) -> Placement:
        await self._hold()
        return (await self._patiently(lambda: self._books.book([batch])))[0]

    async def _tell(self, logged: Logged, placement: Gap | Conflict) -> None:
        why = placement.detail if isinstance(placement, Conflict) else f"the log has lost event {placement.expected}"
        told = Unbooked(
            site=logged.site,
            epoch=logged.head.epoch,
            first=logged.head.first,
            last=logged.head.last,
            message=logged.seq,
            why=why,
        )
        body = msgspec.json.encode(told)
        if await self._patiently(lambda: self._documents.put(KIND, logged.site, body, 0)) is not None:
            log.error("site %s cannot be booked from message %d on: %s", logged.site, logged.seq, why)

    async def _patiently(self, ask: Callable[[], Awaitable[_T]]) -> _T:
        """Ask until it is answered."""
        wait_s = RETRY_MIN_S
        while True:
            try:
                answer = await ask()
            except (StoreUnavailable, NatsError, OSError) as error:
                self._outage.begins(in_words(error))
            else:
                self._outage.ends()
                return answer
            await self._sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MAX_S)
            await self._hold()

    async def _hold(self) -> None:
        """The log is told that what is in hand still is."""
        for message in self._in_hand:
            await message.in_progress()


def _is_heartbeat(batch: Incoming) -> bool:
    """Behind later events it seems to be of a ledger that went back. But it was placed when it was logged: it comes again."""
    return batch.head.last < batch.head.first


async def _fetched(subscription: JetStreamContext.PullSubscription) -> list[Msg]:
    """What there is, soon after the first of it came: a fetch of many waits for all of them, or until its time is over."""
    try:
        messages = await subscription.fetch(1, timeout=WAIT_S)
    except TimeoutError:
        return []
    try:
        return messages + await subscription.fetch(TAKEN_MAX - 1, timeout=GATHER_S)
    except TimeoutError:
        return messages


def _opened(messages: list[Msg]) -> list[tuple[Logged, Incoming]]:
    """Without what no receiver can have put there."""
    entries = []
    for message in messages:
        seq = message.metadata.sequence.stream
        try:
            logged = read(seq, message.headers, message.data)
            entries.append((logged, logged.incoming()))
        except BatchError as error:
            log.error("message %d of the log is passed over: %s", seq, error)
    return entries


class Booking(Struct, frozen=True, kw_only=True):
    """What is booked: `origin` (a log's URL) into `into` (as `open_books` takes it, or `clickhouse://`), under the
    name `name`."""

    origin: str
    into: str
    name: str = "books"
    trim: bool = False


async def _open_books(into: str, documents: Documents) -> Books:
    if into.startswith(("clickhouse://", "clickhouses://")):
        return await ClickHouseBooks.open(into)
    return StoreBooks(await open_books(into, alone=True), documents)


@contextlib.asynccontextmanager
async def booking(settings: Booking) -> AsyncIterator["asyncio.Task[None]"]:
    """Within it, a consumer runs, as the task that is given. Raises StoreUnavailable where log or books cannot be opened."""
    log_store = await JetStreamStore.open(settings.origin)
    try:
        books = await _open_books(settings.into, log_store)
        try:
            consumer = Consumer(log_store.log, books, log_store, settings.name, settings.trim)
            async with running(consumer) as task:
                yield task
        finally:
            await books.close()
    finally:
        await log_store.close()


@contextlib.asynccontextmanager
async def running(consumer: Consumer) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(consumer.run(), name="consumer")
    try:
        yield task
    finally:
        # Again, if need be: a wait that ends as it is cancelled may lose that (asyncio.wait_for before Python 3.12).
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.5)
