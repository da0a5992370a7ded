"""Which storage a text means: the path of an SQLite file, or a server's URL.

Law: a library that only one storage needs is imported when that storage is asked for.
"""

from uplink.receiver.storage import Storage, StoreUnavailable

_POSTGRES = ("postgresql://", "postgres://")


async def open_storage(where: str) -> Storage:
    """Raises StoreUnavailable, also where the library for it is not installed."""
    try:
        if where.startswith(_POSTGRES):
            from uplink.receiver.storage.postgres import PostgresStore

            return await PostgresStore.open(where)
    except ImportError as error:
        raise StoreUnavailable(f"{error}: install pegcount[postgres]") from None
    from uplink.receiver.storage.sqlite import SqliteStore

    return await SqliteStore.open(where)
