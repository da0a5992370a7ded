"""The roster as the store has it: gathered when somebody looks, kept for the next look.

Laws
- One who looks gets the list that stands, if it is less than STALE_MS old; one older than FRESH_MS is made anew meanwhile. So a
  page waits for nothing but the first look after a pause.
- Nothing is gathered while nobody looks, and once at a time. What takes the processor is done in a thread, which lets others
  run after every few sites; and it takes at most one part in REST of the time, however many sites there are.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

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
REST = 10
"""A list that took a second to make stands for ten."""
BREATH_SITES = 200
"""Two milliseconds' work; else the interpreter lets others wait for five each time that they need it."""
AT_ONCE = 5000
NAME = "site_name"
"""Documents by site: what the operators call it."""
NAME_MAX_CHARS = 80


T = TypeVar("T")


class SiteName(Struct, frozen=True):
    name: str


class _Enrolled(Struct, frozen=True):
    """Of an agent's key: which site it is for, and whether it may report."""

    key: str
    site: str
    state: agents.State


_enrolled = msgspec.json.Decoder(_Enrolled).decode


class _Gathered(Struct, frozen=True):
    heard: list[Document]
    names: list[Document]
    keys: list[Document]
    states: list[SiteState]


class Fleet(Struct, frozen=True):
    """`keys`: of each site that has any, the ids of its keys."""

    roster: Roster
    keys: Mapping[str, list[str]]


class Gathering:
    def __init__(self, store: Storage, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._stands: Fleet | None = None
        self._making: asyncio.Task[Fleet] | None = None
        self._fresh_ms = FRESH_MS

    async def roster(self) -> Roster:
        """Raises StoreUnavailable."""
        return (await self._fleet()).roster

    async def _fleet(self) -> Fleet:
        stands = self._stands
        age_ms = self._clock_ms() - stands.roster.made_ms if stands else -1
        if stands and 0 <= age_ms < self._fresh_ms:
            return stands
        making = self.prepare()
        if stands and 0 <= age_ms < max(STALE_MS, 2 * self._fresh_ms) and not making.done():
            return stands
        # One who goes away while he waits must not end it for the others.
        return await asyncio.shield(making)

    def prepare(self) -> "asyncio.Task[Fleet]":
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
            lost=sum(each.lost for each in epochs),
        )

    async def keys(self, site: str) -> list[str]:
        """Ids of its keys. Raises StoreUnavailable."""
        return (await self._fleet()).keys.get(site, [])

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

    async def _make(self) -> Fleet:
        now_ms, began_s = self._clock_ms(), time.monotonic()
        gathered = _Gathered(
            heard=await self._all(seen.KIND),
            names=await self._all(NAME),
            keys=await self._all(agents.KIND),
            states=await self._states(),
        )
        made = await asyncio.to_thread(_made, gathered, now_ms)
        if self._making is asyncio.current_task():
            self._stands = made
            self._fresh_ms = max(FRESH_MS, round((time.monotonic() - began_s) * 1000) * REST)
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


def _heard(task: "asyncio.Task[Fleet]") -> None:
    """A failure that nobody waited for is told by the next look."""
    if not task.cancelled():
        task.exception()


def _made(gathered: _Gathered, now_ms: int) -> Fleet:
    keys = [_enrolled(each.body) for each in _breathing(gathered.keys)]
    of_site: dict[str, list[str]] = {}
    for each in keys:
        of_site.setdefault(each.site, []).append(each.key)
    may_report = {each.site for each in keys if each.state in ("new", "active")}
    return Fleet(roster.made(_breathing(_known(gathered, may_report)), now_ms, _breathing), of_site)


def _breathing(items: Iterable[T]) -> Iterator[T]:
    for number, item in enumerate(items):
        if number % BREATH_SITES == 0:
            time.sleep(0)
        yield item


def _known(gathered: _Gathered, enrolled: set[str]) -> Iterator[Known]:
    """Every site that was heard, of which something is stored, or that has a key that may report."""
    names = {each.key: _name(each) for each in gathered.names}
    heard = {each.key: seen.read(each.body) for each in _breathing(gathered.heard)}
    states = {state.site: state for state in gathered.states}
    for state in gathered.states:
        heard.setdefault(state.site, _as_seen(state.site, state))
    for site in heard.keys() | enrolled:
        stored = states.get(site)
        yield Known(
            site=site,
            name=names.get(site, ""),
            seen=heard.get(site),
            breaks=stored.broken if stored else 0,
            lost=stored.lost if stored else 0,
        )


def _as_seen(site: str, state: SiteState | EpochState) -> Seen:
    """Of a site whose sighting was lost: the store has it all the same, but for what the agent said."""
    return Seen(
        site=site, seen_ms=state.seen_ms, epoch=state.epoch, acked_through=state.acked_through, skew_ms=state.skew_ms
    )


def _name(document: Document) -> str:
    return msgspec.json.decode(document.body, type=SiteName).name
