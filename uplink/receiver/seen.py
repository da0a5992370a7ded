"""When each site was last heard, and what its agent said of itself then: a document of kind `seen` per site.

Laws
- It is noted after a batch was decided upon, written some seconds later, all sites at once, and may be lost in a crash: the
  next heartbeat says it again. Nothing is decided by it.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Literal

import msgspec
from aiohttp import web
from msgspec import Struct

from uplink.clocks import WRONG_MS
from uplink.receiver.storage import Documents, StoreUnavailable
from uplink.status import AgentStatus

log = logging.getLogger(__name__)

KIND = "seen"
WRITE_EVERY_S = 5.0
"""A page that is looked at by people needs no more; a busy receiver writes each site at most so often."""

AT_ONCE = 500
"""Sites in one write: some milliseconds, in which batches wait."""
ENDS_MAX = 100_000
"""Sites of which it is remembered where their ledgers end; of others that is read again. Some 20 MB."""


class Seen(Struct, frozen=True, kw_only=True, gc=False):
    """`skew_ms`: the site's clock minus the platform's. `status` is None where the agent said nothing of itself.
    `refused`: `gap` or `conflict` where the last batch was none that could be placed. `by`: the key that spoke, or `token` or
    `certificate`. `refused_since_ms`, `wrong_since_ms`: since when it has been refused so, and its clock has been wrong.
    `end`: where its ledger ended, by its head; `cut`: by how many events it ended earlier than a head before had said."""

    site: str
    seen_ms: int
    epoch: str
    acked_through: int
    skew_ms: int
    status: AgentStatus | None = None
    refused: Literal["", "gap", "conflict"] = ""
    by: str = ""
    refused_since_ms: int = 0
    wrong_since_ms: int = 0
    end: int = 0
    cut: int = 0

    def has_wrong_clock(self) -> bool:
        return abs(self.skew_ms) > WRONG_MS


class _End(Struct, frozen=True, gc=False):
    """Where a ledger ended by a head of the site's time `told_ms`."""

    epoch: str
    end: int
    told_ms: int
    cut: int


def _end(seen: Seen) -> _End:
    return _End(seen.epoch, seen.end, seen.seen_ms + seen.skew_ms, seen.cut)


class Sightings:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._waiting: dict[str, Seen] = {}
        self._ends: dict[str, _End] = {}

    def note(self, seen: Seen) -> None:
        self._waiting[seen.site] = seen

    async def write(self) -> None:
        """Write what waits; what the store cannot take now waits on."""
        waiting, self._waiting = self._waiting, {}
        sites = list(waiting)
        try:
            for first in range(0, len(sites), AT_ONCE):
                some = sites[first : first + AT_ONCE]
                written = {site: msgspec.json.encode(await self._with_since(waiting[site])) for site in some}
                await self._documents.put_all(KIND, written)
        except StoreUnavailable as error:
            log.debug("sightings wait: %s", error)
            self._waiting = {**waiting, **self._waiting}

    async def _with_since(self, seen: Seen) -> Seen:
        """Told since when something is wrong, and what is gone, which what was written before knows."""
        if seen.site in self._ends and not (seen.refused or seen.has_wrong_clock()):
            return self._with_end(seen, self._ends[seen.site])
        document = await self._documents.get(KIND, seen.site)
        before = read(document.body) if document else seen
        seen = self._with_end(seen, self._ends.get(seen.site) or _end(before))
        refused_ms = before.refused_since_ms if before.refused == seen.refused else 0
        return msgspec.structs.replace(
            seen,
            refused_since_ms=(refused_ms or seen.seen_ms) if seen.refused else 0,
            wrong_since_ms=(before.wrong_since_ms or seen.seen_ms) if seen.has_wrong_clock() else 0,
        )

    def _with_end(self, seen: Seen, before: "_End") -> Seen:
        """Of an older head, that came by another way, nothing is concluded."""
        now = _end(seen)
        if now.epoch == before.epoch:
            later = now.told_ms > before.told_ms
            gone = before.end - now.end if now.end and later else 0
            end = now.end if later else max(now.end, before.end)
            seen = msgspec.structs.replace(seen, end=end, cut=max(before.cut, gone))
        self._ends[seen.site] = _end(seen)
        if len(self._ends) > ENDS_MAX:
            del self._ends[next(iter(self._ends))]
        return seen

    async def background(self, _app: web.Application) -> AsyncIterator[None]:
        """Part of the application's life: writes now and then, and once more at its end."""
        task = asyncio.create_task(self._write_on(), name="sightings")
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await self.write()

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()


_decode = msgspec.json.Decoder(Seen).decode


def read(body: bytes) -> Seen:
    """Raises msgspec.DecodeError."""
    return _decode(body)
