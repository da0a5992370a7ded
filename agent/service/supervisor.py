"""Runs the collectors: starts them, starts them again, and keeps one from disturbing another.

Laws
- Each collector runs as a task of its own and begins at its last durable checkpoint, each time.
- A source that goes away is said once in the log, and once when it is back.
- A ledger without room delays a source's start; it never ends the source.
- This is the only place that catches whatever a collector may raise.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from msgspec import Struct

from agent.config.tables import Source
from agent.ledger.errors import LedgerFull
from agent.ledger.writer import Ledger
from collectors.contract import Batch, Collector, Context, Kind, Probe, Sink, SourceMisconfigured, SourceUnavailable

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 60.0
"""A PBX that restarts is back within a minute; a log line and an attempt a minute harm nobody."""

log = logging.getLogger("pegcount.source")
State = Literal["running", "waiting", "failed", "ended", "stopped"]


class Standing(Struct):
    """How a source is doing. `code` is a problem code, empty where all is well."""

    state: State = "stopped"
    code: str = ""
    text: str = ""
    hint: str = ""
    since_ms: int = 0


class _Watched:
    """A sink that tells when something came through, so that a recovery shows."""

    def __init__(self, sink: Sink, came: Callable[[], None]) -> None:
        self._sink = sink
        self._came = came

    async def put(self, batch: Batch) -> None:
        await self._sink.put(batch)
        self._came()


class SupervisedSource:
    """One configured source and the task that runs its collector."""

    def __init__(
        self, source: Source, kind: Kind, ledger: Ledger, folder: Path, timezone: str, sockets: dict[str, int]
    ) -> None:
        self.source = source
        self.kind = kind
        self.standing = Standing()
        self.collector: Collector | None = None
        self._ledger = ledger
        self._timezone = timezone
        self._folder = folder
        self._sockets = sockets
        self._pause_s = FIRST_PAUSE_S

    def probe(self) -> Probe:
        return self.collector.probe() if self.collector else Probe(detail="")

    async def run(self) -> None:
        """Until cancelled, or until the source has ended."""
        settle_ms = int(getattr(self.source.config, "settle_s", 0) * 1000)
        while True:
            try:
                checkpoint = await asyncio.to_thread(self._ledger.add_source, self.source.name, self.kind, settle_ms)
                await self._run_once(checkpoint)
            except LedgerFull as error:
                self._down("waiting", error.code, str(error), error.hint)
            except SourceUnavailable as error:
                self._down("waiting", error.code or "source_unavailable", str(error), error.hint)
            except SourceMisconfigured as error:
                self._down("failed", error.code or "source_misconfigured", str(error), error.hint)
            except Exception as error:  # the supervisor's own: no collector may take the others down
                log.exception("source %s failed", self.source.name)
                self._down("failed", "source_failed", f"{type(error).__name__}: {error}", "")
            else:
                self._stand("ended")
                return
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)

    async def _run_once(self, checkpoint: bytes | None) -> None:
        context = Context(
            name=self.source.name,
            folder=self._folder,
            clock_ms=self._ledger.clock_ms,
            timezone=self._timezone,
            inherited_sockets=self._sockets,
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        self.collector = self.kind.open(self.source.config, context)
        if not self.standing.code:
            self._stand("running")
        up = asyncio.get_running_loop().call_later(FIRST_PAUSE_S, self._up)
        try:
            await self.collector.run(_Watched(self._ledger.sink(self.source.name), self._up), checkpoint)
        finally:
            up.cancel()

    def _stand(self, state: State, code: str = "", text: str = "", hint: str = "") -> None:
        self.standing = Standing(state, code, text, hint, self._ledger.clock_ms())

    def _up(self) -> None:
        self._pause_s = FIRST_PAUSE_S
        if self.standing.code:
            log.info("source %s is back", self.source.name)
        if self.standing.state != "running":
            self._stand("running")

    def _down(self, state: State, code: str, text: str, hint: str) -> None:
        if (self.standing.code, self.standing.text) != (code, text):
            log.warning("source %s: %s%s", self.source.name, text, f" ({hint})" if hint else "")
            self._stand(state, code, text, hint)
