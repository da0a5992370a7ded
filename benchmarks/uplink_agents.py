"""The processes of the uplink's benchmark, one role each: `python -m benchmarks.uplink_agents ROLE ARGUMENTS`.

    drain LEDGER URL TOKEN   the agent's own shipper, enrolled with the token in that file, brings a ledger's backlog to URL
    post FILE URL SITES      SITES sites at a time post what FILE holds for them, batch after batch
    server                   the bare equivalent of a receiver: takes a body and answers 200; prints its URL
    insert FILE DB SITES     the bare equivalent of a store: executemany of what FILE holds, a transaction for each batch
    copy FILE URL SITES      the same with PostgreSQL: COPY over as many connections as there are sites, at most eight
    publish FILE URL SITES   the same with JetStream: a message for each batch, as many awaited at once as there are sites

Each client prints a JSON object: `Told`. What the bare ones need beforehand (rows, a table) is made outside of the time.
"""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
from aiohttp import web
from msgspec import Struct

from agent.config.tables import Ledger as LedgerSettings
from agent.garbage import collect_seldom
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.writer import Ledger
from agent.metering.rules import Metering
from benchmarks.uplink_load import SITE, Posts
from uplink.batch import open_batch
from uplink.destinations import PegcountHttp, PegcountSettings
from uplink.enrol import About, enrol
from uplink.events import decode
from uplink.line import HttpLine, LineSettings, first_line
from uplink.shipper import Pace, Shipper

_T = TypeVar("_T")

RETRY_S = 5.0
"""What the receiver asks of those that it has no room for; an agent adds up to a tenth."""


BARE_TABLE = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "CREATE TABLE event (position INTEGER PRIMARY KEY, epoch_id INTEGER, seq INTEGER, status INTEGER, id TEXT, meter TEXT,"
    " time_ms INTEGER, quantity TEXT, unit TEXT, body BLOB)",
    "CREATE UNIQUE INDEX event_place ON event (epoch_id, seq)",
    "CREATE INDEX event_id ON event (epoch_id, id)",
)
"""The same columns and indexes as the receiver's, and as durable."""


class Told(Struct, frozen=True, kw_only=True):
    """`events` were acknowledged within `took_s`. `turned_away`: requests that were asked to come again.
    `waits_ms`: how long each site took from the start until all it had was acknowledged."""

    events: int
    took_s: float
    turned_away: int = 0
    waits_ms: list[int] = []


async def drain(ledger_path: str, url: str, token_file: str) -> Told:
    """Signs each request and checks each receipt, as every enrolled agent does."""
    collect_seldom()
    folder = Path(ledger_path).parent
    line = HttpLine(LineSettings(url=url))
    await enrol(line, folder, first_line(token_file), About(machine="benchmark"))
    await line.close()
    ledger = Ledger.open(LedgerSettings(path=ledger_path), SITE, Metering(), lambda: time.time_ns() // 1_000_000)
    outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
    destination = PegcountHttp(PegcountSettings(url=url), SITE.id, folder)
    shipper = Shipper("platform", outbox, destination, Pace(), platform_keys=destination.platform_keys)
    began_s = time.perf_counter()
    report = await shipper.upload()
    took_s = time.perf_counter() - began_s
    await destination.close()
    outbox.close()
    ledger.close()
    return Told(events=report.acked, took_s=took_s)


async def post(file: str, url: str, sites: str) -> Told:
    posts = msgspec.msgpack.decode(Path(file).read_bytes(), type=list[Posts])
    room = asyncio.Semaphore(int(sites))
    waits_ms: list[int] = []
    turned_away = 0
    began_s = time.perf_counter()

    async def site(session: aiohttp.ClientSession, each: Posts) -> int:
        nonlocal turned_away
        async with room:
            for headers, body in each.batches:
                while True:
                    async with session.post(url + each.path, data=body, headers=headers) as answer:
                        await answer.read()
                        if answer.status == 200:
                            break
                        if answer.status != 503:
                            answer.raise_for_status()
                    turned_away += 1
                    await asyncio.sleep(RETRY_S * (1 + 0.1 * (turned_away % 10) / 10))
        waits_ms.append(round(1000 * (time.perf_counter() - began_s)))
        return each.events

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        events = sum(await asyncio.gather(*(site(session, each) for each in posts)))
    took_s = time.perf_counter() - began_s
    return Told(events=events, took_s=took_s, turned_away=turned_away, waits_ms=sorted(waits_ms))


async def server() -> None:
    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="{}")

    app = web.Application(handler_args={"auto_decompress": False}, client_max_size=1 << 20)
    app.add_routes([web.post("/{path:.*}", take)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"receiving at http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


def insert(file: str, database: str) -> Told:
    batches = _rows(file)
    db = sqlite3.connect(database, isolation_level=None)
    for statement in BARE_TABLE:
        db.execute(statement)
    began_s = time.perf_counter()
    for rows in batches:
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO event (status, epoch_id, seq, id, meter, time_ms, unit, body, quantity)"
            " VALUES (0, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        db.execute("COMMIT")
    return Told(events=sum(map(len, batches)), took_s=time.perf_counter() - began_s)


async def copy(file: str, url: str, sites: str) -> Told:
    """Into the receiver's own table."""
    import asyncpg

    from uplink.receiver.storage.pg_schema import SCHEMA, migrate
    from uplink.receiver.storage.postgres import CONNECTIONS

    settings = {"search_path": SCHEMA, "synchronous_commit": "on"}
    columns = ("site_id", "epoch_id", "status", "seq", "id", "meter", "time_ms", "unit", "body", "quantity")
    batches = [
        [(epoch, epoch, 0, *others, Decimal(quantity)) for epoch, *others, quantity in rows] for rows in _rows(file)
    ]
    lanes = min(int(sites), CONNECTIONS)
    async with asyncpg.create_pool(url, min_size=lanes, max_size=lanes, server_settings=settings) as pool:
        async with pool.acquire() as first:
            await migrate(first)

        async def lane(mine: list[list[tuple[Any, ...]]]) -> None:
            async with pool.acquire() as connection:
                for rows in mine:
                    await connection.copy_records_to_table("event", records=rows, columns=columns, schema_name=SCHEMA)

        began_s = time.perf_counter()
        await asyncio.gather(*(lane(batches[number::lanes]) for number in range(lanes)))
        took_s = time.perf_counter() - began_s
    return Told(events=sum(map(len, batches)), took_s=took_s)


async def publish(file: str, url: str, sites: str) -> Told:
    import nats

    posts = msgspec.msgpack.decode(Path(file).read_bytes(), type=list[Posts])
    bodies = _in_turns([[body for _, body in each.batches] for each in posts])
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="bare", subjects=["bare"])
    at_once = int(sites)

    async def lane(mine: list[bytes]) -> None:
        for body in mine:
            await stream.publish("bare", body, timeout=60)

    began_s = time.perf_counter()
    await asyncio.gather(*(lane(bodies[number::at_once]) for number in range(at_once)))
    took_s = time.perf_counter() - began_s
    await client.close()
    return Told(events=sum(each.events for each in posts), took_s=took_s)


def _rows(file: str) -> list[list[tuple[Any, ...]]]:
    """Of each batch, in the order in which they might come."""
    posts = msgspec.msgpack.decode(Path(file).read_bytes(), type=list[Posts])
    return _in_turns([list(_rows_of(number, each)) for number, each in enumerate(posts, 1)])


def _rows_of(epoch: int, posts: Posts) -> Iterator[list[tuple[Any, ...]]]:
    for headers, encoded in posts.batches:
        head, bodies = open_batch(headers, encoded)
        events = [(body, decode(body)) for body in bodies]
        yield [
            (epoch, seq, event.id, event.meter, event.time_ms, event.unit, body, event.quantity)
            for seq, (body, event) in enumerate(events, head.first)
        ]


def _in_turns(sites: list[list[_T]]) -> list[_T]:
    return [batch for turn in zip_longest(*sites) for batch in turn if batch is not None]


def main() -> None:
    match sys.argv[1:]:
        case ["drain", ledger, url, token]:
            told = asyncio.run(drain(ledger, url, token))
        case ["post", file, url, sites]:
            told = asyncio.run(post(file, url, sites))
        case ["insert", file, database, _]:
            told = insert(file, database)
        case ["copy", file, url, sites]:
            told = asyncio.run(copy(file, url, sites))
        case ["publish", file, url, sites]:
            told = asyncio.run(publish(file, url, sites))
        case _:
            asyncio.run(server())
            return
    print(msgspec.json.encode(told).decode())


if __name__ == "__main__":
    main()
