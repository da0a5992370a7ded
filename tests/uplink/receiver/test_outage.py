"""A store that is away: sites are asked to come again, and the log says so once, and once when it is back."""

import asyncio
import signal
from pathlib import Path

import aiohttp
import pytest

from tests.uplink.platform import AUTHORIZATION, TOKENS, receiver_at
from tests.uplink.receiver.batches import TEN, batch_of, events, post
from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.postgres import Cluster
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.storage import Storage
from uplink.receiver.storage.opening import open_storage


async def healthy(receiver: RunningReceiver) -> bool:
    async with aiohttp.ClientSession() as session, session.get(receiver.url + "/healthz") as response:
        return response.status == 200


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "uplink.receiver.storage.outage"]


async def test_a_database_that_goes_and_comes_back_is_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    with Cluster() as cluster:
        receiver = await serve(ReceiverSettings(database=cluster.empty(), tokens=TOKENS, port=0))
        assert (await post(receiver, batch_of(TEN, 1, 3)))[0] == 200
        await asyncio.to_thread(cluster.stop, signal.SIGQUIT)
        for _ in range(3):
            status, answer = await post(receiver, batch_of(TEN, 4, 6))
            assert (status, answer["code"]) == (503, "store_unavailable")
            assert not await healthy(receiver)
        await asyncio.to_thread(cluster.start)
        for first in (4, 6, 8):
            assert (await post(receiver, batch_of(TEN, first, first + 1)))[0] == 200
            assert await healthy(receiver)
        await receiver.close()
        for what in ("reading", "writing"):
            away, back = [line for line in told(caplog) if what in line]
            assert f"postgresql://127.0.0.1:{cluster.port}/t1 ({what}) cannot be used: " in away
            assert "can be used again, after " in back


async def test_a_database_that_can_only_be_read_is_told_of_once_and_is_not_healthy(
    cluster: Cluster, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A standby that a failover left, a role without the right to insert: pages are shown, and no batch is taken."""
    await (await open_storage(postgres_url)).close()
    name = postgres_url.rpartition("/")[2]
    cluster.ask(name, "CREATE ROLE looks LOGIN; GRANT USAGE ON SCHEMA pegcount TO looks")
    cluster.ask(name, "GRANT SELECT ON ALL TABLES IN SCHEMA pegcount TO looks")
    cluster.ask(name, "GRANT INSERT, UPDATE ON pegcount.document TO looks")
    receiver = await serve(
        ReceiverSettings(database=postgres_url.replace("postgres@", "looks@"), tokens=TOKENS, port=0)
    )
    for _ in range(3):
        assert (await post(receiver, batch_of(TEN, 1, 3)))[0] == 503
        assert not await healthy(receiver)
        assert await receiver.store.epochs("site-1") == []
    assert [line.partition(" ")[2] for line in told(caplog)] == [
        "(writing) cannot be used: permission denied for table site"
    ]
    await receiver.close()


async def test_a_file_that_cannot_be_written_is_logged_once_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiver_at(tmp_path) as receiver:
        assert (await post(receiver, batch_of(TEN, 1, 3)))[0] == 200
        await in_writer(receiver.store, "PRAGMA max_page_count = 1")  # the file is as large as it is
        large = TEN[:3] + events("e-1", 4, 10, padding="x" * 4000)
        for _ in range(3):
            assert (await post(receiver, batch_of(large, 4, 10)))[0] == 503
        await in_writer(receiver.store, "PRAGMA max_page_count = 1000000")
        assert (await post(receiver, batch_of(large, 4, 10)))[0] == 200
        away, back = told(caplog)
        assert "(writing) cannot be used: database or disk is full" in away
        assert "can be used again" in back


async def in_writer(store: Storage, pragma: str) -> None:
    await asyncio.get_running_loop().run_in_executor(store._writing, store._writer.execute, pragma)  # type: ignore[attr-defined]


async def test_what_was_not_foreseen_leaves_no_batch_without_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours in the midst of storing: 503, and the next batch is taken."""
    async with receiver_at(tmp_path) as receiver:
        with monkeypatch.context() as broken:
            broken.setattr("uplink.receiver.storage.sqlite.book", lambda *_: 1 / 0)
            async with asyncio.timeout(5):
                status, answer = await post(receiver, batch_of(TEN, 1, 3))
            assert (status, answer["code"]) == (503, "store_unavailable")
        assert (await post(receiver, batch_of(TEN, 1, 3)))[0] == 200


async def test_a_log_without_books_says_where_it_is_read(nats_server: NatsServer) -> None:
    receiver = await serve(ReceiverSettings(database=nats_server.url, tokens=TOKENS, port=0))
    async with (
        aiohttp.ClientSession(headers=AUTHORIZATION) as session,
        session.get(receiver.url + "/v1/totals") as response,
    ):
        answer = await response.json(content_type="application/problem+json")
    assert (response.status, answer["detail"]) == (503, "a log is read where it is booked: give --books")
    await receiver.close()
