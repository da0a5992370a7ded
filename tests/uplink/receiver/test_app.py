"""The receiver over HTTP: what it takes, what it refuses and how cheaply, what it tells."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.uplink.platform import AUTHORIZATION, TOKENS, counted_ids, fetch, held, receiver_at
from tests.uplink.site import START, chain_of, event_body
from uplink.batch import Batch, Head, build, withhold
from uplink.receiver.ingest import Limits
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.storage import StoreUnavailable
from uplink.receiver.storage.sqlite import SqliteStore
from uplink.receiver.tokens import Tokens, token_hash

Answer = tuple[int, dict[str, Any]]


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[RunningReceiver]:
    async with receiver_at(tmp_path) as running:
        yield running


def events(epoch: str, first: int, last: int, site: str = "site-1", **changes: object) -> list[bytes]:
    return [event_body(site, epoch, seq, **changes) for seq in range(first, last + 1)]


def batch_of(history: list[bytes], first: int, last: int, epoch: str = "e-1", **head: object) -> Batch:
    made = Head(
        epoch=epoch,
        first=first,
        last=last,
        count=max(0, last - first + 1),
        prev=chain_of(history[: first - 1]),
        chain=chain_of(history[:last]),
        head_time_s=1_795_168_800,
    )
    return build(msgspec.structs.replace(made, **head), history[first - 1 : last])


async def post(receiver: RunningReceiver, batch: Batch, site: str = "site-1", **headers: str) -> Answer:
    async with aiohttp.ClientSession() as session:
        url = f"{receiver.url}/v1/sites/{site}/batches"
        sent = AUTHORIZATION | batch.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        async with session.post(url, data=batch.body, headers=sent) as response:
            document = json.loads(await response.read())
            return response.status, document


TEN = events("e-1", 1, 10)


async def test_a_batch_is_stored_and_acknowledged(receiver: RunningReceiver) -> None:
    status, document = await post(receiver, batch_of(TEN, 1, 10))
    assert status == 200
    assert (document["acked_through"], document["epoch"], document["duplicate"]) == (10, "e-1", False)
    assert [each["event"]["sequence"] for each in await held(receiver)] == [str(seq) for seq in range(1, 11)]


async def test_what_is_stored_is_what_was_sent_to_the_byte(receiver: RunningReceiver, tmp_path: Path) -> None:
    spaced = [b'{ "odd" :1}', *events("e-1", 2, 2, subject="Æ \\u00e6 ☎")]
    await post(receiver, batch_of(spaced, 1, 2))
    rows = sqlite3.connect(tmp_path / "receiver.db").execute("SELECT body FROM event ORDER BY seq").fetchall()
    assert [body for (body,) in rows] == spaced


async def test_the_same_batch_again_is_a_duplicate_and_counts_nothing(receiver: RunningReceiver) -> None:
    await post(receiver, batch_of(TEN, 1, 10))
    status, document = await post(receiver, batch_of(TEN, 1, 10))
    assert (status, document["duplicate"], document["acked_through"]) == (200, True, 10)
    assert len(await counted_ids(receiver)) == 10


async def test_b10_another_cut_of_the_same_events_is_recognised(receiver: RunningReceiver) -> None:
    await post(receiver, batch_of(TEN, 1, 7))
    inside, over, rest = batch_of(TEN, 3, 5), batch_of(TEN, 5, 9), batch_of(TEN, 1, 10)
    assert (await post(receiver, inside))[1]["duplicate"] is True
    assert (await post(receiver, over))[1]["acked_through"] == 9
    assert (await post(receiver, rest))[1]["acked_through"] == 10
    assert await counted_ids(receiver) == [f"event-{seq}" for seq in range(1, 11)]


async def test_a_gap_is_answered_with_the_number_that_is_next(receiver: RunningReceiver) -> None:
    await post(receiver, batch_of(TEN, 1, 3))
    status, document = await post(receiver, batch_of(TEN, 6, 8))
    assert (status, document["code"], document["expected"]) == (409, "gap", 4)


async def test_c14_other_content_under_known_numbers_is_a_conflict(receiver: RunningReceiver) -> None:
    await post(receiver, batch_of(TEN, 1, 5))
    twin = TEN[:3] + events("e-1", 4, 10, quantity="7")
    for first, last in ((1, 5), (4, 8), (6, 8)):
        status, document = await post(receiver, batch_of(twin, first, last))
        assert (status, document["code"]) == (409, "conflict")
    assert len(await counted_ids(receiver)) == 5


async def test_c14_a_heartbeat_of_a_ledger_that_went_back_is_a_conflict(receiver: RunningReceiver) -> None:
    await post(receiver, batch_of(TEN, 1, 8))
    assert (await post(receiver, batch_of(TEN, 9, 8)))[0] == 200
    status, document = await post(receiver, batch_of(TEN, 6, 5))
    assert (status, document["code"]) == (409, "conflict")


async def test_a_heartbeat_of_a_new_site_is_taken(receiver: RunningReceiver) -> None:
    status, document = await post(receiver, batch_of([], 1, 0))
    assert (status, document["acked_through"]) == (200, 0)
    (epoch,) = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
    assert (epoch["epoch"], epoch["acked_through"]) == ("e-1", 0)


async def test_d4_sites_and_epochs_do_not_share_numbers(receiver: RunningReceiver) -> None:
    await post(receiver, batch_of(TEN, 1, 10))
    other_site, other_epoch = events("e-1", 1, 4, site="site-2"), events("e-2", 1, 3, time="2026-12-01T00:00:00Z")
    assert (await post(receiver, batch_of(other_site, 1, 4), site="site-2"))[1]["acked_through"] == 4
    assert (await post(receiver, batch_of(other_epoch, 1, 3, epoch="e-2")))[1]["acked_through"] == 3
    assert len(await counted_ids(receiver)) == 13
    assert len(await counted_ids(receiver, "site-2")) == 4


async def test_b11_a_bad_event_is_refused_alone_and_blocks_nothing(receiver: RunningReceiver) -> None:
    mixed = TEN[:3] + events("e-1", 4, 4, type="electricity") + [b'{"no":"event"}'] + TEN[5:]
    status, document = await post(receiver, batch_of(mixed, 1, 10))
    assert (status, document["acked_through"]) == (200, 10)
    results = [(each["seq"], each["status"], each["code"], each["retry"]) for each in document["results"]]
    assert results == [(4, "rejected", "unknown_type", False), (5, "rejected", "not_an_event", False)]
    assert [each["status"] for each in await held(receiver)].count("rejected") == 2
    assert len(await counted_ids(receiver)) == 8


async def test_c4_a_duplicate_tells_the_refusals_again(receiver: RunningReceiver) -> None:
    mixed = TEN[:3] + events("e-1", 4, 4, type="electricity")
    first = await post(receiver, batch_of(mixed, 1, 4))
    again = await post(receiver, batch_of(mixed, 1, 4))
    assert again[1]["results"] == first[1]["results"] != []


async def test_a_withheld_event_keeps_the_chain_whole(receiver: RunningReceiver) -> None:
    await post(receiver, batch_of(TEN, 1, 4))
    stated = withhold(batch_of(TEN, 5, 5).head, TEN[4], "too_large")
    for _ in range(2):
        status, document = await post(receiver, build(stated, []))
        assert (status, document["acked_through"]) == (200, 5)
        assert [(each["seq"], each["code"]) for each in document["results"]] == [(5, "too_large")]
    assert (await post(receiver, batch_of(TEN, 6, 10)))[1]["acked_through"] == 10
    assert (await post(receiver, batch_of(TEN, 6, 8)))[1]["duplicate"] is True
    assert len(await counted_ids(receiver)) == 9


async def test_a_new_epoch_does_not_count_again_what_an_earlier_one_counted(receiver: RunningReceiver) -> None:
    old = events("e-1", 1, 1, id="a", time="2026-11-20T10:00:00Z") + events(
        "e-1", 2, 2, id="b", time="2026-11-20T11:00:00Z"
    )
    await post(receiver, batch_of(old, 1, 2))
    new = (
        events("e-2", 1, 1, id="b", time="2026-11-20T11:00:00Z")
        + events("e-2", 2, 2, id="c", time="2026-11-20T10:30:00Z")
        + events("e-2", 3, 3, id="d", time="2026-11-20T12:00:00Z")
    )
    sent = batch_of(new, 1, 3, epoch="e-2", after_epoch="e-1", after_chain=chain_of(old))
    _, document = await post(receiver, sent)
    assert [(each["seq"], each["status"]) for each in document["results"]] == [(1, "known")]
    assert await counted_ids(receiver) == ["a", "b", "c", "d"]
    (total,) = (await fetch(receiver, "/v1/sites/site-1/totals"))["totals"]
    assert (total["quantity"], total["events"]) == ("0.4", 4)
    epochs = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
    assert [(each["continues"], each["counted"], each["known"]) for each in epochs] == [("first", 2, 0), ("yes", 2, 1)]


async def test_an_epoch_that_names_another_past_is_noted(receiver: RunningReceiver) -> None:
    await post(receiver, batch_of(TEN, 1, 2))
    other = batch_of(events("e-2", 1, 1), 1, 1, epoch="e-2", after_epoch="e-1", after_chain=START)
    assert (await post(receiver, other))[0] == 200
    assert (await post(receiver, batch_of(events("e-3", 1, 1), 1, 1, epoch="e-3")))[0] == 200
    epochs = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
    assert [each["continues"] for each in epochs] == ["first", "no", "unnamed"]


async def test_totals_are_exact_and_corrections_net(receiver: RunningReceiver) -> None:
    quantities = ["0.1"] * 10 + ["123456789012345678", "-0.000000000001", "-0.9"]
    history = [event_body("site-1", "e-1", seq, quantity=quantity) for seq, quantity in enumerate(quantities, 1)]
    await post(receiver, batch_of(history, 1, 10))
    await post(receiver, batch_of(history, 11, 13))
    (total,) = (await fetch(receiver, "/v1/sites/site-1/totals"))["totals"]
    assert (total["meter"], total["unit"], total["events"]) == ("voice.minutes", "minute", 13)
    assert total["quantity"] == "123456789012345678.099999999999"


async def test_totals_come_by_day(receiver: RunningReceiver) -> None:
    history = [
        event_body("site-1", "e-1", 1, time="2026-11-20T23:59:59.999Z"),
        event_body("site-1", "e-1", 2, time="2026-11-21T00:00:00Z", quantity="2"),
        event_body("site-1", "e-1", 3, time="2026-11-20T12:00:00Z", type="call", quantity="1"),
    ]
    await post(receiver, batch_of(history, 1, 3))

    async def rows(query: str) -> list[tuple[str, str, str]]:
        totals = (await fetch(receiver, f"/v1/sites/site-1/totals{query}"))["totals"]
        return [(each["day"], each["meter"], each["quantity"]) for each in totals]

    assert await rows("") == [("", "call", "1"), ("", "voice.minutes", "2.1")]
    assert await rows("?day=2026-11-21") == [("2026-11-21", "voice.minutes", "2")]
    assert await rows("?by=day") == [
        ("2026-11-20", "call", "1"),
        ("2026-11-20", "voice.minutes", "0.1"),
        ("2026-11-21", "voice.minutes", "2"),
    ]


async def test_c6_events_of_two_months_ago_are_counted_and_called_late(tmp_path: Path) -> None:
    async with receiver_at(tmp_path) as receiver:
        old = events("e-1", 1, 3, time="2020-01-01T00:00:00Z")
        _, document = await post(receiver, batch_of(old, 1, 3))
        assert (document["late"], len(await counted_ids(receiver))) == (True, 3)


async def test_c12_a_clock_that_is_wrong_is_noted_and_changes_nothing(receiver: RunningReceiver) -> None:
    future = events("e-1", 1, 1, time="2099-01-01T00:00:00Z")
    assert (await post(receiver, batch_of(future, 1, 1, head_time_s=4_070_908_800)))[0] == 200
    (epoch,) = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
    assert epoch["skew_ms"] > 27 * 3_600_000
    assert len(await counted_ids(receiver)) == 1


async def test_events_are_listed_in_pages(receiver: RunningReceiver) -> None:
    await post(receiver, batch_of(TEN, 1, 10))
    first = await fetch(receiver, "/v1/sites/site-1/events?limit=4")
    second = await fetch(receiver, f"/v1/sites/site-1/events?limit=99&after={first['next']}")
    listed = [each["seq"] for page in (first, second) for each in page["events"]]
    assert listed == list(range(1, 11))
    assert (await fetch(receiver, f"/v1/sites/site-1/events?after={second['next']}"))["events"] == []


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


async def test_more_batches_at_once_than_allowed_are_asked_to_come_again(tmp_path: Path) -> None:
    limits = Limits(inflight_max=1)
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


async def test_batches_that_come_together_are_committed_together_and_answered_apart(receiver: RunningReceiver) -> None:
    histories = {f"site-{number}": events("e-1", 1, 5, site=f"site-{number}") for number in range(40)}
    answers = await asyncio.gather(
        *(post(receiver, batch_of(each, 1, 5), site=site) for site, each in histories.items())
    )
    assert [(status, document["acked_through"]) for status, document in answers] == [(200, 5)] * 40


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
