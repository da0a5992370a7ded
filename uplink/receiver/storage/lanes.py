"""Who is booked together: batches that wait are taken in groups, in several lanes side by side.

Laws
- Batches of one site are booked one after the other, in the order in which they came; no group holds two of them.
- A lane that is free takes what waits, up to GROUP_MAX batches: groups grow with the load, and nobody waits for one to fill.
- One that cannot go with a group goes alone, beside the lanes: it holds up its own site only.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from uplink.receiver.storage import Appended, Incoming, StoreUnavailable

GROUP_MAX = 64
"""Batches of one group. What a transaction costs beside its events is paid once for them."""
GROUP_EVENTS = 8_000
"""No further batch is taken where a group has so many events: about a tenth of a second, in which the others wait."""

_Outcome = Appended | StoreUnavailable
_Waiting = tuple[Incoming, "asyncio.Future[Appended]"]


class Lanes:
    """`together` books a group, and says None of a batch that must go `alone`. Neither raises StoreUnavailable: it is an
    outcome."""

    def __init__(
        self,
        count: int,
        together: Callable[[list[Incoming]], Awaitable[list[_Outcome | None]]],
        alone: Callable[[Incoming], Awaitable[_Outcome]],
    ) -> None:
        self._free = count
        self._together = together
        self._alone = alone
        self._queues: dict[str, deque[_Waiting]] = {}
        self._ready: deque[str] = deque()
        self._running: set[asyncio.Task[None]] = set()

    async def append(self, incoming: Incoming) -> Appended:
        """Raises StoreUnavailable."""
        waiting: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        if queue := self._queues.get(incoming.site):
            queue.append((incoming, waiting))
        else:
            self._queues[incoming.site] = deque([(incoming, waiting)])
            self._ready.append(incoming.site)
        self._start()
        return await waiting

    async def close(self) -> None:
        """Waits for what is queued."""
        while self._running:
            await asyncio.wait(self._running)

    def _run(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _start(self) -> None:
        """A lane, if there is a free one and something for it."""
        if self._ready and self._free:
            self._free -= 1
            self._run(self._lane())

    async def _lane(self) -> None:
        try:
            while group := self._taken():
                await self._go(group)
        finally:
            self._free += 1
            self._start()

    async def _go(self, group: list[Incoming]) -> None:
        outcomes: list[_Outcome | None] = [StoreUnavailable("failed")] * len(group)
        try:
            outcomes = await self._together(group)
        finally:
            for incoming, outcome in zip(group, outcomes, strict=True):
                if outcome is None:
                    self._run(self._by_itself(incoming))
                else:
                    self._settle(incoming.site, outcome)

    def _taken(self) -> list[Incoming]:
        """The next group. What is taken stays at the head of its site's queue until it is settled."""
        group: list[Incoming] = []
        events = 0
        while self._ready and len(group) < GROUP_MAX and events < GROUP_EVENTS:
            incoming, _ = self._queues[self._ready.popleft()][0]
            group.append(incoming)
            events += len(incoming.events)
        return group

    async def _by_itself(self, incoming: Incoming) -> None:
        outcome: _Outcome = StoreUnavailable("failed")
        try:
            outcome = await self._alone(incoming)
        finally:
            self._settle(incoming.site, outcome)
            self._start()

    def _settle(self, site: str, outcome: _Outcome) -> None:
        queue = self._queues[site]
        _, waiting = queue.popleft()
        if queue:
            self._ready.append(site)
        else:
            del self._queues[site]
        if waiting.done():  # a request that was given up meanwhile
            return
        if isinstance(outcome, StoreUnavailable):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)
