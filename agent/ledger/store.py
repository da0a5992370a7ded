"""Opening the ledger's file: durable settings, one writer, migrations, and what to do with a file that is no ledger.

Laws
- WAL with `synchronous=FULL`: a commit that returned survives a power cut.
- A file that SQLite cannot read is never written to: it is moved aside, and a new ledger with a new epoch begins.
- A file that proved damaged while it was in use is marked; the next opening looks at all of it, and moves it aside as well.
- One process writes. A second one is refused at once, before it changed anything.
"""

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import IO, Any

from msgspec import Struct
from sqlite_utils import Database

from agent.ledger.errors import LedgerError, LedgerLocked
from agent.ledger.schema import migrations

BUSY_MS = 10_000
"""How long a reader's lock may keep the writer: a checkpoint of a large WAL on a slow disk takes a few seconds."""

WAL_LIMIT_BYTES = 64 << 20

ROWS_A_STATEMENT = 50
"""Rows that `insert` gives SQLite in one statement: each row then costs about 60 % of what it costs alone, and more rows save
nothing further. With the widest table it stays below the 999 values that any SQLite takes (sqlite.org/limits.html)."""


class Opened(Struct):
    db: Database
    lock: IO[bytes]
    quarantined: str = ""


def open_for_writing(path: Path) -> Opened:
    """Open or make the ledger. `quarantined` names the file that an unreadable one was moved to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(path)
    except OSError as error:
        raise LedgerError(
            f"cannot open the ledger {path}: {error.strerror}", "check the folder's owner and rights"
        ) from error
    try:
        return Opened(_checked(path), lock)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise LedgerError(
                f"cannot open the ledger {path}: {error}", "check the disk and the file's rights"
            ) from error
        aside = _move_aside(path)
        return Opened(_open(path), lock, str(aside))


def _lock(path: Path) -> IO[bytes]:
    lock = open(path.with_name(path.name + ".lock"), "ab")  # noqa: SIM115  # held as long as the ledger is open
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise LedgerLocked(
            f"another pegcount writes the ledger {path}",
            "stop it first: systemctl stop pegcount, or look for its process",
        ) from None
    return lock


def _checked(path: Path) -> Database:
    """The database, looked through where it is marked. Raises what SQLite raises."""
    mark = _mark(path)
    db = _open(path)
    if mark.exists():
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            db.close()
            raise _damage(found)
        mark.unlink()
    return db


def _damage(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorname = "SQLITE_CORRUPT"
    return error


def _mark(path: Path) -> Path:
    return path.with_name(path.name + ".damaged")


def mark_damaged(path: Path) -> None:
    """The next opening is to look at the whole file. Where even that cannot be written, it is found anew in time."""
    with contextlib.suppress(OSError):
        _mark(path).touch()


def _open(path: Path) -> Database:
    conn = sqlite3.connect(path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
    os.chmod(path, 0o600)
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"journal_size_limit = {WAL_LIMIT_BYTES}",
        "cache_size = -16384",
        "wal_autocheckpoint = 8000",
        "temp_store = MEMORY",
    ):
        conn.execute(f"PRAGMA {pragma}")
    return _migrated(conn)


def _migrated(conn: sqlite3.Connection) -> Database:
    db = Database(conn)
    migrations.apply(db)
    return db


def open_temporary() -> Database:
    """A ledger that is gone when it is closed, for looking at what a file would give: SQLite keeps it in memory and, where it
    grows, in an unnamed temporary file (sqlite.org/inmemorydb.html)."""
    return _migrated(sqlite3.connect("", isolation_level=None, check_same_thread=False))


def open_for_reading(path: Path) -> Database:
    """Raises LedgerError where there is no ledger."""
    if not path.exists():
        raise LedgerError(f"there is no ledger at {path}", "it is made when `pegcount run` starts for the first time")
    conn = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5, check_same_thread=False)
    conn.execute("PRAGMA query_only = 1")
    return Database(conn)


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether SQLite says that the file holds no database, or one with pages that are none."""
    return getattr(error, "sqlite_errorname", "").split("_")[1:2] in (["NOTADB"], ["CORRUPT"])


def _move_aside(path: Path) -> Path:
    aside = path
    number = 0
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.unreadable-{number}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    _mark(path).unlink(missing_ok=True)
    return aside


def insert(conn: sqlite3.Connection, into: str, rows: Sequence[tuple[Any, ...]], conflict: str = "") -> int:
    """Write rows of equal width; returns how many were written. `into` is the statement up to its VALUES (`INSERT INTO
    event (line, body)`), `conflict` what follows them."""
    if not rows:
        return 0
    width, written = len(rows[0]), 0
    many = _statement(into, width, ROWS_A_STATEMENT, conflict)
    whole = len(rows) - len(rows) % ROWS_A_STATEMENT
    for start in range(0, whole, ROWS_A_STATEMENT):
        values = tuple(chain.from_iterable(rows[start : start + ROWS_A_STATEMENT]))
        written += conn.execute(many, values).rowcount
    if whole < len(rows):
        written += conn.executemany(_statement(into, width, 1, conflict), rows[whole:]).rowcount
    return written


@lru_cache(maxsize=64)
def _statement(into: str, width: int, rows: int, conflict: str) -> str:
    row = f"({', '.join('?' * width)})"
    return f"{into} VALUES {', '.join([row] * rows)} {conflict}".rstrip()
