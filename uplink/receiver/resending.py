"""`Please send again from number n on`: what an operator asks of a site, and how far that has come. A document of kind `resend`
per site.

For a platform that wants its copy proved anew against the site's, event by event: after a repair, a move, a doubt. What a
store lacks at its end after it was restored from an older copy comes without this: a gap is answered with the next number.

Laws
- It is told in the answer 200 to any batch of the epoch that does not go on where it has come to, until the site has sent
  everything up to what is new. It holds over crashes at both ends.
- What comes again is placed like any batch: the same is a duplicate and counted once, anything else is a conflict. What the
  store lacks of it meanwhile comes back (`repair`).
- A store that cannot note how far it came holds up no answer: what was noted last is asked for again.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import msgspec
from aiohttp import web
from msgspec import Struct

from uplink.batch import Head
from uplink.receiver import acts
from uplink.receiver.acts import Act
from uplink.receiver.answers import Refused, granted_site, json_answer, only, whole_body
from uplink.receiver.mending import SPAN_MAX
from uplink.receiver.placing import Append, Conflict, Gap, Placement
from uplink.receiver.storage import ANY, Document, Storage, StoreUnavailable
from uplink.receiver.tokens import Tokens, named, operator_of

log = logging.getLogger(__name__)

KIND = "resend"
READ_EVERY_S = 5.0
"""How soon this receiver knows what was asked of another one over the same store."""
READ_PAGE = 1000
BODY_MAX_BYTES = 4096
BODY_TIMEOUT_S = 15.0


class Resend(Struct, frozen=True, kw_only=True, rename={"first": "from"}):
    """Events of `epoch` from number `first` on, where a batch began; those before `next` have come again."""

    epoch: str
    first: int
    next: int
    asked_ms: int


class _Wanted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"first": "from"}):
    epoch: str
    first: int


class Resending:
    def __init__(self, store: Storage, tokens: Tokens, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._tokens = tokens
        self._clock_ms = clock_ms
        self._standing: dict[str, Resend] = {}

    # --- what operators ask

    async def ask(self, site: str, epoch: str, first: int, who: str) -> Resend:
        """Raises Refused, and StoreUnavailable."""
        epochs = {each.epoch: each.acked_through for each in await self._store.epochs(site)}
        if not 1 <= first <= epochs.get(epoch, 0):
            raise Refused("bad_request", "from must be the number of an event of this epoch that is here")
        began = await self._where_it_began(site, epoch, first)
        asked = Resend(epoch=epoch, first=began, next=began, asked_ms=self._clock_ms())
        await self._store.put(KIND, site, msgspec.json.encode(asked))
        self._standing[site] = asked
        await self._note(site, who, "resend", f"from {first} of {epoch}")
        return asked

    async def _where_it_began(self, site: str, epoch: str, number: int) -> int:
        """The first number of the batch that `number` came with: the store knows the chain before it, so that what comes
        again can be proved."""
        try:
            before = await self._store.batches(site, epoch, max(0, number - 1 - SPAN_MAX), SPAN_MAX)
        except StoreUnavailable:  # a log without books: it keeps batches as they came
            return number
        return max((batch.last + 1 for batch in before if batch.last < number), default=1)

    async def asked(self, site: str) -> Resend | None:
        """What stands. Raises StoreUnavailable."""
        document = await self._store.get(KIND, site)
        return _read(document) if document else None

    async def withdraw(self, site: str, who: str) -> None:
        """Raises StoreUnavailable."""
        self._standing.pop(site, None)
        if await self._store.delete(KIND, site):
            await self._note(site, who, "resend_withdrawn")

    async def _note(self, site: str, who: str, what: str, detail: str = "") -> None:
        await acts.note(self._store, Act(site=site, at_ms=self._clock_ms(), who=who, what=what, detail=detail))

    def _asking(self, request: web.Request) -> tuple[str, str]:
        """The site, and who asks. Raises Refused."""
        only(request)
        authorization = request.headers.get("Authorization", "")
        return granted_site(request, operator_of(self._tokens, authorization)), named(authorization)

    async def post(self, request: web.Request) -> web.StreamResponse:
        site, who = self._asking(request)
        wanted = await _wanted(request)
        return _told(site, await self.ask(site, wanted.epoch, wanted.first, who))

    async def get(self, request: web.Request) -> web.StreamResponse:
        site, _ = self._asking(request)
        return _told(site, await self.asked(site))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        site, who = self._asking(request)
        await self.withdraw(site, who)
        return _told(site, None)

    # --- what sites are told

    def stands(self, site: str, epoch: str) -> bool:
        """Whether this site is asked to send events of this epoch again."""
        asked = self._standing.get(site)
        return asked is not None and asked.epoch == epoch

    async def hint(self, site: str, head: Head, placement: Placement) -> int:
        """The number from which this site is to go on, 0 where it may do as it does."""
        asked = self._standing.get(site)
        if asked is None or asked.epoch != head.epoch or isinstance(placement, Gap | Conflict):
            return 0
        if head.first > asked.next:
            return asked.next
        try:
            await self._progress(site, asked, head, done=isinstance(placement, Append))
        except StoreUnavailable as error:
            log.debug("how far %s has sent again is not noted: %s", site, error)
        return 0

    async def _progress(self, site: str, asked: Resend, head: Head, *, done: bool) -> None:
        if done:
            self._standing.pop(site)
            await self._store.delete(KIND, site)
        elif head.last >= asked.next:
            further = msgspec.structs.replace(asked, next=head.last + 1)
            self._standing[site] = further
            await self._store.put(KIND, site, msgspec.json.encode(further), ANY)

    # --- what other receivers were asked

    async def background(self, _app: web.Application) -> AsyncIterator[None]:
        """Part of the application's life: knows what is asked before the first batch comes."""
        await self._refresh()
        task = asyncio.create_task(self._follow(), name="resending")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(READ_EVERY_S)
            await self._refresh()

    async def _refresh(self) -> None:
        found: dict[str, Resend] = {}
        after = ""
        try:
            while page := await self._store.listed(KIND, after, READ_PAGE):
                found.update((each.key, _read(each)) for each in page)
                after = page[-1].key
        except StoreUnavailable as error:
            log.debug("what is asked of sites is not known anew: %s", error)
            return
        self._standing = found


def _told(site: str, asked: Resend | None) -> web.Response:
    return json_answer({"site": site, "replay": asked})


def _read(document: Document) -> Resend:
    return msgspec.json.decode(document.body, type=Resend)


async def _wanted(request: web.Request) -> _Wanted:
    body = await whole_body(request, BODY_MAX_BYTES, BODY_TIMEOUT_S)
    try:
        return msgspec.json.decode(body, type=_Wanted)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Refused("bad_request", str(error)) from None
