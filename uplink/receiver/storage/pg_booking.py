"""One batch into the PostgreSQL store, within a transaction that the caller holds.

Laws
- The site's row is locked first. So one batch of a site is decided at a time, whichever receiver it came to, and what the
  placement was decided on is what is changed.
- Events go in by COPY, everything else of the batch by one statement.
"""

from decimal import Decimal
from typing import Any

from msgspec import Struct

from uplink.batch import Head, chain_through
from uplink.events import CHAIN_START
from uplink.receiver.placing import Append, Duplicate, asked, place
from uplink.receiver.screen import Screened
from uplink.receiver.storage import Appended, Exceptional, Incoming
from uplink.receiver.storage.pg_schema import POSITIONS_LOCK, SCHEMA
from uplink.receiver.storage.reckoning import COUNTED, REJECTED, Reckoned, exceptional, reckon


class _Epoch(Struct, frozen=True):
    """A row of `epoch`; `id` 0 for one that is not there yet. `others_reached_ms`: the latest time that the site's other
    epochs have counted an event of, 0 where it has no other."""

    id: int
    acked_through: int
    chain: bytes
    others_reached_ms: int


async def book(connection: Any, incoming: Incoming) -> Appended:
    """Store what is new of a batch and say what became of all of it."""
    site_id = await _lock_site(connection, incoming.site)
    epoch = await _epoch(connection, site_id, incoming.head.epoch)
    head = incoming.head
    bodies = [event.body for event in incoming.events]
    chains = await _chains(connection, epoch, asked(epoch.acked_through, head))
    placement = place(epoch.acked_through, head, bodies, chains.__getitem__)
    counted = 0
    if isinstance(placement, Append):
        epoch_id = epoch.id or await _begin(connection, site_id, incoming)
        events = incoming.events[placement.skip :]
        reckoned = reckon(head, events, await _known(connection, site_id, epoch, epoch_id, events))
        await _append(connection, site_id, epoch_id, epoch, incoming, reckoned)
        counted = reckoned.counted
        if not placement.skip:
            return _appended(placement, head, counted, [exceptional(*each) for each in sorted(reckoned.exemptions)])
    elif isinstance(placement, Duplicate):
        epoch_id = epoch.id
    else:
        return Appended(placement=placement, acked_through=epoch.acked_through)
    return _appended(placement, head, counted, await _exceptions(connection, epoch_id, head))


def _appended(placement: Append | Duplicate, head: Head, counted: int, exceptions: list[Exceptional]) -> Appended:
    return Appended(
        placement=placement, acked_through=max(head.last, head.first - 1), counted=counted, exceptions=exceptions
    )


async def _lock_site(connection: Any, name: str) -> int:
    select = "SELECT id FROM site WHERE name = $1 FOR UPDATE"
    found = await connection.fetchval(select, name)
    if found is None:
        await connection.execute("INSERT INTO site (name) VALUES ($1) ON CONFLICT DO NOTHING", name)
        found = await connection.fetchval(select, name)
    return int(found)


async def _epoch(connection: Any, site_id: int, name: str) -> _Epoch:
    rows = await connection.fetch(
        "SELECT id, name, acked_through, chain, reached_ms FROM epoch WHERE site_id = $1", site_id
    )
    others = max((row["reached_ms"] for row in rows if row["name"] != name), default=0)
    own = next((row for row in rows if row["name"] == name), None)
    return _Epoch(own["id"], own["acked_through"], own["chain"], others) if own else _Epoch(0, 0, CHAIN_START, others)


async def _chains(connection: Any, epoch: _Epoch, numbers: set[int]) -> dict[int, bytes]:
    """The chain value after each of `numbers`."""
    chains = {epoch.acked_through: epoch.chain, 0: CHAIN_START}
    for number in sorted(numbers - chains.keys()):
        chains[number] = await _chain_at(connection, epoch.id, number)
    return chains


async def _chain_at(connection: Any, epoch_id: int, seq: int) -> bytes:
    """Stored where a batch ended there, else worked out from the end of the one before it."""
    row = await connection.fetchrow(
        "SELECT last, chain FROM batch WHERE epoch_id = $1 AND last <= $2 ORDER BY last DESC LIMIT 1", epoch_id, seq
    )
    last, chain = row or (0, CHAIN_START)
    rows = await connection.fetch(
        "SELECT body FROM event WHERE epoch_id = $1 AND seq > $2 AND seq <= $3 ORDER BY seq", epoch_id, last, seq
    )
    return chain_through(chain, [body for (body,) in rows])


async def _begin(connection: Any, site_id: int, incoming: Incoming) -> int:
    head = incoming.head
    before = await connection.fetchval(
        "SELECT chain FROM epoch WHERE site_id = $1 AND name = $2", site_id, head.after_epoch
    )
    return int(
        await connection.fetchval(
            "INSERT INTO epoch (site_id, name, acked_through, chain, reached_ms, began_ms, seen_ms, skew_ms,"
            " after_epoch, after_chain, after_matches) VALUES ($1, $2, 0, $3, 0, $4, 0, 0, $5, $6, $7) RETURNING id",
            site_id,
            head.epoch,
            CHAIN_START,
            incoming.now_ms,
            head.after_epoch,
            head.after_chain,
            int(before == head.after_chain) if head.after_epoch else None,
        )
    )


async def _known(connection: Any, site_id: int, epoch: _Epoch, epoch_id: int, events: list[Screened]) -> frozenset[str]:
    """The ids that the site's other epochs have counted. Only for events of the time that those have reached: an epoch that
    has passed it has nothing to say twice."""
    ids = [event.id for event in events if not event.refused and event.time_ms <= epoch.others_reached_ms]
    if not ids:
        return frozenset()
    rows = await connection.fetch(
        f"SELECT id FROM event WHERE id = ANY($1) AND status = {COUNTED} AND site_id = $2 AND epoch_id <> $3",
        ids,
        site_id,
        epoch_id,
    )
    return frozenset(row[0] for row in rows)


_COLUMNS = ("site_id", "epoch_id", "seq", "status", "time_ms", "id", "meter", "unit", "quantity", "body")

_REST = """
WITH exempted AS (
    INSERT INTO exception (epoch_id, seq, status, code, message)
    SELECT $1, * FROM unnest($2::bigint[], $3::smallint[], $4::text[], $5::text[])
), summed AS (
    INSERT INTO total (site_id, day, meter, unit, events, quantity)
    SELECT $6, * FROM unnest($7::text[], $8::text[], $9::text[], $10::bigint[], $11::numeric[])
    ON CONFLICT (site_id, day, meter, unit) DO UPDATE
    SET events = total.events + excluded.events, quantity = total.quantity + excluded.quantity
), called AS (
    INSERT INTO call_hour (site_id, day, hour, quantity)
    SELECT $6, * FROM unnest($21::text[], $22::smallint[], $23::numeric[])
    ON CONFLICT (site_id, day, hour) DO UPDATE SET quantity = call_hour.quantity + excluded.quantity
), ended AS (
    INSERT INTO batch (epoch_id, last, first, chain, received_ms)
    SELECT $1, $12, $13, $14, $15 WHERE $12::bigint >= $13
)
UPDATE epoch SET acked_through = greatest(acked_through, $12), chain = $14, reached_ms = greatest(reached_ms, $16),
    seen_ms = $15, skew_ms = $17, counted = counted + $18, known = known + $19, rejected = rejected + $20 WHERE id = $1
"""


async def _append(
    connection: Any, site_id: int, epoch_id: int, epoch: _Epoch, incoming: Incoming, reckoned: Reckoned
) -> None:
    head = incoming.head
    if reckoned.events:
        records = [
            (site_id, epoch_id, of.seq, status, of.time_ms, of.id, of.meter, of.unit, _quantity(of, status), of.body)
            for of, status in zip(reckoned.events, reckoned.statuses, strict=True)
        ]
        # Behind the site's row, always: the other way round two batches and a reader could wait for each other.
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", POSITIONS_LOCK)
        await connection.copy_records_to_table("event", records=records, columns=_COLUMNS, schema_name=SCHEMA)
    await connection.execute(
        _REST,
        epoch_id,
        *_columns(reckoned.exemptions, 4),
        site_id,
        *_columns(reckoned.sums, 5),
        head.last,
        epoch.acked_through + 1,
        head.chain,
        incoming.now_ms,
        reckoned.reached_ms,
        head.head_time_s * 1000 - incoming.now_ms,
        reckoned.counted,
        reckoned.known,
        reckoned.rejected,
        *_columns(reckoned.calls, 3),
    )


def _quantity(event: Screened, status: int) -> Decimal | None:
    return None if status == REJECTED else Decimal(event.quantity)


def _columns(rows: list[Any], width: int) -> list[list[Any]]:
    return [[row[column] for row in rows] for column in range(width)]


async def _exceptions(connection: Any, epoch_id: int, head: Head) -> list[Exceptional]:
    rows = await connection.fetch(
        "SELECT seq, status, code, message FROM exception WHERE epoch_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq",
        epoch_id,
        head.first,
        head.last,
    )
    return [exceptional(*row) for row in rows]
