"""Booking into ClickHouse, against a stand-in: no server of it can be had here as a package.

It speaks the HTTP interface as the vendor documents it (clickhouse.com/docs, "HTTP interface", "ReplacingMergeTree") and keeps
the last row of each sorting key, as FINAL shows it. That ClickHouse understands the statements it cannot show: for that there
is `clickhouse_engine`, which is run by hand.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import aiohttp.test_utils
import pytest
from aiohttp import web

from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.test_booking import incoming
from tests.uplink.site import event_body
from uplink.batch import Head, build, withhold
from uplink.receiver.consume import Booking, booking
from uplink.receiver.screen import Place, screen
from uplink.receiver.storage import Incoming, StoreUnavailable
from uplink.receiver.storage.clickhouse import ClickHouseBooks
from uplink.receiver.storage.jetstream import JetStreamStore


class StandIn:
    """`failures`: answers that come before anything is done."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.rows: dict[tuple[str, str, int], dict[str, object]] = {}
        self.inserted = 0
        self.failures: list[web.Response] = []
        self.login: set[tuple[str | None, str | None, str]] = set()

    async def answer(self, request: web.Request) -> web.Response:
        self.login.add(
            (
                request.headers.get("X-ClickHouse-User"),
                request.headers.get("X-ClickHouse-Key"),
                request.query["database"],
            )
        )
        body = await request.read()
        if self.failures:
            return self.failures.pop(0)
        assert request.query["async_insert"] == "0"
        if "query" not in request.query:
            self.statements.append(body.decode())
            return web.Response()
        assert request.query["query"] == "INSERT INTO event FORMAT JSONEachRow"
        for line in body.splitlines():
            row = json.loads(line)
            self.rows[row["site"], row["epoch"], row["seq"]] = row
            self.inserted += 1
        return web.Response()


@pytest.fixture
async def server() -> AsyncIterator[tuple[StandIn, str]]:
    stand_in, app = StandIn(), web.Application(client_max_size=1 << 26)
    app.router.add_post("/", stand_in.answer)
    async with aiohttp.test_utils.TestServer(app) as running:
        yield stand_in, f"clickhouse://meter:ge%20heim@127.0.0.1:{running.port}/metering"


async def test_tables_are_made_and_rows_are_what_was_sent(server: tuple[StandIn, str]) -> None:
    stand_in, url = server
    books = await ClickHouseBooks.open(url)
    batch = incoming("site-1", "original", 1, 6)
    await books.book([batch])
    await books.close()
    assert [statement.split("(")[0].split(" AS ")[0].strip() for statement in stand_in.statements] == [
        "CREATE TABLE IF NOT EXISTS event",
        "CREATE VIEW IF NOT EXISTS counted",
    ]
    assert stand_in.login == {("meter", "ge heim", "metering")}
    assert stand_in.rows["site-1", "e-1", 1] == {
        "site": "site-1",
        "epoch": "e-1",
        "seq": 1,
        "status": "counted",
        "code": "",
        "id": "call-1",
        "meter": "voice.minutes",
        "time_ms": 1_795_168_860_000,
        "quantity": "0.1",
        "unit": "minute",
        "received_ms": 1,
        "body": batch.events[0].body.decode(),
    }
    refused = stand_in.rows["site-1", "e-1", 5]
    assert (refused["status"], refused["code"], refused["quantity"]) == ("rejected", "unknown_type", "0")


async def test_a_withheld_event_and_one_that_is_no_text_have_rows(server: tuple[StandIn, str]) -> None:
    stand_in, url = server
    books = await ClickHouseBooks.open(url)
    body = event_body("s", "e", 1)
    head = Head(epoch="e", first=1, last=1, count=1, prev=bytes(32), chain=bytes(32), head_time_s=1)
    withheld = withhold(head, body, "too_large")
    binary = screen(Place("s", "e"), 2, [b'"\xff"'])
    await books.book(
        [
            Incoming(site="s", head=withheld, events=[], now_ms=1, encoded=build(withheld, []).body),
            Incoming(site="s", head=head, events=binary, now_ms=1, encoded=b""),
        ]
    )
    await books.close()
    assert [(row["seq"], row["code"], row["body"]) for row in stand_in.rows.values()] == [
        (1, "too_large", ""),
        (2, "not_an_event", '"\ufffd"'),
    ]


async def test_d5_what_is_booked_again_stands_there_once(server: tuple[StandIn, str]) -> None:
    stand_in, url = server
    books = await ClickHouseBooks.open(url)
    batches = [incoming(site, "original", first, 3) for first in (1, 4, 7) for site in ("site-1", "site-2")]
    for _ in range(3):
        await books.book(batches)
    await books.book([incoming("site-1", "original", 2, 5)])
    await books.close()
    assert (stand_in.inserted, len(stand_in.rows)) == (59, 18)


async def test_a_server_that_fails_is_told_without_its_password(server: tuple[StandIn, str]) -> None:
    stand_in, url = server
    books = await ClickHouseBooks.open(url)
    stand_in.failures = [
        web.Response(status=500, text="Code: 252. DB::Exception: Too many parts"),
        web.Response(headers={"X-ClickHouse-Exception-Code": "241"}, text="Memory limit exceeded"),
    ]
    for words in ("Too many parts", "Memory limit"):
        with pytest.raises(StoreUnavailable, match=words) as caught:
            await books.book([incoming("site-1", "original", 1, 3)])
        assert "heim" not in str(caught.value)
    assert stand_in.rows == {}
    await books.close()
    with pytest.raises(StoreUnavailable):
        await ClickHouseBooks.open("clickhouse://127.0.0.1:1/metering")


async def test_a_log_is_booked_into_it(
    server: tuple[StandIn, str], nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplink.receiver.consume.RETRY_MIN_S", 0.01)
    stand_in, url = server
    log = await JetStreamStore.open(nats_server.url)
    for seq in range(1, 10):
        await log.append(incoming("site-1", "original", seq, 1))
    async with booking(Booking(origin=nats_server.url, into=url)):
        stand_in.failures = [web.Response(status=503) for _ in range(2)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while len(stand_in.rows) < 9:
                    await asyncio.sleep(0.02)
    assert sorted(seq for _, _, seq in stand_in.rows) == list(range(1, 10))
    await log.close()
