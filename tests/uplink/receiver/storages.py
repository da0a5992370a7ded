"""The storages that the receiver's tests run over, and a receiver over one of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from tests.uplink.platform import TOKENS
from uplink.receiver.consume import Consumer, StoreBooks, running
from uplink.receiver.forwarding import Destination
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.storage import Storage
from uplink.receiver.storage.jetstream import JetStreamStore
from uplink.receiver.storage.opening import open_storage


class Place(Struct, frozen=True):
    """What `--store` and `--books` would be given."""

    store: str
    books: str = ""


class Platform:
    """A receiver, and a way to wait until what it acknowledged can be read."""

    def __init__(self, receiver: RunningReceiver) -> None:
        self.receiver = receiver
        self.url = receiver.url

    @property
    def store(self) -> Storage:
        return self.receiver.store

    @property
    def is_log(self) -> bool:
        return isinstance(self.store, JetStreamStore)

    async def settle(self, site: str) -> None:
        await settled(self.store, site)


async def settled(store: Storage, site: str) -> None:
    """What was acknowledged of a site can be read. A storage that is no log books at once."""
    if not isinstance(store, JetStreamStore) or store._books is None:
        return
    async with asyncio.timeout(10):
        while True:
            logged = await store.log.last(site)
            booked = {(each.epoch, each.acked_through) for each in await store._books.epochs(site)}
            if logged is None or {(mark.epoch, mark.acked_through) for mark in logged.marks} <= booked:
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def booking(store: Storage, name: str = "books") -> AsyncIterator[None]:
    """A consumer runs, if the storage is a log that has books."""
    if not isinstance(store, JetStreamStore) or store._books is None:
        yield
        return
    async with running(Consumer(store.log, StoreBooks(store._books, store), store, name)):
        yield


@asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Storage]:
    store = await open_storage(place.store, place.books)
    try:
        async with booking(store):
            yield store
    finally:
        await store.close()


@asynccontextmanager
async def running_platform(place: Place, forwards: tuple[Destination, ...] = ()) -> AsyncIterator[Platform]:
    running = await serve(
        ReceiverSettings(database=place.store, books=place.books, tokens=TOKENS, port=0, forwards=forwards)
    )
    try:
        async with booking(running.store):
            yield Platform(running)
    finally:
        await running.close()
