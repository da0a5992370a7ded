"""What somebody does to a store by hand, and what is in it: by SQL, beside whatever runs."""

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import asyncpg

from tests.uplink.receiver.storages import Place


def rows_of(place: Place) -> str:
    """The database that has the rows."""
    return place.books or place.store


async def _postgres(url: str) -> Any:
    return await asyncpg.connect(url, server_settings={"search_path": "pegcount"})


async def do(place: Place, *statements: str) -> None:
    if not rows_of(place).startswith("postgresql"):
        await asyncio.to_thread(_sqlite, rows_of(place), statements)
        return
    connection = await _postgres(rows_of(place))
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def _sqlite(path: str, statements: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(path, timeout=10)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


async def asked(place: Place, query: str) -> list[tuple[Any, ...]]:
    if rows_of(place).startswith("postgresql"):
        connection = await _postgres(rows_of(place))
        rows = await connection.fetch(query)
        await connection.close()
        return [tuple(row) for row in rows]
    with closing(sqlite3.connect(rows_of(place), timeout=10)) as db:
        return db.execute(query).fetchall()


ROWS = "epoch_id, seq, status, id, meter, time_ms, quantity, unit, body"


async def dumped(place: Place, *, positions: bool = True) -> list[list[tuple[Any, ...]]]:
    """Every row that bears on what is billed."""
    queries = (
        f"SELECT {'position, ' if positions else ''}{ROWS} FROM event ORDER BY epoch_id, seq",
        "SELECT * FROM exception ORDER BY epoch_id, seq",
        "SELECT * FROM total ORDER BY 1, 2, 3, 4",
        "SELECT * FROM batch ORDER BY epoch_id, last",
        "SELECT acked_through, chain, counted, known, rejected FROM epoch ORDER BY id",
    )
    return [await asked(place, query) for query in queries]
