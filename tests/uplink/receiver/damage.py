"""What somebody does to a store by hand, and what is in it: by SQL, beside whatever runs."""

import asyncio
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg

from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.postgres import Cluster
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


class Copies:
    """A copy of everything that a storage has, made and put back while nobody uses it."""

    def __init__(self, place: Place, cluster: Cluster | None, nats: NatsServer | None, folder: Path) -> None:
        self._place, self._cluster, self._nats, self._folder = place, cluster, nats, folder

    def keep(self) -> None:
        if self._cluster:
            self._cluster.ask("postgres", f"CREATE DATABASE {self._database}_older TEMPLATE {self._database}")
            return
        if self._nats:
            self._nats.stop(signal.SIGTERM)
            shutil.copytree(self._nats.folder / "jetstream", self._folder / "jetstream")
            self._nats.start()
        shutil.copy(rows_of(self._place), self._folder / "older.db")

    def put_back(self) -> None:
        if self._cluster:
            self._cluster.ask("postgres", f"DROP DATABASE {self._database}")
            self._cluster.ask("postgres", f"ALTER DATABASE {self._database}_older RENAME TO {self._database}")
            return
        if self._nats:
            self._nats.stop(signal.SIGTERM)
            shutil.rmtree(self._nats.folder / "jetstream")
            shutil.copytree(self._folder / "jetstream", self._nats.folder / "jetstream")
            self._nats.start()
        books = Path(rows_of(self._place))
        for rest in books.parent.glob(f"{books.name}-*"):
            rest.unlink()
        shutil.copy(self._folder / "older.db", books)

    @property
    def _database(self) -> str:
        return self._place.store.rpartition("/")[2]
