"""A site's day under fire: agent, receiver and consumer are processes, killed (SIGKILL) at random while events are made, sent,
stored and booked. In the end each event of the ledger is at the platform exactly once, byte for byte.

The run is cut into as many stretches as there are kills: the agent's source goes on by a stretch after each kill.
"""

import asyncio
import multiprocessing
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from msgspec import Struct

from agent.config.tables import Ledger as LedgerSettings
from agent.ledger import writer
from agent.ledger.feed import LedgerFeed
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.writer import Ledger
from collectors.contract import Batch
from tests.agent.ledger.desk import KIND, METERING, NOON_MS, SITE, row
from tests.uplink.platform import TOKEN, TOKENS
from tests.uplink.receiver.postgres import free_port
from tests.uplink.receiver.storages import Place
from uplink.destinations import TAKERS, PegcountHttp, PegcountSettings
from uplink.destinations.openmeter import OpenMeterSettings
from uplink.forwarder import Forwarder
from uplink.receiver.consume import Booking, booking
from uplink.receiver.forwarding import Destination
from uplink.receiver.serve import ReceiverSettings, serve
from uplink.receiver.storage import Storage, TotalsQuery
from uplink.receiver.storage.opening import open_storage
from uplink.shipper import Pace, Shipper

CALL_EVERY_S = 0.05
EVENTS_OF_A_CALL = 2
ROWS_AT_ONCE = 50
END_S = 30.0
"""How long the last stretch may take to arrive."""


class Plan(Struct, frozen=True, kw_only=True):
    """`beside`: a second destination of the agent; `centre`: where the receiver forwards to; addresses, or empty."""

    folder: str
    place: Place
    port: int
    calls: int
    max_events: int
    beside: str = ""
    centre: str = ""


def _forwarder(plan: Plan, ledger: Ledger) -> Forwarder:
    made = OpenMeterSettings(url=plan.beside, token="t", timeout_s=5)
    return Forwarder("beside", LedgerFeed(ledger), TAKERS["openmeter"].open(made, SITE.id), made.names, 900_000)


async def agent(plan: Plan, allowed: "Synchronized[int]", finished: "Synchronized[int]") -> None:
    """Goes on where its checkpoint stands, and says `finished` when all is at the platform."""
    writer.COMMIT_EVERY_S = 0.02
    ledger = Ledger.open(LedgerSettings(path=f"{plan.folder}/ledger.db"), SITE, METERING)
    done = int(ledger.add_source("desk", KIND, 5000) or b"0")
    outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
    platform = PegcountHttp(PegcountSettings(url=f"http://127.0.0.1:{plan.port}", token=TOKEN, timeout_s=5), SITE.id)
    shipper = Shipper("platform", outbox, platform, Pace(max_events=plan.max_events))
    beside = _forwarder(plan, ledger) if plan.beside else None
    feeding = asyncio.create_task(_feed(ledger, plan.calls, done, allowed))
    troubled = ""
    while not feeding.done() or (await outbox.waiting("platform")).count or troubled:
        await shipper.upload()
        troubled = (await beside.upload()).problem if beside else ""
        await asyncio.sleep(0.01)
    await feeding
    if beside:
        assert (await beside.upload()).problem == ""
    await shipper.stop()
    await platform.close()
    await asyncio.to_thread(ledger.close)
    finished.value = 1


async def _feed(ledger: Ledger, calls: int, done: int, allowed: "Synchronized[int]") -> None:
    sink = ledger.sink("desk")
    while done < calls:
        until = min(done + ROWS_AT_ONCE, allowed.value)
        if until <= done:
            await asyncio.sleep(0.005)
            continue
        rows = tuple(row(f"c{number}", start_s=number * CALL_EVERY_S) for number in range(done, until))
        at_ms = NOON_MS + int(until * CALL_EVERY_S * 1000)
        await sink.put(Batch(records=rows, checkpoint=str(until).encode(), source_time_ms=at_ms))
        done = until
    await sink.put(Batch(checkpoint=None, source_time_ms=NOON_MS + int(calls * CALL_EVERY_S * 1000) + 3_600_000))


async def receiver(plan: Plan, *_: object) -> None:
    forwards = ()
    if plan.centre:
        made = OpenMeterSettings(url=plan.centre, token="t", timeout_s=5, interval_s=1, jitter_s=0, stream=True)
        forwards = (Destination("centre", "openmeter", made),)
    await serve(
        ReceiverSettings(
            database=plan.place.store, books=plan.place.books, tokens=TOKENS, port=plan.port, forwards=forwards
        )
    )
    await asyncio.Event().wait()


async def consumer(plan: Plan, *_: object) -> None:
    async with booking(Booking(origin=plan.place.store, into=plan.place.books)):
        await asyncio.Event().wait()


def _run(part: Callable[..., Any], *arguments: object) -> None:
    asyncio.run(part(*arguments))


class Fire:
    """The processes of one run, each begun again when it was killed."""

    def __init__(self, plan: Plan, random: Random) -> None:
        self.context: ForkServerContext = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__])
        self.plan = plan
        self.random = random
        self.allowed = self.context.Value("q", 0)
        self.finished = self.context.Value("q", 0)
        self.killed: dict[str, int] = {}
        parts: list[Callable[..., Any]] = [agent, receiver, *([consumer] if plan.place.books else [])]
        self.running = {part: self._begin(part) for part in parts}

    def _begin(self, part: Callable[..., Any]) -> ForkServerProcess:
        process = self.context.Process(target=_run, args=(part, self.plan, self.allowed, self.finished), daemon=True)
        process.start()
        return process

    def kill_one(self) -> None:
        part = self.random.choice(list(self.running))
        self.running[part].kill()
        self.running[part].join()
        self.running[part] = self._begin(part)
        self.killed[part.__name__] = self.killed.get(part.__name__, 0) + 1

    def survive(self, kills: int) -> None:
        for kill in range(kills):
            self.allowed.value = self.plan.calls * (kill + 1) // (kills + 1)
            time.sleep(self.random.uniform(0.05, 0.4))
            self.kill_one()
        self.allowed.value = self.plan.calls
        until = time.monotonic() + END_S + self.plan.calls / 500
        while not self.finished.value:
            assert time.monotonic() < until, "what is left does not arrive"
            assert self.finished.value or all(process.exitcode is None for process in self.running.values())
            time.sleep(0.02)

    def end(self) -> None:
        for process in self.running.values():
            process.kill()
            process.join()


class Outcome(Struct, frozen=True, kw_only=True):
    events: int
    killed: dict[str, int]
    seconds: float


class Sinks(Struct, frozen=True):
    """Stand-ins of other platforms: beside ours, and behind it. `settled` waits until all these events are there."""

    beside: str
    centre: str
    settled: Callable[[list[str]], None]


def endure(
    place: Place, events: int, kills: int, seed: int, max_events: int = 200, sinks: Sinks | None = None
) -> Outcome:
    """Raises AssertionError where anything is lost, twice or another."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pegcount-endurance-") as folder:
        plan = Plan(
            folder=folder,
            place=place,
            port=free_port(),
            calls=events // EVENTS_OF_A_CALL,
            max_events=max_events,
            beside=sinks.beside if sinks else "",
            centre=sinks.centre if sinks else "",
        )
        fire = Fire(plan, Random(seed))
        try:
            fire.survive(kills)
            made = _ledger_events(Path(folder) / "ledger.db")
            asyncio.run(_compare(place, made))
            if sinks:
                sinks.settled([msgspec.json.decode(body)["id"] for _, body in made])
        finally:
            fire.end()
    return Outcome(events=len(made), killed=fire.killed, seconds=round(time.monotonic() - began, 1))


def _ledger_events(path: Path) -> list[tuple[str, bytes]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT epoch, body FROM event ORDER BY line").fetchall()


async def _compare(place: Place, made: list[tuple[str, bytes]]) -> None:
    assert len({epoch for epoch, _ in made}) == 1, "no kill makes a new epoch"
    store = await open_storage(place.books or place.store)
    async with asyncio.timeout(END_S):
        while await _held(store) < len(made):
            await asyncio.sleep(0.1)
    after, compared = 0, 0
    while page := await store.events(SITE.id, after, 5000):
        for each in page:
            assert (each.body, each.status) == (made[compared][1], "counted"), f"event {compared + 1}"
            compared += 1
        after = page[-1].position
    assert compared == len(made)
    totals = await store.totals(TotalsQuery(site=SITE.id))
    bodies = [msgspec.json.decode(body) for _, body in made]
    assert sum(each.events for each in totals) == len(made)
    for total in totals:
        mine = [Decimal(body["data"]["quantity"]) for body in bodies if body["type"] == total.meter]
        assert (total.events, Decimal(total.quantity)) == (len(mine), sum(mine))
    await store.close()


async def _held(store: Storage) -> int:
    return sum(state.acked_through for state in await store.epochs(SITE.id))
