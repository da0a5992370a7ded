"""The roster as the store has it: gathered when somebody looks, kept for the next look.

Laws
- One who looks gets the list that stands, if it is less than STALE_MS old; one older than FRESH_MS is made anew meanwhile. So a
  page waits for nothing but the first look after a pause.
- Nothing is gathered while nobody looks, and once at a time. What takes the processor is done in a thread.
"""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec
from msgspec import Struct

from uplink.receiver import seen
from uplink.receiver.fleet import roster
from uplink.receiver.fleet.roster import Roster
from uplink.receiver.fleet.verdict import Known
from uplink.receiver.seen import Seen
from uplink.receiver.storage import Document, Documents, StoreUnavailable

FRESH_MS = 5000
"""Sightings are written as often."""
STALE_MS = 60_000
AT_ONCE = 1000
NAME = "site_name"
"""Documents by site: what the operators call it."""
NAME_MAX_CHARS = 80


class SiteName(Struct, frozen=True):
    name: str


class Gathering:
    def __init__(self, documents: Documents, clock_ms: Callable[[], int]) -> None:
        self._documents = documents
        self._clock_ms = clock_ms
        self._stands: Roster | None = None
        self._making: asyncio.Task[Roster] | None = None

    async def roster(self) -> Roster:
        """Raises StoreUnavailable."""
        age_ms = self._clock_ms() - self._stands.made_ms if self._stands else STALE_MS
        if self._stands and 0 <= age_ms < FRESH_MS:
            return self._stands
        making = self.prepare()
        if self._stands and 0 <= age_ms < STALE_MS and not making.done():
            return self._stands
        # One who goes away while he waits must not end it for the others.
        return await asyncio.shield(making)

    def prepare(self) -> "asyncio.Task[Roster]":
        """Begin to make it, if nobody does."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make(), name="fleet roster")
            self._making.add_done_callback(_heard)
        return self._making

    def forget(self) -> None:
        """Something that it shows was changed here."""
        self._stands = None

    async def one(self, site: str) -> Known | None:
        """What is known of one site, now; None for one that is none. Raises StoreUnavailable."""
        document, name = await self._documents.get(seen.KIND, site), await self._documents.get(NAME, site)
        if document is None:
            return None
        return Known(site=site, name=_name(name) if name else "", seen=seen.read(document.body))

    async def call(self, site: str, name: str) -> None:
        """The operators' name of a site; an empty one takes it away. Raises StoreUnavailable."""
        if name:
            await self._documents.put(NAME, site, msgspec.json.encode(SiteName(name[:NAME_MAX_CHARS])))
        else:
            await self._documents.delete(NAME, site)
        self.forget()

    async def close(self) -> None:
        if self._making is not None:
            self._making.cancel()
            with contextlib.suppress(asyncio.CancelledError, StoreUnavailable):
                await self._making

    async def _make(self) -> Roster:
        now_ms = self._clock_ms()
        heard, names = await self._all(seen.KIND), await self._all(NAME)
        self._stands = await asyncio.to_thread(_made, heard, names, now_ms)
        return self._stands

    async def _all(self, kind: str) -> list[Document]:
        found: list[Document] = []
        while page := await self._documents.listed(kind, found[-1].key if found else "", AT_ONCE):
            found += page
        return found


def _heard(task: "asyncio.Task[Roster]") -> None:
    """A failure that nobody waited for is told by the next look."""
    if not task.cancelled():
        task.exception()


def _made(heard: list[Document], names: list[Document], now_ms: int) -> Roster:
    called = {each.key: _name(each) for each in names}
    sightings: dict[str, Seen] = {each.key: seen.read(each.body) for each in heard}
    return roster.made(
        (Known(site=site, name=called.get(site, ""), seen=each) for site, each in sightings.items()), now_ms
    )


def _name(document: Document) -> str:
    return msgspec.json.decode(document.body, type=SiteName).name
