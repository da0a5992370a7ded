"""Rows of the SQLite store written again by their numbers, within a transaction that the caller holds."""

import sqlite3
from collections.abc import Iterator, Sequence

from uplink.receiver.storage.held import Row
from uplink.receiver.storage.positions import SEARCH_MAX, Neighbours, free_positions, runs
from uplink.receiver.storage.reckoning import Exemption

_COLUMNS = Row._fields
_WRITE = (
    f"INSERT INTO event (position, epoch_id, {', '.join(_COLUMNS)}) VALUES (?, ?, {', '.join('?' * len(_COLUMNS))})"
    f" ON CONFLICT (epoch_id, seq) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _COLUMNS)}"
)
"""A position that is null is the next one."""


def rewrite(
    db: sqlite3.Connection, site: str, epoch: str, rows: Sequence[Row], exemptions: Sequence[Exemption]
) -> None:
    (epoch_id,) = db.execute(
        "SELECT epoch.id FROM epoch JOIN site ON site.id = site_id WHERE site.name = ? AND epoch.name = ?",
        (site, epoch),
    ).fetchone()
    numbers = [row.seq for row in rows]
    held = {
        seq
        for (seq,) in db.execute(
            "SELECT seq FROM event WHERE epoch_id = ? AND seq BETWEEN ? AND ?", (epoch_id, numbers[0], numbers[-1])
        )
    }
    places = dict(_places(db, epoch_id, [number for number in numbers if number not in held]))
    db.executemany(_WRITE, [(places.get(row.seq), epoch_id, *row) for row in rows])
    db.executemany("DELETE FROM exception WHERE epoch_id = ? AND seq = ?", [(epoch_id, number) for number in numbers])
    db.executemany(
        "INSERT INTO exception (epoch_id, seq, status, code, message) VALUES (?, ?, ?, ?, ?)",
        [(epoch_id, *exemption) for exemption in exemptions],
    )


def _places(db: sqlite3.Connection, epoch_id: int, missing: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Numbers and the positions that they take. A number without one stands behind everything."""
    for first, last in runs(missing):
        beside = _neighbours(db, epoch_id, first, last)
        order = "ASC" if beside.before else "DESC"
        used = db.execute(
            f"SELECT position FROM event WHERE position > ? AND position < ? ORDER BY position {order} LIMIT ?",
            (beside.before, beside.behind, SEARCH_MAX),
        )
        free = free_positions(last - first + 1, beside, [position for (position,) in used])
        yield from zip(range(first, last + 1), free, strict=False)


def _neighbours(db: sqlite3.Connection, epoch_id: int, first: int, last: int) -> Neighbours:
    of_epoch = "SELECT position, seq FROM event WHERE epoch_id = ?"
    before, _ = db.execute(f"{of_epoch} AND seq < ? ORDER BY seq DESC LIMIT 1", (epoch_id, first)).fetchone() or (0, 0)
    behind, seq = db.execute(f"{of_epoch} AND seq > ? ORDER BY seq LIMIT 1", (epoch_id, last)).fetchone() or (0, first)
    return Neighbours(before=before, behind=behind, missing=seq - first)
