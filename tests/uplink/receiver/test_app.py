"""The receiver over HTTP: what it takes, what it refuses and how cheaply, what it tells."""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from tests.uplink.platform import AUTHORIZATION, TOKENS, counted_ids, held, receiver_at, shipping
from tests.uplink.receiver.batches import TEN, batch_of, events, post
from tests.uplink.site import MemoryOutbox
from uplink.batch import BatchLimits
from uplink.receiver import ingest
from uplink.receiver.answers import Refused
from uplink.receiver.limits import Limits
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.storage import StoreUnavailable
from uplink.receiver.storage.sqlite import SqliteStore
from uplink.receiver.tokens import Tokens, token_hash
from uplink.receiver.turns import Turns


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[RunningReceiver]:
    async with receiver_at(tmp_path) as running:
        yield running


# --- what is refused


REFUSED_FORMS = {
    "no token": ({"Authorization": ""}, 401, "unauthorized"),
    "another token": ({"Authorization": "Bearer another"}, 401, "unauthorized"),
    "basic": ({"Authorization": "Basic YTpi"}, 401, "unauthorized"),
    "a huge token": ({"Authorization": "Bearer " + "x" * 3000}, 401, "unauthorized"),
    "another type": ({"Content-Type": "application/json"}, 415, "unsupported_type"),
    "no gzip": ({"Content-Encoding": "zstd"}, 415, "unsupported_encoding"),
    "no digest": ({"Content-Digest": ""}, 400, "digest_mismatch"),
    "another digest": ({"Content-Digest": "sha-256=:AAAA:"}, 400, "digest_mismatch"),
    "no head": ({"Meter-Batch": ""}, 400, "bad_head"),
    "a broken head": ({"Meter-Batch": "epoch=("}, 400, "bad_head"),
}


@pytest.mark.parametrize("case", REFUSED_FORMS)
async def test_a_request_of_a_wrong_form_is_refused_with_its_code(receiver: RunningReceiver, case: str) -> None:
    headers, status, code = REFUSED_FORMS[case]
    batch = batch_of(TEN, 1, 10)
    got, document = await post(
        receiver, msgspec.structs.replace(batch, headers=batch.headers | AUTHORIZATION | headers)
    )
    assert (got, document["code"], document["status"]) == (status, code, status)
    assert await held(receiver) == []


async def test_a_head_whose_chain_is_not_the_events_is_refused(receiver: RunningReceiver) -> None:
    honest, other = batch_of(TEN, 1, 10), batch_of(events("e-1", 1, 10, quantity="7"), 1, 10)
    headers = other.headers | {"Meter-Batch": honest.headers["Meter-Batch"]}
    status, document = await post(receiver, msgspec.structs.replace(other, headers=headers))
    assert (status, document["code"]) == (400, "chain_mismatch")


async def raw_request(receiver: RunningReceiver, data: bytes, wait_s: float = 3.0) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(receiver.url.rpartition(":")[2]))
    writer.write(data)
    await writer.drain()
    async with asyncio.timeout(wait_s):
        answer = await reader.read(65536)
    writer.close()
    return answer


def opening(length: int, *more: str) -> bytes:
    lines = [
        "POST /v1/sites/site-1/batches HTTP/1.1",
        "Host: x",
        "Authorization: Bearer a-token",
        "Content-Type: application/cloudevents-batch+json",
        "Content-Encoding: gzip",
        f"Content-Length: {length}",
        *more,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def test_a_body_over_the_limit_is_refused_before_it_is_read(receiver: RunningReceiver) -> None:
    answer = await raw_request(receiver, opening(10**12))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"too_large"' in answer


async def test_a_body_of_unknown_length_is_refused(receiver: RunningReceiver) -> None:
    data = opening(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    assert b'"code":"length_required"' in await raw_request(receiver, data)


async def test_a_header_over_the_limit_is_refused(receiver: RunningReceiver) -> None:
    answer = await raw_request(receiver, opening(0, "X-Long: " + "x" * 9000))
    assert b" 400 Bad Request\r\n" in answer


async def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    limits = Limits(body_timeout_s=0.2)
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=TOKENS, port=0, limits=limits))
    try:
        answer = await raw_request(running, opening(1000) + b"only this")
        assert answer.startswith(b"HTTP/1.1 408")
    finally:
        await running.close()


async def test_a_body_that_comes_slowly_holds_up_nobody_else(tmp_path: Path) -> None:
    limits = Limits(inflight_max=1)
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=TOKENS, port=0, limits=limits))
    try:
        _, slow = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        slow.write(opening(1000) + b"only this")
        await slow.drain()
        await asyncio.sleep(0.1)
        assert (await post(running, batch_of(TEN, 1, 10)))[0] == 200
        slow.close()
    finally:
        await running.close()


async def test_all_that_come_at_once_get_their_turn(tmp_path: Path) -> None:
    limits = Limits(inflight_max=2)
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=TOKENS, port=0, limits=limits))
    try:
        sites = [f"site-{number}" for number in range(60)]
        sent = [post(running, batch_of(events("e-1", 1, 3, site=site), 1, 3), site=site) for site in sites]
        assert {status for status, _ in await asyncio.gather(*sent)} == {200}
    finally:
        await running.close()


async def test_what_an_operator_set_lower_is_refused_and_told(tmp_path: Path) -> None:
    limits = Limits(batch=BatchLimits(events=5, raw_bytes=200_000), body_max_bytes=2000)
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=TOKENS, port=0, limits=limits))
    try:
        status, answer = await post(running, batch_of(TEN, 1, 2))
        assert (status, answer["hints"]) == (200, {"max_batch": 5})
        assert (await post(running, batch_of(TEN, 3, 4)))[1]["acked_through"] == 4
        assert (await raw_request(running, opening(2001))).startswith(b"HTTP/1.1 413")
        status, answer = await post(running, batch_of(TEN, 1, 6))
        assert (status, answer["code"], answer["detail"]) == (413, "too_large", "6 events are more than 5")
    finally:
        await running.close()


async def test_an_agent_comes_down_to_what_an_operator_set(tmp_path: Path) -> None:
    """A hundred events in batches of fifty; seven at once, and two kilobytes of body, are what is taken."""
    limits = Limits(batch=BatchLimits(events=7), body_max_bytes=2000)
    outbox = MemoryOutbox()
    outbox.record(100)
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=TOKENS, port=0, limits=limits))
    try:
        async with shipping(outbox, running.url, max_events=50) as shipper:
            report = await shipper.upload()
        assert (report.acked, report.refused, report.problem) == (100, 0, "")
        assert max(each.last - each.first + 1 for each in outbox.uploads if each.status == "acknowledged") <= 7
    finally:
        await running.close()


async def test_who_would_wait_too_long_is_asked_to_come_again() -> None:
    turns = Turns(Limits(inflight_max=1, turn_timeout_s=0.05))
    async with turns.turn():
        with pytest.raises(Refused, match="no turn within"):
            async with turns.turn():
                pass
    async with turns.turn():
        pass


async def test_batches_of_one_site_are_stored_in_the_order_in_which_they_came_whole(
    receiver: RunningReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long one takes to be read: an agent has several on their way."""
    read = ingest._open

    def slowly(site: str, request: web.Request, *more: Any) -> Any:
        time.sleep(0.2 if site == "site-1" and ",first=1," in request.headers["Meter-Batch"].replace(" ", "") else 0)
        return read(site, request, *more)

    monkeypatch.setattr(ingest, "_open", slowly)
    ended: list[str] = []

    async def sent(name: str, site: str, first: int, last: int) -> int:
        status, _ = await post(receiver, batch_of(events("e-1", 1, 10, site=site), first, last), site=site)
        ended.append(name)
        return status

    tasks = []
    for one in (("ahead", "site-1", 1, 5), ("behind", "site-1", 6, 10), ("another's", "site-2", 1, 10)):
        tasks.append(asyncio.create_task(sent(*one)))
        await asyncio.sleep(0.05)
    assert await asyncio.gather(*tasks) == [200, 200, 200]
    assert ended == ["another's", "ahead", "behind"]


async def test_more_bytes_at_once_than_can_be_held_are_asked_to_come_again(tmp_path: Path) -> None:
    limits = Limits(held_max_bytes=1000)
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=TOKENS, port=0, limits=limits))
    try:
        _, slow = await asyncio.open_connection("127.0.0.1", int(running.url.rpartition(":")[2]))
        slow.write(opening(1000) + b"only this")
        await slow.drain()
        await asyncio.sleep(0.1)
        answer = await raw_request(running, opening(10))
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 5" in answer
        slow.close()
        await asyncio.sleep(0.1)
        assert (await post(running, batch_of(TEN, 1, 10)))[0] == 200
    finally:
        await running.close()


@pytest.mark.parametrize(
    "path", ["/v1/sites/site-1/totals?day=2026-2-30", "/v1/sites/site-1/events?after=-1", "/v1/sites/a%20b"]
)
async def test_a_wrong_question_is_refused(receiver: RunningReceiver, path: str) -> None:
    async with aiohttp.ClientSession(headers=AUTHORIZATION) as session, session.get(receiver.url + path) as response:
        assert response.status in (400, 404)
        assert json.loads(await response.read())["code"] in ("bad_query", "bad_site")


# --- who may


async def test_a_token_is_for_its_site_and_its_use(tmp_path: Path) -> None:
    tokens = Tokens(write={token_hash("w"): "site-1"}, read={token_hash("r"): "*"})
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=tokens, port=0))
    try:
        batch = batch_of(TEN, 1, 10)
        assert (await post(running, batch, Authorization="Bearer w"))[0] == 200
        assert (await post(running, batch, site="site-2", Authorization="Bearer w"))[1]["code"] == "forbidden"
        assert (await post(running, batch, Authorization="Bearer r"))[1]["code"] == "unauthorized"
        for token, status in (("r", 200), ("w", 401), ("x", 401)):
            headers = {"Authorization": f"Bearer {token}"}
            url = f"{running.url}/v1/sites/site-1/totals"
            async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
                assert response.status == status
    finally:
        await running.close()


def test_tokens_are_given_as_hashes() -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        Tokens(write={"a-token": "site-1"})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "meter.example.net"])
def test_it_does_not_listen_beyond_this_machine_in_the_clear(host: str) -> None:
    with pytest.raises(ValueError, match="not this machine"):
        ReceiverSettings(database="r.db", tokens=TOKENS, host=host)


# --- the store


async def test_a10_commits_are_on_the_disk_before_the_answer(tmp_path: Path) -> None:
    store = await SqliteStore.open(str(tmp_path / "r.db"))
    try:
        conn = store._writer.conn
        settings = await asyncio.get_running_loop().run_in_executor(
            store._writing,
            lambda: [conn.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")],
        )
        assert settings == [2, "wal"]
    finally:
        await store.close()


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 200])
async def test_a9_a_file_that_is_no_database_is_told_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.db"
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable):
        await SqliteStore.open(str(path))
    assert path.read_bytes() == content


async def test_c1_a_store_that_fails_acknowledges_nothing_and_takes_the_retry(tmp_path: Path) -> None:
    async with receiver_at(tmp_path) as receiver:
        await post(receiver, batch_of(TEN, 1, 2))
        locker = sqlite3.connect(tmp_path / "receiver.db", isolation_level=None)
        await asyncio.get_running_loop().run_in_executor(
            receiver.store._writing, receiver.store._writer.conn.execute, "PRAGMA busy_timeout=50"
        )
        locker.execute("BEGIN IMMEDIATE")
        status, document = await post(receiver, batch_of(TEN, 3, 10))
        assert (status, document["code"]) == (503, "store_unavailable")
        locker.execute("ROLLBACK")
        assert (await post(receiver, batch_of(TEN, 3, 10)))[1]["duplicate"] is False
        assert len(await counted_ids(receiver)) == 10


async def test_health_and_numbers_are_told_without_naming_anybody(receiver: RunningReceiver) -> None:
    mixed = TEN[:3] + events("e-1", 4, 4, type="electricity")
    await post(receiver, batch_of(mixed, 1, 4))
    await post(receiver, batch_of(mixed, 1, 4))
    await post(receiver, batch_of(mixed, 5, 4))
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{receiver.url}/healthz") as response:
            assert response.status == 200
        async with session.get(f"{receiver.url}/metrics") as response:
            lines = (await response.text()).splitlines()
    for expected in (
        'pegcount_receiver_batches_total{outcome="accepted"} 1',
        'pegcount_receiver_batches_total{outcome="duplicate"} 1',
        'pegcount_receiver_batches_total{outcome="heartbeat"} 1',
        'pegcount_receiver_events_total{status="counted"} 3',
        'pegcount_receiver_events_total{status="rejected"} 1',
    ):
        assert expected in lines
    assert not any("site-1" in line for line in lines)


async def test_an_agent_that_goes_away_in_the_middle_is_no_error_here(
    receiver: RunningReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    made = batch_of(TEN, 1, 10)
    head = "".join(f"{name}: {value}\r\n" for name, value in (AUTHORIZATION | made.headers).items())
    host, port = receiver.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    lines = f"POST /v1/sites/site-1/batches HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(made.body)}\r\n{head}\r\n"
    writer.write(lines.encode() + made.body[:20])
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.close()
    await asyncio.sleep(0.3)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert (await post(receiver, made))[0] == 200
