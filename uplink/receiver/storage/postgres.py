"""The store for one database and any number of receivers: PostgreSQL 13 or later, by asyncpg.

Laws
- A batch is on the server's disk before `append` returns: `synchronous_commit` is set here, whatever the server's default.
- Batches of different sites that wait at the same time are one transaction (`lanes`). Where that fails, or a site is held by
  somebody else, each is one by itself: a batch takes no other with it.
- A commit whose answer was lost is neither assumed nor repeated here: StoreUnavailable. The site sends again, and what is
  stored decides.
- No wait is without an end: for a connection, a lock, a statement.
- The URL may hold a password; no message does.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg

from uplink.feed import Item
from uplink.receiver.storage import (
    ANY,
    EVENTS_MAX_BYTES,
    Appended,
    Booked,
    Document,
    EpochState,
    HeldRow,
    Incoming,
    Room,
    SitesQuery,
    SiteState,
    StoredEvent,
    StoreUnavailable,
    Total,
    TotalsQuery,
    in_words,
    pg_rewriting,
)
from uplink.receiver.storage.held import Row
from uplink.receiver.storage.lanes import Lanes
from uplink.receiver.storage.outage import Outage
from uplink.receiver.storage.pg_booking import book
from uplink.receiver.storage.pg_schema import POSITIONS_LOCK, SCHEMA, migrate
from uplink.receiver.storage.reckoning import Exemption, by_hour, epoch_states, stored

log = logging.getLogger(__name__)

FORM = "postgresql://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE, what is special in a password as %XX"
CONNECTIONS = 8
"""Of each receiver. Eight are what two cores' disk took before more brought nothing."""
LANES = 4
"""Groups of batches at once: while one waits for the disk the next is copied, and the server's processors are used. The other
connections are for what goes alone, for documents and for reading."""
ACQUIRE_S = 10.0
COMMAND_S = 30.0
"""An agent waits a minute for its answer."""
TRIES = 3
"""For a transaction that the server ended for another one's sake (deadlock, serialization). By the order of its locks ours
cannot cause one; a trigger of somebody else's can."""

_SETTINGS = {
    "search_path": SCHEMA,
    "synchronous_commit": "on",
    "lock_timeout": "10s",
    "statement_timeout": "25s",
    "idle_in_transaction_session_timeout": "30s",
    "application_name": "pegcount receiver",
}

_T = TypeVar("_T")
_FAULTS = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class PostgresStore:
    """`Store` and `Documents`. Make one with `await PostgresStore.open(url)`."""

    def __init__(self, pool: Any, name: str) -> None:
        """`name`: as the log is to call it."""
        self._pool = pool
        self._unread, self._unwritten = Outage(f"{name} (reading)"), Outage(f"{name} (writing)")
        self._settled = 0
        self._lanes = Lanes(LANES, self._together, self._alone)

    @classmethod
    async def open(cls, url: str) -> "PostgresStore":
        """Raises StoreUnavailable where the database cannot be reached or is not one of ours."""
        try:
            pool = await asyncpg.create_pool(
                url, min_size=0, max_size=CONNECTIONS, command_timeout=COMMAND_S, server_settings=_SETTINGS
            )
        except _FAULTS as error:
            raise StoreUnavailable(f"{shown(url)}: {in_words(error)}") from error
        try:
            async with pool.acquire() as connection:
                await migrate(connection)
        except (*_FAULTS, StoreUnavailable) as error:
            await pool.close()
            raise StoreUnavailable(f"{shown(url)}: {in_words(error)}") from error
        except ValueError:  # a URL that is none, told with what may be a piece of a password
            raise StoreUnavailable(f"{shown(url)} is none of {FORM}") from None
        return cls(pool, shown(url))

    async def close(self) -> None:
        """Waits for what is under way."""
        await self._lanes.close()
        await self._pool.close()

    async def append(self, incoming: Incoming) -> Appended:
        return await self._lanes.append(incoming)

    async def _together(self, group: list[Incoming]) -> list[Appended | StoreUnavailable | None]:
        """None of each where the server refused them as they are: nothing of them is stored then."""
        try:
            async with self._pool.acquire(timeout=ACQUIRE_S) as connection, connection.transaction():
                booked = [*await book(connection, group, wait=False)]
        except asyncpg.PostgresError as error:
            log.debug("%d batches that go alone now: %s", len(group), in_words(error))
            return [None] * len(group)
        except _FAULTS as error:
            self._unwritten.begins(in_words(error))
            return [StoreUnavailable(in_words(error))] * len(group)
        self._unwritten.ends()
        return [*booked]

    async def _alone(self, incoming: Incoming) -> Appended | StoreUnavailable:
        try:
            return await self._change(lambda connection: _again(connection, incoming))
        except StoreUnavailable as error:
            return error

    async def check(self) -> None:
        if not await self._do(lambda connection: connection.fetchval(_WRITABLE)):
            raise StoreUnavailable("it is a standby, or read only, or this role may not insert")

    async def room(self) -> Room:
        size = "SELECT pg_database_size(current_database())"
        return Room(used_bytes=await self._do(lambda connection: connection.fetchval(size)))

    async def get(self, kind: str, key: str) -> Document | None:
        row = await self._do(lambda connection: connection.fetchrow(_GET, kind, key))
        return Document(key=key, revision=row["revision"], body=row["body"]) if row else None

    async def put(self, kind: str, key: str, body: bytes, expected: int = ANY) -> int | None:
        if not body:
            raise ValueError("a document cannot be empty")
        revision: int | None = await self._change(
            lambda connection: connection.fetchval(_PUT, kind, key, body, expected)
        )
        return revision

    async def put_all(self, kind: str, bodies: Mapping[str, bytes]) -> None:
        if not all(bodies.values()):
            raise ValueError("a document cannot be empty")
        keys = sorted(bodies)
        await self._change(lambda connection: connection.execute(_PUT_ALL, kind, keys, [bodies[key] for key in keys]))

    async def delete(self, kind: str, key: str, expected: int = ANY) -> bool:
        return await self._change(lambda connection: connection.fetchval(_DELETE, kind, key, expected)) is not None

    async def listed(self, kind: str, after: str = "", limit: int = 1000) -> list[Document]:
        rows = await self._do(lambda connection: connection.fetch(_LISTED, kind, after, limit))
        return [Document(key=key, revision=revision, body=body) for key, revision, body in rows]

    async def epochs(self, site: str) -> list[EpochState]:
        return epoch_states(await self._do(lambda connection: connection.fetch(_EPOCHS, site)))

    async def totals(self, query: TotalsQuery) -> list[Total]:
        rows = await self._do(
            lambda connection: connection.fetch(
                _TOTALS, query.site, query.by_day, query.first_day, query.last_day, query.meter
            )
        )
        return [
            Total(day=of_day, meter=meter, unit=unit, events=events, quantity=quantity)
            for of_day, meter, unit, events, quantity in rows
        ]

    async def calls_by_hour(self, site: str, day: str) -> list[Decimal]:
        return by_hour(await self._do(lambda connection: connection.fetch(_CALLS_BY_HOUR, site, day)))

    async def sites(self, query: SitesQuery) -> list[SiteState]:
        rows = await self._do(
            lambda connection: connection.fetch(_SITES, query.after, query.search, query.silent_before_ms, query.limit)
        )
        return [SiteState(**row) for row in rows]

    async def events(self, site: str, after: int, limit: int) -> list[StoredEvent]:
        rows = await self._do(lambda connection: connection.fetch(_EVENTS, site, after, limit, EVENTS_MAX_BYTES))
        return [stored(row) for row in rows]

    async def history(self, site: str, epoch: str, after: int, limit: int) -> list[HeldRow]:
        """An epoch's rows behind number `after`, in the order of their numbers."""
        rows = await self._do(lambda connection: connection.fetch(_HISTORY, site, epoch, after, limit))
        return [HeldRow(*row) for row in rows]

    async def rewrite(self, site: str, epoch: str, rows: Sequence[Row], exemptions: Sequence[Exemption]) -> None:
        async def within(connection: Any) -> None:
            async with connection.transaction():
                await pg_rewriting.rewrite(connection, site, epoch, rows, exemptions)

        await self._change(within)

    async def counted_elsewhere(self, site: str, epoch: str, ids: Sequence[str]) -> frozenset[str]:
        """Which of these ids another epoch of the site has counted."""
        rows = await self._do(lambda connection: connection.fetch(_COUNTED_ELSEWHERE, site, epoch, ids))
        return frozenset(row[0] for row in rows)

    async def stray(self) -> int:
        """The position of a row that is of no epoch; 0 where there is none."""
        return int(await self._do(lambda connection: connection.fetchval(_STRAY)) or 0)

    async def batches(self, site: str, epoch: str, after: int, limit: int) -> list[Booked]:
        rows = await self._do(lambda connection: connection.fetch(_BATCHES, site, epoch, after, limit))
        return [Booked(**row) for row in rows]

    async def counted(self, after: int, limit: int) -> list[Item]:
        if after >= self._settled:
            await self.newest()
        rows = await self._do(lambda connection: connection.fetch(_COUNTED, after, self._settled, limit))
        return [Item(position, body) for position, body in rows]

    async def newest(self) -> int:
        """Positions are taken before they are committed, and not in that order. While nobody is between the two, all that are
        there are settled, and later ones are higher."""

        async def settled(connection: Any) -> int:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", POSITIONS_LOCK)
                return int(await connection.fetchval("SELECT coalesce(max(position), 0) FROM event WHERE status = 0"))

        self._settled = await self._do(settled)
        return self._settled

    async def _do(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        with self._unread.watched():
            return await self._done(work)

    async def _change(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        """Told apart, for a standby can be read."""
        with self._unwritten.watched():
            return await self._done(work)

    async def _done(self, work: Callable[[Any], Awaitable[_T]]) -> _T:
        try:
            async with self._pool.acquire(timeout=ACQUIRE_S) as connection:
                return await work(connection)
        except _FAULTS as error:
            raise StoreUnavailable(in_words(error)) from error


async def _again(connection: Any, incoming: Incoming) -> Appended:
    for attempt in range(TRIES):
        try:
            async with connection.transaction():
                (appended,) = await book(connection, [incoming], wait=True)
                assert appended is not None
                return appended
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            if attempt == TRIES - 1:
                raise
    raise AssertionError("a loop that returns or raises")


def shown(url: str) -> str:
    """A URL of a server without what it says of who may; of one that is none no more than its scheme."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return f"{url.partition(':')[0]}://..."
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}"


_WRITABLE = """
SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off' AND has_table_privilege('event', 'INSERT')
"""

_GET = "SELECT revision, body FROM document WHERE kind = $1 AND key = $2 AND body <> ''"

# A deleted document leaves its revision behind with an empty body, so that a revision never comes back. Rows never go, so
# the test for one cannot be overtaken.
_PUT = """
INSERT INTO document AS old (kind, key, revision, body)
SELECT $1, $2, 1, $3 WHERE $4::bigint IN (-1, 0) OR EXISTS (SELECT FROM document WHERE kind = $1 AND key = $2)
ON CONFLICT (kind, key) DO UPDATE SET revision = old.revision + 1, body = excluded.body
    WHERE $4 = -1 OR $4 = CASE WHEN old.body = '' THEN 0 ELSE old.revision END
RETURNING revision
"""

# In the order of keys: two receivers that put the same ones wait for each other in one direction only.
_PUT_ALL = """
INSERT INTO document AS old (kind, key, revision, body)
SELECT $1, key, 1, body FROM unnest($2::text[], $3::bytea[]) AS new (key, body)
ON CONFLICT (kind, key) DO UPDATE SET revision = old.revision + 1, body = excluded.body
"""

_DELETE = """
UPDATE document SET revision = revision + 1, body = ''
WHERE kind = $1 AND key = $2 AND body <> '' AND ($3::bigint = -1 OR $3 = revision) RETURNING revision
"""

_LISTED = """
SELECT key, revision, body FROM document WHERE kind = $1 AND key > $2 AND body <> '' ORDER BY key LIMIT $3
"""

_EPOCHS = """
SELECT epoch.name, acked_through, chain, began_ms, seen_ms, skew_ms, after_matches, counted, known, rejected, lost
FROM epoch JOIN site ON site.id = site_id WHERE site.name = $1 ORDER BY epoch.id
"""

_TOTALS = """
SELECT CASE WHEN $2 THEN day WHEN $3 = $4 THEN $3 ELSE '' END AS of_day, meter, unit, sum(events)::bigint, sum(quantity)::text
FROM total
WHERE ($1 = '' OR site_id = (SELECT id FROM site WHERE name = $1))
    AND day >= $3 AND ($4 = '' OR day <= $4) AND ($5 = '' OR meter = $5)
GROUP BY of_day, meter, unit ORDER BY of_day, meter, unit
"""

_CALLS_BY_HOUR = """
SELECT hour, quantity FROM call_hour WHERE site_id = (SELECT id FROM site WHERE name = $1) AND day = $2
"""

# The first epoch has nothing to continue, unless it names what the platform never had.
_SITES = """
SELECT picked.name AS site, latest.name AS epoch, latest.acked_through, latest.skew_ms, picked.began_ms, picked.seen_ms,
    epochs, broken, picked.counted, picked.known, picked.rejected, picked.lost
FROM (
    SELECT site.name, max(epoch.id) AS latest, min(epoch.began_ms) AS began_ms, max(epoch.seen_ms) AS seen_ms,
        count(*) AS epochs, count(*) FILTER (WHERE after_matches IS DISTINCT FROM 1)
            - coalesce(min(epoch.id) = min(epoch.id) FILTER (WHERE after_matches IS NULL), false)::int AS broken,
        sum(counted)::bigint AS counted, sum(known)::bigint AS known, sum(rejected)::bigint AS rejected,
        sum(lost)::bigint AS lost
    FROM site JOIN epoch ON site_id = site.id
    WHERE site.name > $1 AND strpos(lower(site.name), lower($2)) > 0
    GROUP BY site.name
    HAVING $3::bigint IS NULL OR max(epoch.seen_ms) < $3 OR count(*) FILTER (WHERE after_matches IS DISTINCT FROM 1)
        > coalesce(min(epoch.id) = min(epoch.id) FILTER (WHERE after_matches IS NULL), false)::int OR sum(lost) > 0
    ORDER BY site.name LIMIT $4
) AS picked JOIN epoch AS latest ON latest.id = picked.latest ORDER BY picked.name
"""


# A page by the primary key first, whatever the statistics say. The row's own site has to be its epoch's.
_HISTORY = """
WITH page AS MATERIALIZED (
    SELECT * FROM event
    WHERE epoch_id = (SELECT epoch.id FROM epoch JOIN site ON site.id = site_id WHERE site.name = $1 AND epoch.name = $2)
        AND seq > $3 ORDER BY seq LIMIT $4
)
SELECT coalesce(site.name, ''), page.seq, page.status, page.id, meter, time_ms, coalesce(quantity::text, ''), unit, body,
    exception.status, coalesce(code, '')
FROM page LEFT JOIN site ON site.id = page.site_id
    LEFT JOIN exception ON exception.epoch_id = page.epoch_id AND exception.seq = page.seq
ORDER BY page.seq
"""

_STRAY = "SELECT position FROM event WHERE NOT EXISTS (SELECT FROM epoch WHERE id = epoch_id) LIMIT 1"

_COUNTED_ELSEWHERE = """
SELECT event.id FROM event JOIN epoch ON epoch.id = event.epoch_id JOIN site ON site.id = epoch.site_id
WHERE event.id = ANY($3) AND status = 0 AND site.name = $1 AND epoch.name <> $2
"""

_BATCHES = """
SELECT first, last, batch.chain, received_ms, batch.lost
FROM batch JOIN epoch ON epoch.id = epoch_id JOIN site ON site.id = site_id
WHERE site.name = $1 AND epoch.name = $2 AND last > $3 ORDER BY last LIMIT $4
"""

_COUNTED = """
SELECT position, body FROM event WHERE status = 0 AND position > $1 AND position <= $2 ORDER BY position LIMIT $3
"""

_EVENTS = """
SELECT position, name, seq, status, body FROM (
    SELECT *, sum(octet_length(body)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - octet_length(body) AS bytes_before
    FROM (
        SELECT position, epoch.name, seq, status, body FROM event JOIN epoch ON epoch.id = epoch_id
        WHERE event.site_id = (SELECT id FROM site WHERE name = $1) AND position > $2 ORDER BY position LIMIT $3
    ) AS page
) AS measured WHERE bytes_before < $4 ORDER BY position
"""
