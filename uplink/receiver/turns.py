"""Whose turn it is: bodies come in side by side, and only so many are worked on at once.

Laws
- A body that comes in slowly, over a thin line, holds its own bytes and nobody else's turn.
- Turns are given in the order in which bodies were whole, and the batches of one site are stored in that order: an agent has
  more than one of them on the way, and none is to find a gap that the one ahead of it is about to fill.
- Who would wait too long is asked to come again, as is who comes when too many bytes are held already: all sites that come
  back from an outage at once are served one after the other, and no more than the limits is ever kept of them.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from uplink.receiver.answers import Refused
from uplink.receiver.limits import Limits


class Turns:
    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places = asyncio.Semaphore(limits.inflight_max)
        self._last: dict[str, asyncio.Event] = {}
        self.held_bytes = 0

    @contextmanager
    def holding(self, size_bytes: int) -> Iterator[None]:
        """Room for a body of this size. Raises Refused."""
        if self.held_bytes + size_bytes > self._limits.held_max_bytes:
            raise Refused("busy", f"{self.held_bytes} bytes of other batches are held")
        self.held_bytes += size_bytes
        try:
            yield
        finally:
            self.held_bytes -= size_bytes

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Raises Refused."""
        try:
            async with asyncio.timeout(self._limits.turn_timeout_s):
                await self._places.acquire()
        except TimeoutError:
            raise Refused("busy", f"no turn within {self._limits.turn_timeout_s:g} s") from None
        try:
            yield
        finally:
            self._places.release()

    @contextmanager
    def behind(self, site: str) -> Iterator[Callable[[], Awaitable[object]]]:
        """A place in the row of a site's batches, taken when the turn has come: yields what waits until the one ahead has left
        it. One that is refused leaves early; then what is behind it does not fit anyway."""
        ahead, gone = self._last.get(site), asyncio.Event()
        self._last[site] = gone
        try:
            yield ahead.wait if ahead else _at_once
        finally:
            gone.set()
            if self._last[site] is gone:
                del self._last[site]


async def _at_once() -> None:
    pass
