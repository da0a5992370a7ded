"""Which storage a text means: the path of an SQLite file, or a server's URL.

Law: a library that only one storage needs is imported when that storage is asked for.
"""

from uplink.receiver.storage import Storage, StoreUnavailable

_NATS = ("nats://", "tls://")
_POSTGRES = ("postgresql://", "postgres://")


async def open_storage(where: str, books: str = "") -> Storage:
    """`books`: where a log is booked, and read. Raises StoreUnavailable, also where the library for it is not installed."""
    if where.startswith(_NATS):
        return await _open_log(where, books)
    if books:
        raise StoreUnavailable("only a log (nats://) is booked elsewhere")
    if where.startswith(_POSTGRES):
        return await _open_postgres(where)
    from uplink.receiver.storage.sqlite import SqliteStore

    return await SqliteStore.open(where)


async def _open_postgres(where: str) -> Storage:
    try:
        from uplink.receiver.storage.postgres import PostgresStore
    except ImportError as error:
        raise StoreUnavailable(f"{error}: install pegcount[postgres]") from None
    return await PostgresStore.open(where)


async def _open_log(where: str, books: str) -> Storage:
    try:
        from uplink.receiver.storage.jetstream import JetStreamStore
    except ImportError as error:
        raise StoreUnavailable(f"{error}: install pegcount[nats]") from None
    opened = await open_storage(books) if books else None
    try:
        return await JetStreamStore.open(where, opened)
    except StoreUnavailable:
        if opened is not None:
            await opened.close()
        raise
