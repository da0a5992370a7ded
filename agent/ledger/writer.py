"""The ledger: the one thread that writes, and what others may ask of it.

Laws
- Whoever hands something in gets its answer after the commit that holds it, never before.
- Commits are grouped: at once when the last one is COMMIT_EVERY_S past, else when that time is over or FULL_BATCH records wait.
- A disk without room, or a ledger at its size limit, stops intake and nothing else: what was handed in waits (a source waits
  for its answer, so that is one batch a source), is tried again each RETRY_S, and goes on by itself. Acknowledging and
  pruning go on meanwhile, for they make room; on a disk without any, they have the reserve.
- A ledger that proves damaged is written no further; `damaged` is set, and whoever runs the agent ends it. The next start sets
  the file aside and begins a new one.
"""

import asyncio
import concurrent.futures
import contextlib
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

from agent.config.tables import Ledger as LedgerSettings
from agent.ledger.errors import LedgerAtLimit, LedgerDamaged, LedgerError, LedgerFull
from agent.ledger.intake import Intake
from agent.ledger.numbering import Numbering
from agent.ledger.reserve import RESERVE_BYTES, Reserve
from agent.ledger.retention import prune_events, prune_records
from agent.ledger.store import Opened, is_damage, mark_damaged, open_for_writing
from agent.ledger.usage import count_step, prune_months
from agent.metering.meter import Meter
from agent.metering.rules import Metering, Site
from collectors.contract import Batch, Kind

COMMIT_EVERY_S = 1.0
"""A power cut may cost a source that cannot repeat itself this much; a commit costs one or two writes to the disk."""

FULL_BATCH = 200
RETRY_S = 5.0
DAY_MS = 24 * 3600 * 1000
TICK_S = 0.5

log = logging.getLogger("pegcount.ledger")
T = TypeVar("T")


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
        self._timezone = site.timezone
        self.trouble: LedgerError | None = None
        self.trouble_since_ms = 0
        try:
            self._take_up(open_for_writing(path), site, metering)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise LedgerError(f"cannot open the ledger {path}: {error}", "check the disk") from error
            self._db.close()
            self._lock.close()
            mark_damaged(path)
            self._take_up(open_for_writing(path), site, metering)
        self._queue: queue.SimpleQueue[_Put | _Do | None] = queue.SimpleQueue()
        self._closed = False
        self._committed_at = 0.0
        self._held: list[_Put] = []
        self._stale = False
        self._reserve = Reserve(path)
        self.damaged: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._notices: list[Callable[[], None]] = []
        self._told_line = self.numbering.line
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def _take_up(self, opened: Opened, site: Site, metering: Metering) -> None:
        self.quarantined = opened.quarantined
        self._db, self._lock = opened.db, opened.lock
        with self._db.atomic():
            self.numbering = Numbering(self._db, site.urn, self.clock_ms())
        self.intake = Intake(self._db, Meter(site, metering), self.numbering, self.settings.max_rejects)

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
        return self.do(lambda _: self.intake.open_source(name, kind, settle_ms, self.clock_ms())).result()

    def sink(self, source: str) -> _SourceSink:
        return _SourceSink(self, source)

    def on_events(self, notice: Callable[[], None]) -> None:
        """`notice` is called in the writer's thread after each commit that made events; it must not wait."""
        self._notices.append(notice)

    def found_damaged(self, error: sqlite3.DatabaseError) -> None:
        """Whoever reads pages that are none says so here; any thread."""
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            self.damaged.set_result(None)
            mark_damaged(self.path)
            self._in_trouble(
                LedgerDamaged(f"the ledger is damaged: {error}", f"check the disk, and keep {self.path} for support")
            )

    def prune_all(self) -> int:
        """Retention, step by step, other work in between; returns how many rows went."""
        total = 0
        while gone := self.prune(self.clock_ms()):
            total += gone
        return total

    def prune(self, now_ms: int) -> int:
        """One step of retention; returns how many rows went (0: nothing left to do for now). See `retention`."""
        before_ms = now_ms - self.settings.retention_days * DAY_MS

        def step(db: Database) -> int:
            prune_months(db, before_ms, self._timezone)
            return prune_events(db, before_ms) + prune_records(db, self.intake, before_ms, self._timezone)

        return self.do(step).result()

    def count_usage(self) -> None:
        """Bring the sums of the months up to the last event, step by step, other work in between. See `usage`."""
        while self.do(lambda db: count_step(db, self._timezone, self.clock_ms())).result():
            pass

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
            puts = [put for put in self._held if not put.done.cancelled()]
            puts += [item for item in items if isinstance(item, _Put)]
            actions = [item for item in items if isinstance(item, _Do)]
            self._held = []
            if puts and not last and (self._at_limit() or self._needs_reserve()):
                self._held, puts = puts, []
            if puts or actions or self.intake.waiting():
                self._commit_or_hold(puts, actions)
        for put in self._held:
            _answer(put.done, None, self.trouble or LedgerError("the ledger was closed"))
        self._db.close()
        self._lock.close()

    def _gather(self) -> tuple[list[_Put | _Do], bool]:
        """What the next transaction holds, and whether it is the last."""
        items: list[_Put | _Do] = []
        records = 0
        deadline = time.monotonic() + (RETRY_S if self._held else TICK_S)
        while True:
            try:
                item = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return items, False
            if item is None:
                return items, True
            items.append(item)
            if isinstance(item, _Put) and not self._held:
                records += len(item.batch.records)
                deadline = min(deadline, self._committed_at + COMMIT_EVERY_S)
            if isinstance(item, _Do) or records >= FULL_BATCH:
                deadline = 0.0

    def _commit_or_hold(self, puts: list[_Put], actions: list[_Do]) -> None:
        """Commit all together; where that fails, each by itself, so that only the one at fault is refused. Batches that the
        disk has no room for are held."""
        try:
            answers = self._commit(puts, actions)
        except sqlite3.OperationalError as error:
            if _is_about_the_disk(error):
                self._hold(puts, actions, error)
            else:
                self._one_by_one(puts, actions, error)
        except sqlite3.DatabaseError as error:
            if is_damage(error):
                self.found_damaged(error)
            self._one_by_one(puts, actions, error)
        except Exception as error:  # the supervisor of the writer's thread: it must not end
            self._one_by_one(puts, actions, error)
        else:
            self._committed_at = time.monotonic()
            if puts:
                self._out_of_trouble()
            for item, result, fault in answers:
                _answer(item.done, result, fault)
            self._tell()
            if self._reserve.spent:
                self._use_log_again()

    def _use_log_again(self) -> None:
        """Bring the write-ahead log into the file now, so that the next transaction needs no further room."""
        with contextlib.suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _tell(self) -> None:
        if self.numbering.line == self._told_line:
            return
        self._told_line = self.numbering.line
        for notice in self._notices:
            with contextlib.suppress(RuntimeError):  # its event loop may be closed by now
                notice()

    def _hold(self, puts: list[_Put], actions: list[_Do], error: sqlite3.OperationalError) -> None:
        self._held += puts
        self._in_trouble(
            LedgerFull(f"the ledger cannot be written: {error}", f"make room on the disk that holds {self.path.parent}")
        )
        if actions and (puts or self._reserve.give_up()):
            for action in actions:
                self._commit_or_hold([], [action])
        else:
            for action in actions:
                _answer(action.done, None, self.trouble)

    def _one_by_one(self, puts: list[_Put], actions: list[_Do], error: Exception) -> None:
        if len(puts) + len(actions) > 1:
            for put in puts:
                self._commit_or_hold([put], [])
            for action in actions:
                self._commit_or_hold([], [action])
        else:
            log.error("the ledger could not keep what it was given: %s: %s", type(error).__name__, error)
            for put in puts:
                _answer(put.done, None, error)
            for action in actions:
                _answer(action.done, None, error)

    def _commit(self, puts: list[_Put], actions: list[_Do]) -> list[tuple[_Put | _Do, Any, BaseException | None]]:
        answers: list[tuple[_Put | _Do, Any, BaseException | None]] = []
        if self._stale:
            self._refresh()
        try:
            with self._db.atomic():
                self.intake.apply([(put.source, put.batch) for put in puts], self.clock_ms())
                answers += [(put, None, None) for put in puts]
                for action in actions:
                    answers.append((action, *self._attempt(action.action)))
                for put in puts:
                    if put.batch.on_commit is not None:
                        with contextlib.suppress(RuntimeError):  # its event loop may be closed by now
                            put.batch.on_commit()
        except BaseException:
            self._stale = True
            self._refresh()
            raise
        return answers

    def _refresh(self) -> None:
        """Read again what is kept in memory of the tables, for a transaction was taken back. Where even reading fails, it
        is tried again before the next transaction."""
        self.numbering.load()
        self.intake.load(self.clock_ms())
        self._stale = False

    def _attempt(self, action: Callable[[Database], T]) -> tuple[T | None, BaseException | None]:
        try:
            with self._db.atomic():
                return action(self._db), None
        except sqlite3.OperationalError:
            raise
        except Exception as error:
            if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
                self.found_damaged(error)
            self.numbering.load()
            return None, error

    def _at_limit(self) -> bool:
        """Whether live rows fill the ledger to its limit; pages that pruning freed do not count."""
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (page_bytes,) = self._db.execute("PRAGMA page_size").fetchone()
        if (pages - free) * page_bytes < self.settings.max_size_mb << 20:
            return False
        self._in_trouble(
            LedgerAtLimit(
                f"the ledger has reached its limit of {self.settings.max_size_mb} MB",
                "let the uplink drain it, shorten ledger.retention_days, or raise ledger.max_size_mb",
            )
        )
        return True

    def _needs_reserve(self) -> bool:
        """Whether the reserve is spent and there is no room for it yet."""
        if not self._reserve.spent or self._reserve.keep():
            return False
        self._in_trouble(
            LedgerFull(
                f"the disk has less than {RESERVE_BYTES >> 20} MB left",
                f"make room on the disk that holds {self.path.parent}",
            )
        )
        return True

    def _in_trouble(self, trouble: LedgerError) -> None:
        if self.trouble is None:
            self.trouble_since_ms = self.clock_ms()
            log.error("%s; intake waits and tries again", trouble)
        self.trouble = trouble

    def _out_of_trouble(self) -> None:
        if self.trouble is not None:
            log.info("the ledger takes records again")
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
