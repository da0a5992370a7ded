"""The running agent: ledger, sources, uplink and status page wired together, started and stopped in the right order.

Laws
- The ledger opens first and closes last. Sources stop before it; what they handed in is committed.
- The status page is a convenience: a port that is taken is a problem to show, and no reason not to count.
- READY=1 is said when sources and uplink run; WATCHDOG=1 only after the ledger's thread has answered, be it that the disk is
  full: a restart would not make room.
"""

import asyncio
import logging
import signal
import sqlite3
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from agent.config.tables import Config, Destination
from agent.garbage import collect_seldom
from agent.ledger import another_site, machine
from agent.ledger.errors import LedgerError
from agent.ledger.feed import LedgerFeed
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.writer import Ledger
from agent.metering.rules import Site
from agent.service import manager
from agent.service.lines import PLATFORM, Lines
from agent.service.policy import PolicyKeeper
from agent.service.state import AgentState, program_version
from agent.service.supervisor import SupervisedSource
from agent.web.app import start as start_page
from collectors.registry import KINDS
from uplink import witness
from uplink.forwarder import Forwarder
from uplink.identity import identity_folder
from uplink.line import LineSettings, TimedSettings
from uplink.pacing import bounded
from uplink.schedule import Schedule
from uplink.shipper import Pace, Platform, Shipper
from uplink.speaker import EnrolledElsewhere
from uplink.status import AgentStatus
from uplink.timing import Timing
from uplink.uploader import UploadReport
from uplink.witness import Witness

PRUNE_EVERY_S = 600.0
STATUS_EVERY_S = 10.0
REOPEN_EVERY_S = 5.0
"""A file is looked for so often; nothing of it is seen on the line."""
EX_CONFIG = 78
EX_IOERR = 74

log = logging.getLogger("pegcount.agent")
Told = Callable[[UploadReport], Coroutine[Any, Any, None]]


class Agent:
    """One agent in this process. `start`, then `stop`; between them all runs by itself."""

    def __init__(self, config: Config, told: Told | None = None, policies: PolicyKeeper | None = None) -> None:
        """Raises LedgerError and EnrolledElsewhere; nothing is left open then."""
        self.config = config
        self._told = told
        self.policies = policies or PolicyKeeper(config)
        self.renewed = asyncio.Event()
        self.lines = Lines(config)
        self.ledger = Ledger.open(config.ledger, config.site, config.metering)
        if self.ledger.quarantined:
            log.error("an unreadable ledger was set aside as %s; a new one was begun", self.ledger.quarantined)
        if before := self.ledger.do(lambda db: another_site.settle(db, self.ledger, config.site.id)).result():
            log.error(
                "this ledger was site %s's: a new epoch was begun for site %s; %d events of the other one stay unsent",
                *(before.site, config.site.id, before.left),
            )
        if self.ledger.do(lambda db: machine.settle(db, self.ledger, machine.fingerprint())).result():
            log.error("this ledger comes from another machine: a new epoch was begun")
        self.outbox = LedgerOutbox(self.ledger, config.site.id, config.site.urn)
        self.feed = LedgerFeed(
            self.ledger, frozenset(one.name for one in config.destinations if one.settings.start == "newest")
        )
        schedules = [self._shipping(self.lines.platform)] if self.lines.platform else []
        self.schedules = [*schedules, *(self._forwarding(one) for one in config.destinations)]
        self.sources = self._make_sources()
        self.state = AgentState(config, self.ledger, self.sources, self.schedules)
        self.state.policy_fault = self.policies.fault
        self._tasks: list[asyncio.Task[None]] = []
        self._page: web.AppRunner | None = None

    def _shipping(self, platform: Platform) -> Schedule:
        settings = self.config.uplink
        assert settings is not None
        timing = _timing(settings, self.config.site)
        max_bytes = bounded(settings.max_bytes, settings.max_kbit_s)
        pace = Pace(
            interval_ms=timing.interval_ms(),
            longest_ms=timing.longest_ms(),
            max_events=settings.max_events,
            max_bytes=max_bytes,
        )
        shipper = Shipper(
            PLATFORM, self.outbox, platform, pace, status=self._status, platform_keys=platform.platform_keys
        )

        async def told(report: UploadReport) -> None:
            if self._told is not None:
                await self._told(report)
            await self._keep(shipper.witness)
            if not report.problem and not shipper.stopping:
                await self._ask_for_policy(platform)

        return Schedule(shipper, timing, told)

    async def _keep(self, last: Witness | None) -> None:
        if last is None:
            return
        try:
            await asyncio.to_thread(witness.keep, identity_folder(self.config.ledger.path), last)
        except OSError as error:
            log.error("the last head cannot be kept beside the key: %s", error)

    async def _ask_for_policy(self, platform: Platform) -> None:
        try:
            renewed = await self.policies.ask(platform)
            self.state.policy_fault = self.policies.fault
            if renewed:
                log.info("the platform's policy is another one: %s", self.policies.outcome or "withdrawn")
                self.renewed.set()
        except OSError as error:
            log.error("the platform's policy cannot be kept: %s", error)

    def _status(self) -> AgentStatus:
        """What the platform is told of this agent."""
        return AgentStatus(
            version=program_version(),
            boot=manager.boot_id(),
            monotonic_s=int(time.monotonic()),
            problems=self.state.problem_codes,
            policy=self.policies.in_force,
            policy_outcome=self.policies.outcome,
        )

    def _forwarding(self, destination: Destination) -> Schedule:
        taker = self.lines.takers[destination.name]
        timing = _timing(destination.settings, self.config.site)
        settings = destination.settings
        kbit_s = settings.max_kbit_s if isinstance(settings, LineSettings) else 0
        max_bytes = bounded(taker.limits.max_bytes, kbit_s)
        names, interval_ms = settings.names, timing.interval_ms()
        return Schedule(Forwarder(destination.name, self.feed, taker, names, interval_ms, max_bytes=max_bytes), timing)

    def _make_sources(self) -> list[SupervisedSource]:
        folder = Path(self.config.ledger.path).absolute().parent / "sources"
        sockets = manager.inherited_sockets()
        timezone = self.config.site.timezone
        return [
            SupervisedSource(source, KINDS[source.kind], self.ledger, folder / source.name, timezone, sockets)
            for source in self.config.sources
        ]

    async def start(self) -> None:
        if self.config.web.enabled:
            try:
                self._page = await start_page(self.state, self.config.web)
            except OSError as error:
                log.error("the status page cannot be served at %s: %s", self.config.web.listen, error)
                self.state.page_fault = str(error)
        for source in self.sources:
            self._tasks.append(asyncio.create_task(source.run(), name=f"source {source.source.name}"))
        await self.feed.only(
            {PLATFORM} if self.config.uplink else set(), {one.name for one in self.config.destinations}
        )
        for schedule in self.schedules:
            await schedule.start()
            self.ledger.on_events(schedule.notice)
        self._tasks.append(asyncio.create_task(self._maintain(), name="maintenance"))
        if self.lines.unopened:
            self._tasks.append(asyncio.create_task(self._look_again(), name="unopened destinations"))
        if interval_s := manager.watchdog_interval_s():
            self._tasks.append(asyncio.create_task(self._watchdog(interval_s), name="watchdog"))
        manager.notify("READY=1", f"STATUS={len(self.sources)} sources")
        log.info("%s", self._in_a_line())

    def _in_a_line(self) -> str:
        """What was started: the first line of a log that one is sent."""
        names = ", ".join(one.source.name for one in self.sources) or "none"
        page = f"http://{self.config.web.listen}" if self._page else "none"
        return (
            f"pegcount {program_version()} runs: site {self.config.site.id}, ledger {self.config.ledger.path}, "
            f"sources {names}, sending to {self.config.goes_to}, status page {page}"
        )

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for schedule in self.schedules:
            await schedule.stop()
        await self.lines.close()
        if self._page is not None:
            await self._page.cleanup()
        self.state.close()
        self.outbox.close()
        self.feed.close()
        await asyncio.to_thread(self.ledger.close)
        log.info("stopped")

    async def _maintain(self) -> None:
        """Prune, a step at a time, sum up what the rate card asks for, and say how things stand to the service manager."""
        since_prune = PRUNE_EVERY_S
        while True:
            await asyncio.sleep(STATUS_EVERY_S)
            since_prune += STATUS_EVERY_S
            try:
                if since_prune >= PRUNE_EVERY_S:
                    since_prune = 0.0
                    await asyncio.to_thread(self.ledger.prune_all)
                if self.config.rates:
                    await asyncio.to_thread(self.ledger.count_usage)
                snapshot = await asyncio.to_thread(self.state.snapshot)
                manager.notify(f"STATUS={snapshot.verdict}")
            except (LedgerError, sqlite3.Error, msgspec.DecodeError) as error:
                log.debug("maintenance waits: %s", error)

    async def _look_again(self) -> None:
        """Start anew as soon as a destination that could not be opened can be; it has nothing to wait for then."""
        found: list[str] = []
        while not found:
            await asyncio.sleep(REOPEN_EVERY_S)
            found = await self.lines.openable()
        log.info("what was missing can be read now: %s", ", ".join(found))
        for name in found:
            await (self.outbox if name == PLATFORM else self.feed).save_backoff(name, b"")
        self.renewed.set()

    async def _watchdog(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await asyncio.wrap_future(self.ledger.do(lambda _: None))
            except LedgerError as error:
                log.debug("the ledger's thread lives, its disk does not: %s", error)
            manager.notify("WATCHDOG=1")


def _timing(settings: TimedSettings, site: Site) -> Timing:
    return Timing(
        interval_s=settings.interval_s,
        cron=settings.cron,
        stream=settings.stream,
        window=settings.window,
        jitter_s=settings.jitter_s,
        timezone=site.timezone,
        site=site.id,
    )


async def run(config: Config) -> int:
    """Run the agent until SIGTERM, SIGINT or SIGHUP, anew whenever the platform's policy changes or what a destination lacked
    is there; returns the exit status."""
    collect_seldom()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    policies = PolicyKeeper(config)
    while True:
        status = await _run_once(policies, stopping)
        if status is not None:
            return status


async def _run_once(policies: PolicyKeeper, stopping: asyncio.Event) -> int | None:
    """An agent under one policy, to its end; None where it is to be started anew."""
    try:
        agent = Agent(policies.config, policies=policies)
    except LedgerError as error:
        log.error("%s (%s)", error, error.hint)
        return EX_IOERR
    except EnrolledElsewhere as error:
        log.error("%s", error)
        return EX_CONFIG
    loop = asyncio.get_running_loop()
    agent.ledger.damaged.add_done_callback(lambda _: loop.call_soon_threadsafe(stopping.set))
    waiting = [asyncio.create_task(event.wait()) for event in (stopping, agent.renewed)]
    try:
        await agent.start()
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        if not agent.renewed.is_set():
            manager.notify("STOPPING=1")
        await agent.stop()
    if agent.ledger.damaged.done():
        return EX_IOERR
    return 0 if stopping.is_set() else None
