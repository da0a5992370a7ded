"""The ledger: the one thread that writes, and what others may ask of it.

Laws
- Whoever hands something in gets its answer after the commit that holds it, never before.
- Commits are grouped: at once when the last one is COMMIT_EVERY_S past, else when that time is over or FULL_BATCH records wait.
- A disk without room stops intake and nothing else: what was handed in waits, is tried again each RETRY_S, and goes on by
  itself when there is room. Nothing that was acknowledged is touched.
"""

import asyncio
import concurrent.futures
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct
from sqlite_utils import Database

from agent.ledger.errors import LedgerError, LedgerFull
from agent.ledger.intake import Intake
from agent.ledger.numbering import Numbering
from agent.ledger.retention import prune_events, prune_records
from agent.ledger.store import open_for_writing
from agent.metering.meter import Meter
from agent.metering.rules import Metering, Site
from collectors.contract import Batch, Kind

COMMIT_EVERY_S = 1.0
"""A power cut may cost a source that cannot repeat itself this much; a commit costs one or two writes to the disk."""

FULL_BATCH = 1_000
RETRY_S = 5.0
DAY_MS = 24 * 3600 * 1000
TICK_S = 0.5

log = logging.getLogger("pegcount.ledger")
T = TypeVar("T")


class LedgerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The `[ledger]` table."""

    path: str = "/var/lib/pegcount/ledger.db"
    retention_days: int = 92
    max_size_mb: int = 2048
    max_rejects: int = 10_000


class _Put(Struct):
    source: str
    batch: Batch
    done: "concurrent.futures.Future[None]"


class _Do(Struct):
    action: Callable[[Database], Any]
    done: "concurrent.futures.Future[Any]"


class _SourceSink:
    """The `Sink` of one source."""

    def __init__(self, ledger: "Ledger", source: str) -> None:
        self._ledger = ledger
        self._source = source

    async def put(self, batch: Batch) -> None:
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ledger.hand_in(_Put(self._source, batch, done))
        await asyncio.wrap_future(done)


class Ledger:
    """Open with `Ledger.open`, end with `close`. Its methods may be called from any thread."""

    def __init__(
        self, path: Path, site: Site, metering: Metering, settings: LedgerSettings, clock_ms: Callable[[], int]
    ) -> None:
        self.path = path
        self.settings = settings
        self.clock_ms = clock_ms
        opened = open_for_writing(path)
        self.quarantined = opened.quarantined
        self._timezone = site.timezone
        self.trouble: LedgerError | None = None
        self.trouble_since_ms = 0
        self._db, self._lock = opened.db, opened.lock
        with self._db.atomic():
            self.numbering = Numbering(self._db, site.urn, clock_ms())
        self.intake = Intake(self._db, Meter(site, metering), self.numbering, settings.max_rejects)
        self._queue: queue.SimpleQueue[_Put | _Do | None] = queue.SimpleQueue()
        self._closed = False
        self._committed_at = 0.0
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls,
        settings: LedgerSettings,
        site: Site,
        metering: Metering,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> "Ledger":
        """Raises LedgerError where the file cannot be used."""
        return cls(Path(settings.path), site, metering, settings, clock_ms)

    # --- what others ask

    def add_source(self, name: str, kind: Kind, settle_ms: int) -> bytes | None:
        """Make a source known; returns its last durable checkpoint."""
        return self.do(lambda _: self.intake.open_source(name, kind, settle_ms)).result()

    def sink(self, source: str) -> _SourceSink:
        return _SourceSink(self, source)

    def waiting_calls(self) -> int:
        """Calls that still gather legs."""
        return self.intake.waiting()

    def prune(self, now_ms: int) -> int:
        """One step of retention; returns how many rows went (0: nothing left to do for now). See `retention`."""
        before_ms = now_ms - self.settings.retention_days * DAY_MS

        def step(db: Database) -> int:
            return prune_events(db, before_ms) + prune_records(db, self.intake, before_ms, self._timezone)

        return self.do(step).result()

    def do(self, action: Callable[[Database], T]) -> "concurrent.futures.Future[T]":
        """Run `action` on the writing connection, in a transaction of its own kind: what it changes is durable when the
        future is done, and taken back if it raises."""
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        self.hand_in(_Do(action, done))
        return done

    def hand_in(self, item: _Put | _Do) -> None:
        if self._closed:
            raise LedgerError("the ledger is closed")
        self._queue.put(item)

    def close(self) -> None:
        """Commit what was handed in, then close. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    # --- the writer's thread

    def _run(self) -> None:
        last = False
        while not last:
            items, last = self._gather()
            if items or self.intake.waiting():
                self._commit_until_done(items)
        self._db.close()
        self._lock.close()

    def _gather(self) -> tuple[list[_Put | _Do], bool]:
        """What the next transaction holds, and whether it is the last."""
        items: list[_Put | _Do] = []
        records = 0
        deadline = time.monotonic() + TICK_S
        while True:
            try:
                item = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return items, False
            if item is None:
                return items, True
            items.append(item)
            if isinstance(item, _Put):
                records += len(item.batch.records)
                deadline = min(deadline, self._committed_at + COMMIT_EVERY_S)
            if isinstance(item, _Do) or records >= FULL_BATCH:
                deadline = 0.0

    def _commit_until_done(self, items: list[_Put | _Do]) -> None:
        """Commit `items` together; where one of them is at fault, each by itself, so that only that one is refused."""
        while True:
            try:
                answers = self._commit(items)
            except sqlite3.OperationalError as error:
                if not _is_about_the_disk(error) or self._closed:
                    return self._refuse(items, error)
                self._in_trouble(error)
                time.sleep(RETRY_S)
            except Exception as error:  # the supervisor of the writer's thread: it must not end
                return self._refuse(items, error)
            else:
                self._out_of_trouble()
                self._committed_at = time.monotonic()
                for item, result, fault in answers:
                    _answer(item.done, result, fault)
                return None

    def _refuse(self, items: list[_Put | _Do], error: Exception) -> None:
        if len(items) > 1:
            for item in items:
                self._commit_until_done([item])
        elif items:
            _answer(items[0].done, None, error)
        else:
            log.error("the ledger could not meter the calls that wait: %s", error)

    def _commit(self, items: list[_Put | _Do]) -> list[tuple[_Put | _Do, Any, BaseException | None]]:
        answers: list[tuple[_Put | _Do, Any, BaseException | None]] = []
        try:
            with self._db.atomic():
                puts = [item for item in items if isinstance(item, _Put)]
                self.intake.apply([(put.source, put.batch) for put in puts], self.clock_ms())
                answers += [(put, None, None) for put in puts]
                for item in items:
                    if isinstance(item, _Do):
                        answers.append((item, *self._attempt(item.action)))
        except BaseException:
            self.numbering.load()
            self.intake.load()
            raise
        return answers

    def _attempt(self, action: Callable[[Database], T]) -> tuple[T | None, BaseException | None]:
        try:
            with self._db.atomic():
                return action(self._db), None
        except sqlite3.OperationalError:
            raise
        except Exception as error:
            self.numbering.load()
            return None, error

    def _in_trouble(self, error: sqlite3.OperationalError) -> None:
        if self.trouble is None:
            self.trouble_since_ms = self.clock_ms()
            log.error("the ledger cannot be written: %s; intake waits and tries again", error)
        self.trouble = LedgerFull(
            f"the ledger cannot be written: {error}", f"make room on the disk that holds {self.path.parent}"
        )

    def _out_of_trouble(self) -> None:
        if self.trouble is not None:
            log.info("the ledger can be written again")
            self.trouble = None


def _answer(done: "concurrent.futures.Future[Any]", result: Any, fault: BaseException | None) -> None:
    if not done.set_running_or_notify_cancel():
        return
    if fault is None:
        done.set_result(result)
    else:
        done.set_exception(fault)


def _is_about_the_disk(error: sqlite3.OperationalError) -> bool:
    """SQLite result codes that room, rights or time can mend (sqlite.org/rescode.html)."""
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_READONLY", "SQLITE_CANTOPEN"))
