"""The tables of the SQLite store, as sqlite-utils migrations: append a migration, never change one."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import IO

from sqlite_utils import Database, Migrations

from uplink.receiver.storage.reckoning import COUNTED, exact_sum
from uplink.receiver.storage.totalling import install

migrations = Migrations("pegcount receiver")

WAL_PAGES = 8000
"""After how many a commit brings the log into the database: 32 MB, some 50,000 events. SQLite's own 1,000 are written by the
commits of a busy second several times over, the same pages again and again."""


@migrations()
def first_tables(db: Database) -> None:
    for statement in _FIRST_TABLES:
        db.conn.execute(statement)


@migrations()
def documents(db: Database) -> None:
    db.conn.execute(
        "CREATE TABLE document (kind TEXT NOT NULL, key TEXT NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL,"
        " PRIMARY KEY (kind, key)) STRICT, WITHOUT ROWID"
    )


@migrations()
def totals_over_all_sites(db: Database) -> None:
    """What a provider asks most; summing the rows of 10,000 sites takes seconds."""
    db.conn.execute(
        "CREATE TABLE fleet_total (day TEXT NOT NULL, meter TEXT NOT NULL, unit TEXT NOT NULL, events INTEGER NOT NULL,"
        " quantity TEXT NOT NULL, PRIMARY KEY (day, meter, unit)) STRICT, WITHOUT ROWID"
    )
    sums: dict[tuple[str, str, str], tuple[int, Decimal]] = {}
    for day, meter, unit, events, quantity in db.execute("SELECT day, meter, unit, events, quantity FROM total"):
        before_events, before = sums.get((day, meter, unit), (0, Decimal(0)))
        sums[day, meter, unit] = before_events + events, exact_sum((before, Decimal(quantity)))
    db.conn.executemany(
        "INSERT INTO fleet_total (day, meter, unit, events, quantity) VALUES (?, ?, ?, ?, ?)",
        [(*key, events, f"{quantity:f}") for key, (events, quantity) in sums.items()],
    )


@migrations()
def calls_by_hour(db: Database) -> None:
    """What one day of a site looks like; its events are too many to be gone through."""
    db.conn.execute(
        "CREATE TABLE call_hour (site_id INTEGER NOT NULL REFERENCES site(id), day TEXT NOT NULL, hour INTEGER NOT NULL,"
        " quantity TEXT NOT NULL, PRIMARY KEY (site_id, day, hour)) STRICT, WITHOUT ROWID"
    )
    sums: dict[tuple[int, str, int], Decimal] = {}
    for site_id, day, hour, quantity in db.execute(
        "SELECT site_id, date(time_ms / 1000, 'unixepoch'), time_ms / 3600000 % 24, quantity"
        f" FROM event JOIN epoch ON epoch.id = epoch_id WHERE meter = 'call' AND status = {COUNTED}"
    ):
        key = site_id, day, hour
        sums[key] = exact_sum((sums.get(key, Decimal(0)), Decimal(quantity)))
    db.conn.executemany(
        "INSERT INTO call_hour (site_id, day, hour, quantity) VALUES (?, ?, ?, ?)",
        [(*key, f"{quantity:f}") for key, quantity in sums.items()],
    )


@migrations()
def ids_by_epoch(db: Database) -> None:
    """Ids are asked for within the epochs of a site. By epoch those of a batch lie close together, and not in as many pages as
    there are events in it."""
    db.conn.execute("DROP INDEX event_id")
    db.conn.execute("CREATE INDEX event_id ON event (epoch_id, id)")


@migrations()
def lost_events(db: Database) -> None:
    """What neither the platform nor the site holds any more: how many of an epoch's numbers, and which batch stated it."""
    db.conn.execute("ALTER TABLE epoch ADD COLUMN lost INTEGER NOT NULL DEFAULT 0")
    db.conn.execute("ALTER TABLE batch ADD COLUMN lost INTEGER NOT NULL DEFAULT 0")


_FIRST_TABLES = (
    "CREATE TABLE site (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    # One row per (site, epoch): the watermark, and the chain value there. `after_matches` is null where it named none.
    """CREATE TABLE epoch (
        id INTEGER PRIMARY KEY,
        site_id INTEGER NOT NULL REFERENCES site(id),
        name TEXT NOT NULL,
        acked_through INTEGER NOT NULL,
        chain BLOB NOT NULL,
        reached_ms INTEGER NOT NULL,
        began_ms INTEGER NOT NULL,
        seen_ms INTEGER NOT NULL,
        skew_ms INTEGER NOT NULL,
        after_epoch TEXT NOT NULL,
        after_chain BLOB NOT NULL,
        after_matches INTEGER,
        counted INTEGER NOT NULL DEFAULT 0,
        known INTEGER NOT NULL DEFAULT 0,
        rejected INTEGER NOT NULL DEFAULT 0,
        UNIQUE (site_id, name)
    ) STRICT""",
    # Where batches ended, and the chain value there. Values in between are worked out from the events' bytes.
    """CREATE TABLE batch (
        epoch_id INTEGER NOT NULL REFERENCES epoch(id),
        last INTEGER NOT NULL,
        first INTEGER NOT NULL,
        chain BLOB NOT NULL,
        received_ms INTEGER NOT NULL,
        PRIMARY KEY (epoch_id, last)
    ) STRICT, WITHOUT ROWID""",
    # Every number of every epoch, whatever became of it. The body of a withheld event is empty.
    """CREATE TABLE event (
        position INTEGER PRIMARY KEY,
        epoch_id INTEGER NOT NULL REFERENCES epoch(id),
        seq INTEGER NOT NULL,
        status INTEGER NOT NULL,
        id TEXT NOT NULL,
        meter TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        quantity TEXT NOT NULL,
        unit TEXT NOT NULL,
        body BLOB NOT NULL
    ) STRICT""",
    "CREATE UNIQUE INDEX event_place ON event (epoch_id, seq)",
    "CREATE INDEX event_id ON event (id)",
    # Events that were stored and not counted, and why.
    """CREATE TABLE exception (
        epoch_id INTEGER NOT NULL REFERENCES epoch(id),
        seq INTEGER NOT NULL,
        status INTEGER NOT NULL,
        code TEXT NOT NULL,
        message TEXT NOT NULL,
        PRIMARY KEY (epoch_id, seq)
    ) STRICT, WITHOUT ROWID""",
    # Exact sums, kept by the transaction that stores the events. The quantity is a decimal.
    """CREATE TABLE total (
        site_id INTEGER NOT NULL REFERENCES site(id),
        day TEXT NOT NULL,
        meter TEXT NOT NULL,
        unit TEXT NOT NULL,
        events INTEGER NOT NULL,
        quantity TEXT NOT NULL,
        PRIMARY KEY (site_id, day, meter, unit)
    ) STRICT, WITHOUT ROWID""",
)


def lock(path: str) -> IO[bytes]:
    """Held until it is closed, or its process ends. Beside the file: to close it would take SQLite's own locks away. Raises
    OSError, BlockingIOError where another one holds it."""
    held = open(os.path.realpath(path) + ".lock", "ab", opener=lambda name, flags: os.open(name, flags, 0o600))  # noqa: SIM115
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held.close()
        raise BlockingIOError("another receiver or consumer has it: several need PostgreSQL or a log") from None
    return held


def open_writer(path: str) -> Database:
    """The writing connection: migrated, WAL, and every commit on the disk before it returns."""
    Path(path).touch(0o600)  # it holds the platform's private key; SQLite gives its other files the same mode
    db = Database(path)
    db.conn.execute("PRAGMA journal_mode=WAL")
    db.conn.execute("PRAGMA synchronous=FULL")
    db.conn.execute("PRAGMA foreign_keys=ON")
    db.conn.execute("PRAGMA busy_timeout=5000")
    db.conn.execute("PRAGMA cache_size=-65536")
    db.conn.execute(f"PRAGMA wal_autocheckpoint={WAL_PAGES}")
    install(db.conn)
    _refuse_later(db)
    migrations.apply(db)
    return db


def _refuse_later(db: Database) -> None:
    """A file that a later version has changed is left alone. Raises sqlite3.NotSupportedError."""
    known = {each.name for each in migrations.pending(Database(memory=True))}
    unknown = [each.name for each in migrations.applied(db) if each.name not in known]
    if unknown:
        raise sqlite3.NotSupportedError(f"the file is of a later version: this one does not know {unknown[0]}")


def open_reader(path: str) -> Database:
    db = Database(path)
    db.conn.execute("PRAGMA query_only=ON")
    db.conn.execute("PRAGMA busy_timeout=5000")
    return db


@contextmanager
def changing(conn: sqlite3.Connection) -> Iterator[None]:
    """A transaction that may write from its begin: one that began by reading could not wait for another process that writes
    (a command beside a running receiver), it would fail at once (SQLITE_BUSY_SNAPSHOT)."""
    conn.execute("BEGIN IMMEDIATE")
    try:
        yield
        conn.execute("COMMIT")
    except BaseException:
        conn.rollback()
        raise
