"""What brings stored events to a platform of the own contract.

Law: an upload drains what is there, each answer obeyed durably and in order (`upload`, `progress`), and ends at the first
wait. If there was nothing it sends a heartbeat: silence is not the same as no use.
"""

import logging
from collections.abc import Callable, Mapping
from random import Random
from typing import Protocol

from msgspec import Struct

from uplink.batch import EVENTS_MAX, Batch
from uplink.outbox import Outbox
from uplink.problems import CATALOGUE
from uplink.session import Answer, Failure
from uplink.status import AgentStatus
from uplink.upload import Upload
from uplink.uploader import CONFLICT_SHOWN_MS, Standing, Uploader, UploadReport, wall_clock_ms
from uplink.witness import Witness

log = logging.getLogger(__name__)


class Destination(Protocol):
    async def post(self, batch: Batch) -> Answer | Failure:
        """Send one batch and return whatever came back. Raises nothing."""

    async def close(self) -> None: ...


class Platform(Destination, Protocol):
    """A destination of the own contract. `platform_keys`: those that an enrolled machine's platform signs its receipts
    with, by their ids; without any, none are asked for. The mapping is the same for good, and what is in it changes."""

    platform_keys: Mapping[str, bytes]

    async def policy(self, seen: str) -> Answer | Failure:
        """The site's policy, unless it is the one whose SHA-256 is `seen`. Raises nothing."""


class Pace(Struct, frozen=True, kw_only=True):
    """`interval_ms` caps every wait; `max_events` and `max_bytes` (before gzip) bound a batch. `longest_ms`: how far apart
    regular uploads may be, which the platform is told (0: as `interval_ms`)."""

    interval_ms: int = 900_000
    longest_ms: int = 0
    max_events: int = EVENTS_MAX
    max_bytes: int = 4 * 1024 * 1024


class Shipper(Uploader):
    """Ships to `destination`, which the outbox knows as `name`. `status`: what the agent says of itself besides how much is
    waiting. `platform_keys`: see `Platform`. `witness`: the last head that the platform receipted."""

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        destination: Destination,
        pace: Pace,
        clock_ms: Callable[[], int] = wall_clock_ms,
        random: Random | None = None,
        status: Callable[[], AgentStatus] = AgentStatus,
        platform_keys: Mapping[str, bytes] | None = None,
    ) -> None:
        super().__init__(name, pace.interval_ms, clock_ms, random)
        self.status = status
        self.platform_keys = {} if platform_keys is None else platform_keys
        self.outbox = outbox
        self.destination = destination
        self.pace = pace
        self.limit = pace.max_events
        self.lost = ""
        self.lost_since_ms = 0
        self.witness: Witness | None = None
        self._stated: tuple[int, str] | None = None

    async def stored_backoff(self) -> bytes:
        return (await self.outbox.cursor(self.name)).backoff

    def note_lost(self, detail: str) -> None:
        """The platform asks for events that are pruned here; or, without detail, not any more. It holds up nothing."""
        if detail and not self.lost:
            problem = CATALOGUE["history_lost"]
            log.warning("%s: %s (%s) %s", self.name, problem.text, detail, problem.hint)
        self.lost_since_ms = self.lost_since_ms if self.lost else self.clock_ms()
        self.lost = detail

    def note_stated(self, detail: str) -> None:
        """The platform took it that neither it nor the site holds these events any more."""
        log.error("%s: %s (%s)", self.name, CATALOGUE["loss_stated"].text, detail)
        self._stated = self.clock_ms(), detail

    def problems(self) -> list[Standing]:
        standing = super().problems()
        if self._stated and 0 <= self.clock_ms() - self._stated[0] < CONFLICT_SHOWN_MS:
            since_ms, detail = self._stated
            standing.insert(0, Standing(problem=CATALOGUE["loss_stated"], since_ms=since_ms, detail=detail))
        if self.lost and self.backoff.problem != "history_lost":
            lost = Standing(problem=CATALOGUE["history_lost"], since_ms=self.lost_since_ms, detail=self.lost)
            standing.insert(0, lost)
        return standing

    async def run(self) -> UploadReport:
        self.limit = min(self.pace.max_events, 2 * self.limit)
        upload = await Upload.begin(self)
        while not self.stopping:
            self.again = False
            await upload.drain()
            if not self.again or upload.report.problem:
                break
        return upload.report
