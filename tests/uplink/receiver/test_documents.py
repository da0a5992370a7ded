"""Every storage's documents, and that they outlive the process."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.uplink.receiver.documents import CHECKS
from tests.uplink.receiver.storages import Place
from uplink.receiver.storage import Documents
from uplink.receiver.storage.opening import open_storage


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_documents(storage: Place, check: Callable[[Documents], Awaitable[None]]) -> None:
    store = await open_storage(storage.store)
    await check(store)
    await store.close()


async def test_of_many_writers_one_wins(storage: Place) -> None:
    store, other = await open_storage(storage.store), await open_storage(storage.store)
    won = await asyncio.gather(*((store, other)[n % 2].put("agent", "a", b"%d" % n, 0) for n in range(20)))
    assert sum(revision is not None for revision in won) == 1
    await store.close()
    await other.close()
    store = await open_storage(storage.store)
    found = await store.get("agent", "a")
    assert found is not None
    assert found.body == b"%d" % next(n for n, revision in enumerate(won) if revision is not None)
    await store.close()
