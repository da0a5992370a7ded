"""Rows of the PostgreSQL store written again by their numbers, within a transaction that the caller holds."""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from typing import Any

from uplink.receiver.storage.held import Row
from uplink.receiver.storage.pg_schema import POSITIONS_LOCK
from uplink.receiver.storage.positions import SEARCH_MAX, Neighbours, free_positions, runs
from uplink.receiver.storage.reckoning import REJECTED, Exemption

_SETS = "status = $4, id = $5, meter = $6, time_ms = $7, quantity = $8, unit = $9, body = $10, site_id = $1"
_UPDATE = f"UPDATE event SET {_SETS} WHERE epoch_id = $2 AND seq = $3"
_COLUMNS = "site_id, epoch_id, seq, status, id, meter, time_ms, quantity, unit, body"
_INSERT = f"INSERT INTO event ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING"
_INSERT_AT = (
    f"INSERT INTO event ({_COLUMNS}, position) OVERRIDING SYSTEM VALUE"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING"
)

# Two sites may not have one position among what is counted: who reads on by position would pass over one of them.
_USED = """
SELECT position FROM event WHERE status = 0 AND position > $1 AND position < $2
UNION SELECT position FROM event WHERE site_id = $3 AND position > $1 AND position < $2
ORDER BY position {} LIMIT $4
"""


async def rewrite(connection: Any, site: str, epoch: str, rows: Sequence[Row], exemptions: Sequence[Exemption]) -> None:
    site_id, epoch_id = await connection.fetchrow(
        "SELECT site.id, epoch.id FROM site JOIN epoch ON site_id = site.id WHERE site.name = $1 AND epoch.name = $2"
        " FOR UPDATE OF site",
        site,
        epoch,
    )
    await connection.execute("SELECT pg_advisory_xact_lock_shared($1)", POSITIONS_LOCK)
    numbers = [row.seq for row in rows]
    found = await connection.fetch("SELECT seq FROM event WHERE epoch_id = $1 AND seq = ANY($2)", epoch_id, numbers)
    held = {seq for (seq,) in found}
    missing = [number for number in numbers if number not in held]
    places = {seq: position async for seq, position in _places(connection, site_id, epoch_id, missing)}
    values = {row.seq: _values(site_id, epoch_id, row) for row in rows}
    await connection.executemany(_UPDATE, [values[seq] for seq in numbers if seq in held])
    await connection.executemany(_INSERT_AT, [(*values[seq], places[seq]) for seq in missing if seq in places])
    await connection.executemany(_INSERT, [values[seq] for seq in missing if seq not in places])
    await connection.execute("DELETE FROM exception WHERE epoch_id = $1 AND seq = ANY($2)", epoch_id, numbers)
    await connection.executemany(
        "INSERT INTO exception (epoch_id, seq, status, code, message) VALUES ($1, $2, $3, $4, $5)",
        [(epoch_id, *exemption) for exemption in exemptions],
    )


def _values(site_id: int, epoch_id: int, row: Row) -> tuple[Any, ...]:
    quantity = None if row.status == REJECTED else Decimal(row.quantity)
    return site_id, epoch_id, row.seq, row.status, row.id, row.meter, row.time_ms, quantity, row.unit, row.body


async def _places(
    connection: Any, site_id: int, epoch_id: int, missing: Sequence[int]
) -> AsyncIterator[tuple[int, int]]:
    """Numbers and the positions that they take. A number without one stands behind everything."""
    for first, last in runs(missing):
        beside = await _neighbours(connection, epoch_id, first, last)
        statement = _USED.format("ASC" if beside.before else "DESC")
        used = await connection.fetch(statement, beside.before, beside.behind, site_id, SEARCH_MAX)
        free = free_positions(last - first + 1, beside, [position for (position,) in used])
        for place in zip(range(first, last + 1), free, strict=False):
            yield place


async def _neighbours(connection: Any, epoch_id: int, first: int, last: int) -> Neighbours:
    of_epoch = "SELECT position, seq FROM event WHERE epoch_id = $1"
    before = await connection.fetchrow(f"{of_epoch} AND seq < $2 ORDER BY seq DESC LIMIT 1", epoch_id, first)
    behind = await connection.fetchrow(f"{of_epoch} AND seq > $2 ORDER BY seq LIMIT 1", epoch_id, last)
    return Neighbours(
        before=before["position"] if before else 0,
        behind=behind["position"] if behind else 0,
        missing=behind["seq"] - first if behind else 0,
    )
