"""The storages that the receiver's tests run over, and a receiver over one of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.uplink.platform import TOKENS
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.storage import Storage


class Platform:
    """A receiver, and a way to wait until what it acknowledged can be read."""

    def __init__(self, receiver: RunningReceiver) -> None:
        self.receiver = receiver
        self.url = receiver.url

    @property
    def store(self) -> Storage:
        return self.receiver.store

    async def settle(self) -> None:
        """A storage that books at once is settled."""


@asynccontextmanager
async def running_platform(storage: str) -> AsyncIterator[Platform]:
    running = await serve(ReceiverSettings(database=storage, tokens=TOKENS, port=0))
    try:
        yield Platform(running)
    finally:
        await running.close()
