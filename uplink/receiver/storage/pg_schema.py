"""The tables of the PostgreSQL store, in the schema `pegcount`, and how they come to be there.

Laws
- Steps are numbered from 1: append one, never change one. All that are missing are taken in one transaction, by one
  receiver at a time: any number of them may start together.
- A database that a later version has changed is left alone.
"""

from typing import Any, Final

from uplink.receiver.storage import StoreUnavailable

SCHEMA: Final = "pegcount"
LOCK = 0x706567636F756E74
"""Of pg_advisory_xact_lock, whose keys all applications of a database share: "pegcount" in ASCII."""
POSITIONS_LOCK = LOCK + 1
"""Shared by every transaction that takes positions; who wants to know which are settled takes it alone for a moment."""

_FIRST_TABLES = (
    'CREATE TABLE site (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE)',
    # One row per (site, epoch): the watermark, and the chain value there. `after_matches` is null where it named none.
    """CREATE TABLE epoch (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        site_id bigint NOT NULL REFERENCES site,
        name text COLLATE "C" NOT NULL,
        acked_through bigint NOT NULL,
        chain bytea NOT NULL,
        reached_ms bigint NOT NULL,
        began_ms bigint NOT NULL,
        seen_ms bigint NOT NULL,
        skew_ms bigint NOT NULL,
        after_epoch text NOT NULL,
        after_chain bytea NOT NULL,
        after_matches integer,
        counted bigint NOT NULL DEFAULT 0,
        known bigint NOT NULL DEFAULT 0,
        rejected bigint NOT NULL DEFAULT 0,
        UNIQUE (site_id, name)
    ) WITH (fillfactor = 50)""",
    # Where batches ended, and the chain value there. Values in between are worked out from the events' bytes.
    """CREATE TABLE batch (
        epoch_id bigint NOT NULL,
        last bigint NOT NULL,
        first bigint NOT NULL,
        chain bytea NOT NULL,
        received_ms bigint NOT NULL,
        PRIMARY KEY (epoch_id, last)
    )""",
    # Every number of every epoch, whatever became of it. The body of a withheld event is empty, and the quantity of an event
    # that was refused is null. No foreign keys: each would be looked up once an event, for ids that this transaction made.
    """CREATE TABLE event (
        position bigint GENERATED ALWAYS AS IDENTITY,
        site_id bigint NOT NULL,
        epoch_id bigint NOT NULL,
        seq bigint NOT NULL,
        status smallint NOT NULL,
        time_ms bigint NOT NULL,
        id text COLLATE "C" NOT NULL,
        meter text COLLATE "C" NOT NULL,
        unit text COLLATE "C" NOT NULL,
        quantity numeric,
        body bytea NOT NULL,
        PRIMARY KEY (epoch_id, seq)
    )""",
    "CREATE UNIQUE INDEX event_order ON event (site_id, position)",
    "CREATE INDEX event_id ON event (id) WHERE status = 0",
    # Events that were stored and not counted, and why.
    """CREATE TABLE exception (
        epoch_id bigint NOT NULL,
        seq bigint NOT NULL,
        status smallint NOT NULL,
        code text NOT NULL,
        message text NOT NULL,
        PRIMARY KEY (epoch_id, seq)
    )""",
    # Exact sums, kept by the transaction that stores the events.
    """CREATE TABLE total (
        site_id bigint NOT NULL REFERENCES site,
        day text COLLATE "C" NOT NULL,
        meter text COLLATE "C" NOT NULL,
        unit text COLLATE "C" NOT NULL,
        events bigint NOT NULL,
        quantity numeric NOT NULL,
        PRIMARY KEY (site_id, day, meter, unit)
    ) WITH (fillfactor = 50)""",
)
_DOCUMENTS = (
    """CREATE TABLE document (
        kind text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        revision bigint NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (kind, key)
    ) WITH (fillfactor = 50)""",
)

_ORDER_OVER_ALL_SITES = ("CREATE INDEX event_counted ON event (position) WHERE status = 0",)

# What one day of a site looks like; its events are too many to be gone through. Sums of the meter `call`.
_CALLS_BY_HOUR = (
    """CREATE TABLE call_hour (
        site_id bigint NOT NULL REFERENCES site,
        day text COLLATE "C" NOT NULL,
        hour smallint NOT NULL,
        quantity numeric NOT NULL,
        PRIMARY KEY (site_id, day, hour)
    ) WITH (fillfactor = 50)""",
    """INSERT INTO call_hour SELECT site_id, to_char(to_timestamp(time_ms / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
        time_ms / 3600000 % 24 AS hour, sum(quantity) FROM event WHERE meter = 'call' AND status = 0
    GROUP BY site_id, day, hour""",
)

# Ids are asked for within the epochs of a site. By epoch those of a batch lie close together, and not in as many pages as
# there are events in it.
_IDS_BY_EPOCH = ("DROP INDEX event_id", "CREATE INDEX event_id ON event (epoch_id, id) WHERE status = 0")

# What neither the platform nor the site holds any more: how many of an epoch's numbers, and by which batch it was stated.
_LOST_EVENTS = (
    "ALTER TABLE epoch ADD COLUMN lost bigint NOT NULL DEFAULT 0",
    "ALTER TABLE batch ADD COLUMN lost boolean NOT NULL DEFAULT false",
)

STEPS: Final = (_FIRST_TABLES, _DOCUMENTS, _ORDER_OVER_ALL_SITES, _CALLS_BY_HOUR, _IDS_BY_EPOCH, _LOST_EVENTS)


async def migrate(connection: Any) -> None:
    """Raises StoreUnavailable for a database that cannot be ours, and what asyncpg raises."""
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        raise StoreUnavailable(
            f"the database's encoding is {encoding}: make one with ENCODING 'UTF8' TEMPLATE template0"
        )
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        if not await connection.fetchval("SELECT to_regnamespace($1) IS NOT NULL", SCHEMA):
            # Not by IF NOT EXISTS: that asks for the right to create even where nothing is to be created.
            await connection.execute(f"CREATE SCHEMA {SCHEMA}")
        if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.migration"):
            await connection.execute(
                f"CREATE TABLE {SCHEMA}.migration (step integer PRIMARY KEY, taken_at timestamptz NOT NULL DEFAULT now())"
            )
        taken = await connection.fetchval("SELECT coalesce(max(step), 0) FROM migration")
        if taken > len(STEPS):
            raise StoreUnavailable(f"the database is of a later version: step {taken}, this one knows {len(STEPS)}")
        for step in range(taken + 1, len(STEPS) + 1):
            for statement in STEPS[step - 1]:
                await connection.execute(statement)
            await connection.execute("INSERT INTO migration (step) VALUES ($1)", step)
