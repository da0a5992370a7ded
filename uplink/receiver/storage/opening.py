"""Which storage a text means: the path of an SQLite file, or a server's URL.

Laws
- A library that only one storage needs is imported when that storage is asked for.
- What is no storage's address is said to be none, without repeating it: it may hold a password.
"""

import re

from uplink.extras import missing
from uplink.receiver.storage import Storage, StoreUnavailable

_NATS = ("nats://", "tls://")
_POSTGRES = ("postgresql://", "postgres://")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
WANTED = "the path of an SQLite file, postgresql://USER@HOST/DATABASE or nats://HOST"


def is_log(where: str) -> bool:
    """Whether what is kept there is read elsewhere."""
    return where.startswith(_NATS)


async def open_storage(where: str, books: str = "", alone: bool = False) -> Storage:
    """`books`: where a log is booked, and read. `alone`: what is for one receiver only (an SQLite file) is refused where
    another one has it. Raises StoreUnavailable, also where the library for it is not installed."""
    if is_log(where):
        return await _open_log(where, books)
    if books:
        raise StoreUnavailable("only a log (nats://) is booked elsewhere")
    return await _open_database(where, alone)


async def open_books(where: str, alone: bool = False) -> Storage:
    """Where a log is booked: a database. Raises as `open_storage` does."""
    if is_log(where):
        raise StoreUnavailable("a log is booked into a database: a path or postgresql://")
    return await _open_database(where, alone)


async def _open_database(where: str, alone: bool) -> Storage:
    if where.startswith(_POSTGRES):
        return await _open_postgres(where)
    if scheme := _SCHEME.match(where):
        raise StoreUnavailable(f"{scheme[0]}/... is no storage: {WANTED}")
    from uplink.receiver.storage.sqlite import SqliteStore

    return await SqliteStore.open(where, alone)


async def _open_postgres(where: str) -> Storage:
    try:
        from uplink.receiver.storage.postgres import PostgresStore
    except ImportError as error:
        raise StoreUnavailable(missing(error, "postgres")) from None
    return await PostgresStore.open(where)


async def _open_log(where: str, books: str) -> Storage:
    try:
        from uplink.receiver.storage.jetstream import JetStreamStore
    except ImportError as error:
        raise StoreUnavailable(missing(error, "nats")) from None
    opened = await open_books(books) if books else None
    try:
        return await JetStreamStore.open(where, opened)
    except StoreUnavailable:
        if opened is not None:
            await opened.close()
        raise
