"""The SQLite store's documents, and that they outlive the process."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.uplink.receiver.documents import CHECKS
from uplink.receiver.storage import Documents
from uplink.receiver.storage.sqlite import SqliteStore


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_documents_in_sqlite(tmp_path: Path, check: Callable[[Documents], Awaitable[None]]) -> None:
    store = await SqliteStore.open(str(tmp_path / "r.db"))
    await check(store)
    await store.close()


async def test_of_many_writers_one_wins(tmp_path: Path) -> None:
    store = await SqliteStore.open(str(tmp_path / "r.db"))
    won = await asyncio.gather(*(store.put("agent", "a", b"%d" % n, 0) for n in range(20)))
    assert sum(revision is not None for revision in won) == 1
    await store.close()
    store = await SqliteStore.open(str(tmp_path / "r.db"))
    found = await store.get("agent", "a")
    assert found is not None
    assert found.body == b"%d" % next(n for n, revision in enumerate(won) if revision is not None)
    await store.close()
