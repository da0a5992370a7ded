"""Forwarding from the centre: the counted events of all sites go on to the destinations of a file of `[[destination]]` tables.

Laws
- A position is an event's position in the store; only counted events are given, so what a site says again under another epoch
  goes on once.
- A destination's place is a document of its own and only moves forward; what it refused is noted before its place moves
  behind it. After a crash between the two the same events are sent again under the same ids.
- A store that is away for a moment ends the upload; the next regular time begins another.
"""

import logging
import re
import tomllib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from uplink.destinations import TAKERS
from uplink.destinations.folder import FolderSettings
from uplink.destinations.settings import HttpTakerSettings, TakerSettings
from uplink.feed import Item, Place
from uplink.forwarder import Forwarder
from uplink.line import LineSettings
from uplink.outbox import Refusal, UploadLog
from uplink.pacing import bounded
from uplink.receiver.storage import Storage, StoreUnavailable
from uplink.schedule import Schedule
from uplink.taker import Taker
from uplink.timing import Timing
from uplink.uploader import UploadReport

log = logging.getLogger(__name__)

KIND = "forward"
REFUSED_KIND = "forward_refused"
_NAME = re.compile(r"[0-9A-Za-z._-]{1,64}\Z")


class Destination(Struct, frozen=True):
    name: str
    kind: str
    settings: HttpTakerSettings | TakerSettings

    def timing(self) -> Timing:
        own = self.settings
        return Timing(
            interval_s=own.interval_s, cron=own.cron, stream=own.stream, window=own.window, jitter_s=own.jitter_s
        )


def read_destinations(path: Path) -> tuple[Destination, ...]:
    """Raises OSError, and ValueError with what is wrong; no message shows a secret."""
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    tables = tree.pop("destination", None)
    if tree or not isinstance(tables, list) or not tables:
        raise ValueError(f"{path}: there must be [[destination]] tables, and nothing else")
    found = tuple(_destination(table, f"{path}: destination {number}") for number, table in enumerate(tables, 1))
    if len({one.name for one in found}) < len(found):
        raise ValueError(f"{path}: how far a destination is stands under its name, so each needs its own")
    folders = [(own.where(), own.form) for own in (one.settings for one in found) if isinstance(own, FolderSettings)]
    if len(set(folders)) < len(folders):
        raise ValueError(f"{path}: what a folder holds is not put there again, so each destination needs its own")
    return found


def _destination(table: dict[str, Any], where: str) -> Destination:
    own = {"jitter_s": 0, **table}  # what spreads a fleet only delays a centre
    name, kind = own.pop("name", ""), own.pop("kind", "")
    if not isinstance(name, str) or not _NAME.match(name):
        raise ValueError(f"{where}: name must be 1 to 64 letters, digits, '.', '_' or '-'")
    if kind not in TAKERS:
        raise ValueError(f"{where}: kind must be one of {', '.join(sorted(TAKERS))}")
    try:
        destination = Destination(name, kind, msgspec.convert(own, TAKERS[kind].settings))
        destination.timing().trigger()
    except ValueError as error:
        raise ValueError(f"{where} ({name}): {error}") from None
    return destination


class _Noted(Struct, frozen=True, kw_only=True):
    """A destination's place, as it is kept."""

    through: int
    backoff: bytes = b""


class RefusedThere(Struct, frozen=True, kw_only=True):
    """An event that a destination will never take, by its position."""

    position: int
    code: str
    message: str


class StoreFeed:
    """Implements `Feed`. `newest`: the destinations that begin behind what is held when they are first seen."""

    def __init__(self, store: Storage, newest: frozenset[str] = frozenset()) -> None:
        self._store = store
        self._newest = newest

    async def place(self, destination: str) -> Place:
        noted, _ = await self._noted(destination)
        return Place(through=noted.through, backoff=noted.backoff)

    async def read(self, after: int, max_events: int, max_bytes: int) -> Sequence[Item]:
        items: list[Item] = []
        size = 0
        for item in await self._store.counted(after, max_events):
            size += len(item.body)
            if items and size > max_bytes:
                break
            items.append(item)
        return items

    async def taken(self, destination: str, through: int, refused: Sequence[Refusal]) -> None:
        for each in refused:
            kept = RefusedThere(position=each.seq, code=each.code, message=each.message)
            await self._store.put(REFUSED_KIND, _refused_key(destination, each.seq), msgspec.json.encode(kept))
        await self._change(
            destination, lambda noted: msgspec.structs.replace(noted, through=max(noted.through, through))
        )

    async def save_backoff(self, destination: str, state: bytes) -> None:
        await self._change(destination, lambda noted: msgspec.structs.replace(noted, backoff=state))

    async def log_upload(self, destination: str, entry: UploadLog) -> None:
        log.debug("%s: events %d to %d: %s in %d ms", destination, entry.first, entry.last, entry.status, entry.ms)

    async def refused(self, destination: str, after: int, limit: int) -> list[RefusedThere]:
        listed = await self._store.listed(REFUSED_KIND, _refused_key(destination, after), limit)
        mine = [each for each in listed if each.key.startswith(f"{destination}:")]
        return [msgspec.json.decode(each.body, type=RefusedThere) for each in mine]

    async def _noted(self, destination: str) -> tuple[_Noted, int]:
        """With its revision; 0 for a destination that is new."""
        document = await self._store.get(KIND, destination)
        if document is not None:
            return msgspec.json.decode(document.body, type=_Noted), document.revision
        through = await self._store.newest() if destination in self._newest else 0
        await self._store.put(KIND, destination, msgspec.json.encode(_Noted(through=through)), 0)
        return await self._noted(destination)

    async def _change(self, destination: str, change: Callable[[_Noted], _Noted]) -> None:
        while True:
            noted, revision = await self._noted(destination)
            changed = msgspec.json.encode(change(noted))
            if await self._store.put(KIND, destination, changed, revision) is not None:
                return


def _refused_key(destination: str, position: int) -> str:
    return f"{destination}:{position:020}"


class CentralForwarder(Forwarder):
    """A forwarder whose store may be away."""

    async def run(self) -> UploadReport:
        try:
            return await super().run()
        except StoreUnavailable as error:
            log.warning("%s: nothing is forwarded while the store is away: %s", self.name, error)
            return UploadReport(began_ms=self.clock_ms())

    async def stored_backoff(self) -> bytes:
        try:
            return await super().stored_backoff()
        except StoreUnavailable:
            return b""


class Forwarding:
    """All destinations, opened: raises CredentialsUnreadable. Idle until `background` runs."""

    def __init__(self, destinations: Sequence[Destination], store: Storage) -> None:
        self.feed = StoreFeed(store, frozenset(one.name for one in destinations if one.settings.start == "newest"))
        self._store = store
        self._takers = {one.name: TAKERS[one.kind].open(one.settings, "") for one in destinations}
        self._kinds = {one.name: one.kind for one in destinations}
        self.schedules = [self._schedule(one, self._takers[one.name]) for one in destinations]
        self.sent = dict.fromkeys(self._kinds, 0)

    def _schedule(self, destination: Destination, taker: Taker) -> Schedule:
        settings, timing = destination.settings, destination.timing()
        kbit_s = settings.max_kbit_s if isinstance(settings, LineSettings) else 0
        forwarder = CentralForwarder(
            destination.name,
            self.feed,
            taker,
            settings.names,
            timing.interval_ms(),
            max_bytes=bounded(taker.limits.max_bytes, kbit_s),
        )

        async def told(report: UploadReport) -> None:
            self.sent[destination.name] += report.acked

        return Schedule(forwarder, timing, told)

    def notice(self) -> None:
        """Events were booked."""
        for schedule in self.schedules:
            schedule.notice()

    async def background(self, _app: web.Application) -> AsyncIterator[None]:
        """Part of the application's life."""
        for schedule in self.schedules:
            await schedule.start()
        yield
        for schedule in self.schedules:
            await schedule.stop()
        for taker in self._takers.values():
            await taker.close()

    async def shown(self) -> list[dict[str, Any]]:
        """How far each destination is, and what stands against it."""
        if not self.schedules:
            return []
        newest = await self._store.newest()
        return [await self._shown(schedule, newest) for schedule in self.schedules]

    async def _shown(self, schedule: Schedule, newest: int) -> dict[str, Any]:
        name = schedule.uploader.name
        return {
            "name": name,
            "kind": self._kinds[name],
            "through": (await self.feed.place(name)).through,
            "newest": newest,
            "next_ms": schedule.next_at_ms(),
            "problems": [
                {"code": each.problem.code, "since_ms": each.since_ms, "detail": each.detail}
                for each in schedule.uploader.problems()
            ],
        }

    async def behind(self) -> dict[str, int]:
        """By destination: how many positions lie between it and the newest event. Raises StoreUnavailable."""
        if not self.schedules:
            return {}
        newest = await self._store.newest()
        return {name: max(0, newest - (await self.feed.place(name)).through) for name in self._kinds}

    def names(self) -> list[str]:
        return list(self._kinds)

    def troubled(self) -> dict[str, int]:
        """By destination: whether something stands against it."""
        return {each.uploader.name: int(bool(each.uploader.problems())) for each in self.schedules}
