"""Runs the demonstration: receiver, agent and office in one process, and the comparison at its end.

Laws
- Nothing is a stand-in but the office: the agent is started from a configuration file, listens, reads, meters and uploads
  as it does anywhere, and the receiver is the real one.
- What is held is read from the receiver's store, not from the agent.
- Ctrl-C ends it in order, and is answered by the comparison too; a second one ends it at once.
"""

import asyncio
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

from msgspec import Struct

from agent.cli.logs import start_logging
from agent.config import ConfigError
from agent.demo import compare
from agent.demo.narrate import Narrator
from agent.demo.plan import Plan
from agent.demo.play import OfficeClock, Player, knock
from agent.demo.site import SITE_ID, TIMEZONE, Folder, PortTaken, free_port
from agent.demo.wording import count, span
from agent.ledger.errors import LedgerError
from agent.ledger.snapshot import Snapshot
from agent.service import Agent
from uplink.events import MicroTransaction, decode
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.storage import StoreUnavailable
from uplink.receiver.tokens import Tokens, token_hash

PAST_MS = 600_000
"""How much of the office's day is played in a hurry before it lives by the clock."""
HURRY_S = 30.0
DRAIN_S = 6.0
"""What the end takes: two seconds for the last calls to settle, a commit, an upload. `--for` leaves room for it."""
SETTLED_MAX_S = 20.0
"""The end is waited for so long at most; what is missing then is a difference."""
QUIET_S = 1.5
"""Nothing new for so long: what is going to be metered has been."""
PAGE_EVENTS = 1000

EX_OK, EX_DIFFERENCE, EX_UNAVAILABLE, EX_INTERRUPTED = 0, 1, 69, 130


class Settings(Struct, frozen=True, kw_only=True):
    """`before_reading`: what happens to the receiver's database before it is read for the comparison (a test spoils it)."""

    folder: Path
    seconds: float | None = None
    port: int = 0
    seed: int | None = None
    before_reading: Callable[[Path], None] | None = None
    say: Callable[[str], None] = print


def run(seconds: float | None = None, folder: str | Path | None = None, port: int = 8042) -> int:
    """`pegcount demo`: returns the exit status. `port` 0 takes any free one."""
    try:
        with _folder(folder) as path:
            settings = Settings(folder=path, seconds=seconds, port=port, say=partial(print, flush=True))
            return asyncio.run(perform(settings, keep=folder is not None))
    except (PortTaken, StoreUnavailable, LedgerError, ConfigError, OSError) as error:
        print(f"pegcount demo: {error}", file=sys.stderr)
        return EX_UNAVAILABLE
    except KeyboardInterrupt:
        return EX_INTERRUPTED


@contextmanager
def _folder(given: str | Path | None) -> Iterator[Path]:
    if given is not None:
        yield Path(given)
        return
    with tempfile.TemporaryDirectory(prefix="pegcount-demo-") as path:
        yield Path(path)


async def perform(settings: Settings, keep: bool = True) -> int:
    """The whole demonstration in `settings.folder`. Raises what `run` catches."""
    stopping = _stop_on_signal()
    page_port = free_port(socket.SOCK_STREAM, settings.port)
    folder = Folder(settings.folder)
    async with _receiver(folder) as receiver:
        hep_port = free_port(socket.SOCK_DGRAM)
        config = folder.write_config(receiver.url, hep_port, page_port)
        start_logging(config.log)
        narrator = Narrator(settings.say)
        agent = Agent(config, told=narrator.told)
        narrator.watch(agent.state.snapshot)
        try:
            await agent.start()
            settings.say(f"status page  http://127.0.0.1:{page_port}/")
            if keep:
                settings.say(f"files        {folder.path} (configuration: {folder.config})")
            return await _Performance(settings, folder, agent, receiver, narrator, hep_port).play(stopping)
        finally:
            await agent.stop()


def _stop_on_signal() -> asyncio.Event:
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping


@asynccontextmanager
async def _receiver(folder: Folder) -> AsyncIterator[RunningReceiver]:
    tokens = Tokens(write={token_hash(folder.read_token()): SITE_ID})
    receiver = await serve(ReceiverSettings(database=str(folder.receiver), tokens=tokens, port=0))
    try:
        yield receiver
    finally:
        await receiver.close()


class _Performance:
    def __init__(
        self,
        settings: Settings,
        folder: Folder,
        agent: Agent,
        receiver: RunningReceiver,
        narrator: Narrator,
        hep_port: int,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._agent = agent
        self._receiver = receiver
        self._narrator = narrator
        self._hep_port = hep_port

    async def play(self, stopping: asyncio.Event) -> int:
        known = compare.seat_days_held(await self._held())
        calls_before = (await self._snapshot()).pipeline.calls
        await self._listening()
        player, clock, until_ms = self._cast()
        self._announce(clock)
        self._narrator.begin()
        noting = asyncio.create_task(self._note_time(clock))
        try:
            ended_ms = await player.play(stopping, until_ms)
        finally:
            noting.cancel()
            player.close()
        self._folder.note_until(ended_ms + 1000)
        self._settings.say(
            f"the office has closed: {count(len(player.played), 'call')} played"
            + (f", {player.still_up} still up and not counted" if player.still_up else "")
        )
        await self._drain(calls_before + len(player.played))
        return await self._compare(player, clock.start_ms, known)

    def _cast(self) -> tuple[Player, OfficeClock, int | None]:
        now_ms = time.time_ns() // 1_000_000
        start_ms = max(now_ms - PAST_MS, self._folder.played_until_ms())
        seconds = self._settings.seconds
        hurry_s = HURRY_S if seconds is None else max(seconds - DRAIN_S, seconds / 2)
        clock = OfficeClock(start_ms, hurry_s)
        until_ms = None if seconds is None else clock.caught_up_ms
        seed = secrets.randbits(32) if self._settings.seed is None else self._settings.seed
        plan = Plan(seed, start_ms, until_ms)
        return Player(plan, clock, self._folder.master_csv, self._hep_port, plan.run), clock, until_ms

    def _announce(self, clock: OfficeClock) -> None:
        past, hurry = span(clock.caught_up_ms - clock.start_ms), span(int(clock.hurry_s * 1000))
        then = "then as it happens, until Ctrl-C" if self._settings.seconds is None else "then it closes"
        self._settings.say(f"the office   its last {past} are played in {hurry}, {then}")

    async def _note_time(self, clock: OfficeClock) -> None:
        """So that a run after a crash goes on behind it."""
        while True:
            self._folder.note_until(clock.now_ms())
            await asyncio.sleep(1)

    async def _listening(self) -> None:
        """HEP over UDP is not acknowledged: nothing is played before the agent has heard a keep-alive."""
        deadline = time.monotonic() + SETTLED_MAX_S
        while time.monotonic() < deadline:
            knock(self._hep_port)
            await asyncio.sleep(0.1)
            if any(source.counters.get("keepalive") for source in (await self._snapshot()).sources):
                return

    async def _snapshot(self) -> Snapshot:
        return await asyncio.to_thread(self._agent.state.snapshot)

    async def _drain(self, calls: int) -> None:
        """Until all that was played is metered and acknowledged, or it has taken too long."""
        deadline = time.monotonic() + SETTLED_MAX_S
        seen, since = (-1, -1), time.monotonic()
        while time.monotonic() < deadline:
            pipeline = (await self._snapshot()).pipeline
            if (pipeline.legs, pipeline.events) != seen:
                seen, since = (pipeline.legs, pipeline.events), time.monotonic()
            if pipeline.calls >= calls and not pipeline.settling and time.monotonic() - since >= QUIET_S:
                break
            await asyncio.sleep(0.2)
        while time.monotonic() < deadline:
            await self._agent.state.upload_now()
            if not any(uplink.backlog for uplink in (await self._snapshot()).uplinks):
                return
            await asyncio.sleep(0.2)

    async def _compare(self, player: Player, since_ms: int, known: frozenset[compare.SeatDay]) -> int:
        if self._settings.before_reading is not None:
            self._settings.before_reading(self._folder.receiver)
        zone = ZoneInfo(TIMEZONE)
        seats = compare.seat_days_played(
            player.played,
            player.registered,
            lambda at_ms: datetime.fromtimestamp(at_ms / 1000, zone).date().isoformat(),
        )
        truth = compare.Truth(
            site_id=SITE_ID, since_ms=since_ms, calls=player.played, seat_days=seats, known_seat_days=known
        )
        found = compare.compare(truth, await self._held())
        for line in ("", *compare.table(found), "", *compare.verdict(found)):
            self._settings.say(line)
        return EX_DIFFERENCE if found.differences else EX_OK

    async def _held(self) -> list[MicroTransaction]:
        """All that the receiver holds and counts."""
        held: list[MicroTransaction] = []
        after = 0
        while page := await self._receiver.store.events(SITE_ID, after, PAGE_EVENTS):
            held += [decode(event.body) for event in page if event.status == "counted"]
            after = page[-1].position
        return held
