"""Batches of different sites into the PostgreSQL store, within a transaction that the caller holds.

Laws
- The sites' rows are locked first. So one batch of a site is decided at a time, whichever receiver it came to, and what the
  placement was decided on is what is changed.
- Who books several waits for none of them: a site that is held by somebody else is left out, so that nobody waits for a group
  and no two wait for each other.
- Events go in by one COPY, everything else of the batches by one statement.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import Struct

from uplink.batch import Head, chain_through
from uplink.events import CHAIN_START
from uplink.receiver.placing import Append, Duplicate, asked, place
from uplink.receiver.screen import Screened
from uplink.receiver.storage import Appended, Exceptional, Incoming
from uplink.receiver.storage.pg_schema import POSITIONS_LOCK, SCHEMA
from uplink.receiver.storage.reckoning import COUNTED, REJECTED, Reckoned, exceptional, reckon


class _Epoch(NamedTuple):
    """A row of `epoch`; `id` 0 for one that is not there yet."""

    id: int
    name: str
    acked_through: int
    chain: bytes
    reached_ms: int


class _Booking(Struct):
    """One batch on its way. `epochs`: all of its site. `reckoned`: where something of it is new."""

    incoming: Incoming
    site_id: int
    epochs: list[_Epoch]
    appended: Appended
    reckoned: Reckoned | None = None

    @property
    def epoch(self) -> _Epoch:
        name = self.incoming.head.epoch
        return next((each for each in self.epochs if each.name == name), _Epoch(0, name, 0, CHAIN_START, 0))


async def book(connection: Any, batches: Sequence[Incoming], *, wait: bool) -> list[Appended | None]:
    """Store what is new of each batch and say what became of all of it; each is of another site. None of one whose site is
    held by somebody else, unless we `wait`."""
    sites = await _lock(connection, sorted(batch.site for batch in batches), wait)
    epochs = await _epochs(connection, list(sites.values()))
    bookings = {
        batch.site: await _placed(connection, batch, sites[batch.site], epochs.get(sites[batch.site], []))
        for batch in batches
        if batch.site in sites
    }
    await _append(connection, [booking for booking in bookings.values() if booking.reckoned])
    return [bookings[batch.site].appended if batch.site in sites else None for batch in batches]


_LOCK = "SELECT name, id FROM site WHERE name = ANY($1) ORDER BY name FOR UPDATE"
# Who inserts the same name at the same time is waited for, and has it then.
_ADD = "INSERT INTO site (name) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING RETURNING name, id"


async def _lock(connection: Any, names: list[str], wait: bool) -> dict[str, int]:
    """The ids of the sites that are ours until the end of the transaction."""
    found = dict(await connection.fetch(_LOCK if wait else f"{_LOCK} SKIP LOCKED", names))
    if missing := [name for name in names if name not in found]:
        found |= dict(await connection.fetch(_ADD, missing))
    if wait and len(found) < len(names):
        found |= dict(await connection.fetch(_LOCK, names))
    return found


async def _epochs(connection: Any, site_ids: list[int]) -> dict[int, list[_Epoch]]:
    """Of each site, all that it has."""
    rows = await connection.fetch(
        "SELECT site_id, id, name, acked_through, chain, reached_ms FROM epoch WHERE site_id = ANY($1)", site_ids
    )
    epochs: dict[int, list[_Epoch]] = {}
    for site_id, *epoch in rows:
        epochs.setdefault(site_id, []).append(_Epoch(*epoch))
    return epochs


async def _placed(connection: Any, incoming: Incoming, site_id: int, epochs: list[_Epoch]) -> _Booking:
    """Decided, and nothing changed."""
    booking = _Booking(incoming, site_id, epochs, Appended(placement=Append()))
    head, epoch = incoming.head, booking.epoch
    bodies = [event.body for event in incoming.events]
    chains = await _chains(connection, epoch, asked(epoch.acked_through, head))
    placement = place(epoch.acked_through, head, bodies, chains.__getitem__)
    if not isinstance(placement, Append | Duplicate):
        booking.appended = Appended(placement=placement, acked_through=epoch.acked_through)
        return booking
    counted = 0
    exceptions: list[Exceptional] = []
    if isinstance(placement, Append):
        events = incoming.events[placement.skip :]
        booking.reckoned = reckon(head, events, await _known(connection, booking, events))
        counted = booking.reckoned.counted
        exceptions = [exceptional(*each) for each in booking.reckoned.exemptions]
    if isinstance(placement, Duplicate) or placement.skip:
        exceptions = await _exceptions(connection, epoch.id, head) + exceptions
    booking.appended = Appended(
        placement=placement, acked_through=max(head.last, head.first - 1), counted=counted, exceptions=exceptions
    )
    return booking


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


async def _known(connection: Any, booking: _Booking, events: Sequence[Screened]) -> frozenset[str]:
    """The ids that the site's other epochs have counted. Only for events of the time that those have reached: an epoch that
    has passed it has nothing to say twice."""
    others = [each for each in booking.epochs if each.name != booking.incoming.head.epoch]
    reached_ms = max((each.reached_ms for each in others), default=0)
    if not reached_ms:
        return frozenset()
    ids = [event.id for event in events if not event.refused and event.time_ms <= reached_ms]
    if not ids:
        return frozenset()
    rows = await connection.fetch(
        f"SELECT id FROM event WHERE epoch_id = ANY($1) AND id = ANY($2) AND status = {COUNTED}",
        [each.id for each in others],
        ids,
    )
    return frozenset(row[0] for row in rows)


async def _exceptions(connection: Any, epoch_id: int, head: Head) -> list[Exceptional]:
    """Of the events of the batch that are stored."""
    rows = await connection.fetch(
        "SELECT seq, status, code, message FROM exception WHERE epoch_id = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq",
        epoch_id,
        head.first,
        head.last,
    )
    return [exceptional(*row) for row in rows]


_BEGIN = """
INSERT INTO epoch (site_id, name, acked_through, chain, reached_ms, began_ms, seen_ms, skew_ms, after_epoch, after_chain,
    after_matches)
SELECT site_id, name, 0, $7, 0, now_ms, 0, 0, after_epoch, after_chain, after_matches
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bytea[], $6::int[])
    AS begun (site_id, name, now_ms, after_epoch, after_chain, after_matches)
RETURNING site_id, id
"""


async def _begun(connection: Any, bookings: Sequence[_Booking]) -> dict[int, int]:
    """The ids of the epochs that these bookings begin, by site."""
    rows = [
        (
            booking.site_id,
            booking.incoming.head.epoch,
            booking.incoming.now_ms,
            booking.incoming.head.after_epoch,
            booking.incoming.head.after_chain,
            _matches(booking),
        )
        for booking in bookings
    ]
    return dict(await connection.fetch(_BEGIN, *_columns(rows, 6), CHAIN_START)) if rows else {}


def _matches(booking: _Booking) -> int | None:
    head = booking.incoming.head
    if not head.after_epoch:
        return None
    return int(any(each.name == head.after_epoch and each.chain == head.after_chain for each in booking.epochs))


_COLUMNS = ("site_id", "epoch_id", "seq", "status", "time_ms", "id", "meter", "unit", "quantity", "body")

_REST = """
WITH exempted AS (
    INSERT INTO exception (epoch_id, seq, status, code, message)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::text[], $5::text[])
), summed AS (
    INSERT INTO total (site_id, day, meter, unit, events, quantity)
    SELECT * FROM unnest($6::bigint[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::numeric[])
    ON CONFLICT (site_id, day, meter, unit) DO UPDATE
    SET events = total.events + excluded.events, quantity = total.quantity + excluded.quantity
), called AS (
    INSERT INTO call_hour (site_id, day, hour, quantity)
    SELECT * FROM unnest($12::bigint[], $13::text[], $14::smallint[], $15::numeric[])
    ON CONFLICT (site_id, day, hour) DO UPDATE SET quantity = call_hour.quantity + excluded.quantity
), booked AS (
    SELECT * FROM unnest($16::bigint[], $17::bigint[], $18::bigint[], $19::bytea[], $20::bigint[], $21::bigint[],
        $22::bigint[], $23::bigint[], $24::bigint[], $25::bigint[], $26::bigint[])
        AS booked (epoch_id, last, first, chain, now_ms, reached_ms, skew_ms, counted, known, rejected, lost)
), ended AS (
    INSERT INTO batch (epoch_id, last, first, chain, received_ms, lost)
    SELECT epoch_id, last, first, chain, now_ms, lost > 0 FROM booked WHERE last >= first
)
UPDATE epoch SET acked_through = greatest(acked_through, last), chain = booked.chain,
    reached_ms = greatest(epoch.reached_ms, booked.reached_ms), seen_ms = now_ms, skew_ms = booked.skew_ms,
    counted = epoch.counted + booked.counted, known = epoch.known + booked.known, rejected = epoch.rejected + booked.rejected,
    lost = epoch.lost + booked.lost
FROM booked WHERE id = epoch_id
"""


async def _append(connection: Any, bookings: Sequence[_Booking]) -> None:
    if not bookings:
        return
    begun = await _begun(connection, [booking for booking in bookings if not booking.epoch.id])
    events: list[tuple[Any, ...]] = []
    exemptions: list[tuple[Any, ...]] = []
    sums: list[tuple[Any, ...]] = []
    calls: list[tuple[Any, ...]] = []
    booked: list[tuple[Any, ...]] = []
    for booking in bookings:
        site_id, epoch_id, reckoned = booking.site_id, booking.epoch.id or begun[booking.site_id], booking.reckoned
        assert reckoned is not None
        events += _records(site_id, epoch_id, reckoned)
        exemptions += [(epoch_id, *each) for each in reckoned.exemptions]
        sums += [(site_id, *each) for each in reckoned.sums]
        calls += [(site_id, *each) for each in reckoned.calls]
        booked.append((epoch_id, *_ends(booking, reckoned)))
    if events:
        # Behind the sites' rows, always: the other way round two batches and a reader could wait for each other.
        await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", POSITIONS_LOCK)
        await connection.copy_records_to_table("event", records=events, columns=_COLUMNS, schema_name=SCHEMA)
    await connection.execute(
        _REST,
        *_columns(exemptions, 5),
        *_columns(sums, 6),
        *_columns(calls, 4),
        *_columns(booked, 11),
    )


def _records(site_id: int, epoch_id: int, reckoned: Reckoned) -> list[tuple[Any, ...]]:
    return [
        (site_id, epoch_id, of.seq, status, of.time_ms, of.id, of.meter, of.unit, _quantity(of, status), of.body)
        for of, status in zip(reckoned.events, reckoned.statuses, strict=True)
    ]


def _quantity(event: Screened, status: int) -> Decimal | None:
    return None if status == REJECTED else Decimal(event.quantity)


def _ends(booking: _Booking, reckoned: Reckoned) -> tuple[int, int, bytes, int, int, int, int, int, int, int]:
    """How the epoch stands after it: `booked` of the statement, but for its id."""
    head, now_ms = booking.incoming.head, booking.incoming.now_ms
    return (
        head.last,
        booking.epoch.acked_through + 1,
        head.chain,
        now_ms,
        reckoned.reached_ms,
        head.head_time_s * 1000 - now_ms,
        reckoned.counted,
        reckoned.known,
        reckoned.rejected,
        head.last - booking.epoch.acked_through if head.lost else 0,
    )


def _columns(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[column] for row in rows] for column in range(width)]
