"""Keys of agents, as the platform knows them: documents of kind `agent` by key id, and of kind `holder` by site.

A key is `new` when it was registered, `active` once it was used, `retired` when another one was used in its place, and
`revoked` where an operator said so.

Laws
- A site has one active key. A new one takes over when it is first used, and not before: until then the old one goes on, so that
  an answer that was lost locks nobody out.
- A key takes over only from the key that held the site when it was registered. One that was overtaken stays outside.
- Every step can be made again: a receiver that dies between two of them, or two receivers at once, end in the same state.
- What is known of a key may be CACHE_S old; so long can a revocation take.
"""

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Literal

import msgspec
from msgspec import Struct

from uplink.receiver.storage import Document, Documents

KIND, HOLDER = "agent", "holder"
CACHE_S = 5.0
CACHE_MAX = 50_000
"""About 30 MB; twice the sites that one receiver should serve. Beyond it the whole is forgotten, and read again."""

SHOWN_MAX, READ_MAX = 20, 200
"""Of one site: a key a year is a careful provider's. A site that makes keys without end is shown some of them."""

State = Literal["new", "active", "retired", "revoked"]
_STATES: tuple[State, ...] = ("active", "new", "retired", "revoked")


class AgentKey(Struct, frozen=True, kw_only=True):
    """`replaces`: the key that held the site when this one was registered, or empty. `token`: SHA-256 of the enrolment token.
    `changed_ms`: when its state changed last. `wished_ms`: since when an operator wishes another key in its place; 0: none
    does."""

    key: str
    agent: str
    site: str
    provider: str
    public: bytes
    state: State = "new"
    enrolled_ms: int = 0
    changed_ms: int = 0
    replaces: str = ""
    token: str = ""
    version: str = ""
    machine: str = ""
    wished_ms: int = 0

    @property
    def is_wished_away(self) -> bool:
        return self.wished_ms > 0 and self.state in ("new", "active")


class Holder(Struct, frozen=True, kw_only=True):
    """Which key holds a site."""

    key: str


class Agents:
    """Reading and changing them, over the store's documents."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._cache: dict[str, tuple[float, AgentKey]] = {}

    async def find(self, key: str) -> AgentKey | None:
        """At most CACHE_S old."""
        now_s = time.monotonic()
        known = self._cache.get(key)
        if known and now_s < known[0]:
            return known[1]
        found = await self.read(key)
        if found is None:
            self._cache.pop(key, None)
            return None
        if len(self._cache) >= CACHE_MAX:
            self._cache.clear()
        self._cache[key] = (now_s + CACHE_S, found)
        return found

    async def read(self, key: str) -> AgentKey | None:
        document = await self._documents.get(KIND, key)
        return _read(document) if document else None

    async def of_site(self, site: str, ids: Iterable[str]) -> list[AgentKey]:
        """Those of `ids`, and the one that holds the site, as they stand; SHOWN_MAX at most: those that may report first, then
        the newest."""
        found = [await self.read(each) for each in {*islice(ids, READ_MAX), await self.holder(site)} if each]
        keys = [each for each in found if each is not None and each.site == site]
        return sorted(keys, key=lambda each: (_STATES.index(each.state), -each.enrolled_ms, each.key))[:SHOWN_MAX]

    async def holder(self, site: str) -> str:
        """The key that holds a site, or empty."""
        document = await self._documents.get(HOLDER, site)
        return msgspec.json.decode(document.body, type=Holder).key if document else ""

    async def register(self, key: AgentKey) -> AgentKey:
        """What stands under its id afterwards: this, or what stood there before."""
        await self._documents.put(KIND, key.key, msgspec.json.encode(key), 0)
        standing = await self.read(key.key)
        return standing or key

    async def take_up(self, key: AgentKey, now_ms: int) -> bool:
        """A new key is used for the first time: it takes over from the one before. False where that was overtaken."""
        document = await self._documents.get(HOLDER, key.site)
        holder = msgspec.json.decode(document.body, type=Holder).key if document else ""
        if holder not in (key.replaces, key.key):
            return False
        if holder and holder != key.key:
            await self.change(holder, "retired", now_ms, ("new", "active"))
        revision = document.revision if document else 0
        if await self._documents.put(HOLDER, key.site, msgspec.json.encode(Holder(key=key.key)), revision) is None:
            return await self.holder(key.site) == key.key
        await self.change(key.key, "active", now_ms, ("new",))
        return True

    async def change(self, key: str, state: State, now_ms: int, of: tuple[State, ...] | None = None) -> AgentKey | None:
        """Give a key another state, where it has one of `of` (None: whatever it has). None where it is not known."""

        def changed(standing: AgentKey) -> AgentKey:
            if standing.state == state or (of is not None and standing.state not in of):
                return standing
            return msgspec.structs.replace(standing, state=state, changed_ms=now_ms)

        return await self._changed(key, changed)

    async def wish_another(self, key: str, now_ms: int) -> AgentKey | None:
        """Its machine is asked to make another one, with each answer to a batch. None where it is not known."""
        return await self._changed(key, lambda standing: msgspec.structs.replace(standing, wished_ms=now_ms))

    async def _changed(self, key: str, change: Callable[[AgentKey], AgentKey]) -> AgentKey | None:
        while True:
            document = await self._documents.get(KIND, key)
            if document is None:
                return None
            standing = _read(document)
            changed = change(standing)
            if changed == standing:
                return standing
            if await self._documents.put(KIND, key, msgspec.json.encode(changed), document.revision) is not None:
                self._cache.pop(key, None)
                return changed


def _read(document: Document) -> AgentKey:
    return msgspec.json.decode(document.body, type=AgentKey)
