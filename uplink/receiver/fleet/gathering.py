"""The roster as the store has it: gathered when somebody looks, kept for the next look.

Laws
- One who looks gets the list that stands, if it is less than STALE_MS old; one older than FRESH_MS is made anew meanwhile. So a
  page waits for nothing but the first look after a pause.
- Nothing is gathered while nobody looks, and once at a time. What takes the processor is done in a thread.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Struct

from uplink.receiver import agents, seen
from uplink.receiver.answers import is_site
from uplink.receiver.fleet import roster
from uplink.receiver.fleet.roster import Roster
from uplink.receiver.fleet.verdict import Known
from uplink.receiver.seen import Seen
from uplink.receiver.storage import Document, EpochState, SitesQuery, SiteState, Storage, StoreUnavailable

FRESH_MS = 5000
"""Sightings are written as often."""
STALE_MS = 60_000
AT_ONCE = 1000
NAME = "site_name"
"""Documents by site: what the operators call it."""
NAME_MAX_CHARS = 80


class SiteName(Struct, frozen=True):
    name: str


class _Enrolled(Struct, frozen=True):
    """Of an agent's key: which site it is for, and whether it may report."""

    site: str
    state: agents.State


class _Gathered(Struct, frozen=True):
    heard: list[Document]
    names: list[Document]
    keys: list[Document]
    states: list[SiteState]


class Gathering:
    def __init__(self, store: Storage, clock_ms: Callable[[], int]) -> None:
        self._store = store
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
        """Something that it shows was changed here: what is being made may not have it yet."""
        self._stands = self._making = None

    async def one(self, site: str) -> Known | None:
        """What is known of one site, now; None for one that is none. Raises StoreUnavailable."""
        if not is_site(site):
            return None
        heard, name = await self._store.get(seen.KIND, site), await self._store.get(NAME, site)
        epochs = await self._store.epochs(site)
        if not heard and not epochs:
            listed = (await self.roster()).orders["site"]
            return next((each.known for each in listed if each.known.site == site), None)
        return Known(
            site=site,
            name=_name(name) if name else "",
            seen=seen.read(heard.body) if heard else _as_seen(site, epochs[-1]),
            breaks=sum(each.continues in ("no", "unnamed") for each in epochs),
        )

    async def call(self, site: str, name: str) -> None:
        """The operators' name of a site; an empty one takes it away. Raises StoreUnavailable."""
        if name:
            await self._store.put(NAME, site, msgspec.json.encode(SiteName(name[:NAME_MAX_CHARS])))
        else:
            await self._store.delete(NAME, site)
        self.forget()

    async def close(self) -> None:
        if self._making is not None:
            self._making.cancel()
            with contextlib.suppress(asyncio.CancelledError, StoreUnavailable):
                await self._making

    async def _make(self) -> Roster:
        now_ms = self._clock_ms()
        gathered = _Gathered(
            heard=await self._all(seen.KIND),
            names=await self._all(NAME),
            keys=await self._all(agents.KIND),
            states=await self._states(),
        )
        made = await asyncio.to_thread(lambda: roster.made(_known(gathered), now_ms))
        if self._making is asyncio.current_task():
            self._stands = made
        return made

    async def _states(self) -> list[SiteState]:
        found: list[SiteState] = []
        while page := await self._store.sites(SitesQuery(after=found[-1].site if found else "", limit=AT_ONCE)):
            found += page
        return found

    async def _all(self, kind: str) -> list[Document]:
        found: list[Document] = []
        while page := await self._store.listed(kind, found[-1].key if found else "", AT_ONCE):
            found += page
        return found


def _heard(task: "asyncio.Task[Roster]") -> None:
    """A failure that nobody waited for is told by the next look."""
    if not task.cancelled():
        task.exception()


def _known(gathered: _Gathered) -> Iterator[Known]:
    """Every site that was heard, of which something is stored, or that has a key that may report."""
    names = {each.key: _name(each) for each in gathered.names}
    heard = {each.key: seen.read(each.body) for each in gathered.heard}
    breaks: dict[str, int] = {}
    for state in gathered.states:
        breaks[state.site] = state.broken
        heard.setdefault(state.site, _as_seen(state.site, state))
    keys = (msgspec.json.decode(each.body, type=_Enrolled) for each in gathered.keys)
    enrolled = {each.site for each in keys if each.state in ("new", "active")}
    for site in heard.keys() | enrolled:
        yield Known(site=site, name=names.get(site, ""), seen=heard.get(site), breaks=breaks.get(site, 0))


def _as_seen(site: str, state: SiteState | EpochState) -> Seen:
    """Of a site whose sighting was lost: the store has it all the same, but for what the agent said."""
    return Seen(
        site=site, seen_ms=state.seen_ms, epoch=state.epoch, acked_through=state.acked_through, skew_ms=state.skew_ms
    )


def _name(document: Document) -> str:
    return msgspec.json.decode(document.body, type=SiteName).name
