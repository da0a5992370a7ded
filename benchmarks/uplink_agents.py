"""The processes of the uplink's benchmark, one role each: `python -m benchmarks.uplink_agents ROLE ARGUMENTS`.

    drain LEDGER URL TOKEN   the agent's own shipper, enrolled with the token in that file, brings a ledger's backlog to URL
    post FILE URL SITES      SITES sites at a time post what FILE holds for them, batch after batch
    server                   the bare equivalent of a receiver: takes a body and answers 200; prints its URL
    copy LEDGER URL          the same with PostgreSQL: COPY of a ledger's events, a batch a transaction
    publish FILE URL         the same with JetStream: a message for each batch of FILE, each awaited
    insert LEDGER FILE       the bare equivalent of a store: executemany of a ledger's events, a batch a transaction

Each client prints a JSON object: `Told`.
"""

import asyncio
import sqlite3
import sys
import time
from pathlib import Path

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
from uplink import identity
from uplink.batch import EVENTS_MAX
from uplink.destinations import PegcountHttp, PegcountSettings
from uplink.enrol import About, enrol
from uplink.events import decode
from uplink.line import HttpLine, LineSettings, first_line
from uplink.shipper import Pace, Shipper

RETRY_S = 5.0
"""What the receiver asks of those that it has no room for; an agent adds up to a tenth."""


BARE_TABLE = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "CREATE TABLE event (position INTEGER PRIMARY KEY, epoch_id INTEGER, seq INTEGER, status INTEGER, id TEXT, meter TEXT,"
    " time_ms INTEGER, quantity TEXT, unit TEXT, body BLOB)",
    "CREATE UNIQUE INDEX event_place ON event (epoch_id, seq)",
    "CREATE INDEX event_id ON event (id)",
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
    destination = PegcountHttp(PegcountSettings(url=url), SITE.id, identity.load(folder))
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


def insert(ledger_path: str, file: str) -> Told:
    rows = [_columns(seq, body) for seq, body in enumerate(_bodies(ledger_path), 1)]
    db = sqlite3.connect(file, isolation_level=None)
    for statement in BARE_TABLE:
        db.execute(statement)
    began_s = time.perf_counter()
    for start in range(0, len(rows), EVENTS_MAX):
        db.execute("BEGIN")
        db.executemany("INSERT INTO event VALUES (?, 1, ?, 0, ?, ?, ?, ?, ?, ?)", rows[start : start + EVENTS_MAX])
        db.execute("COMMIT")
    return Told(events=len(rows), took_s=time.perf_counter() - began_s)


async def copy(ledger_path: str, url: str) -> Told:
    import asyncpg

    rows = [_columns(seq, body) for seq, body in enumerate(_bodies(ledger_path), 1)]
    connection = await asyncpg.connect(url)
    await connection.execute(
        "CREATE TABLE event (position bigint, seq bigint PRIMARY KEY, id text, meter text, time_ms bigint, quantity text,"
        " unit text, body bytea)"
    )
    await connection.execute("CREATE INDEX ON event (id)")
    await connection.execute("CREATE UNIQUE INDEX ON event (position)")
    began_s = time.perf_counter()
    for start in range(0, len(rows), EVENTS_MAX):
        await connection.copy_records_to_table("event", records=rows[start : start + EVENTS_MAX])
    took_s = time.perf_counter() - began_s
    await connection.close()
    return Told(events=len(rows), took_s=took_s)


async def publish(file: str, url: str) -> Told:
    import nats

    (posts,) = msgspec.msgpack.decode(Path(file).read_bytes(), type=list[Posts])
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="bare", subjects=["bare"])
    began_s = time.perf_counter()
    for _, body in posts.batches:
        await stream.publish("bare", body)
    took_s = time.perf_counter() - began_s
    await client.close()
    return Told(events=posts.events, took_s=took_s)


def _bodies(ledger_path: str) -> list[bytes]:
    return [body for (body,) in sqlite3.connect(ledger_path).execute("SELECT body FROM event ORDER BY line")]


def _columns(seq: int, body: bytes) -> tuple[object, ...]:
    event = decode(body)
    return seq, seq, event.id, event.meter, event.time_ms, event.quantity, event.unit, body


def main() -> None:
    match sys.argv[1:]:
        case ["drain", ledger, url, token]:
            told = asyncio.run(drain(ledger, url, token))
        case ["post", file, url, sites]:
            told = asyncio.run(post(file, url, sites))
        case ["insert", ledger, file]:
            told = insert(ledger, file)
        case ["copy", ledger, url]:
            told = asyncio.run(copy(ledger, url))
        case ["publish", file, url]:
            told = asyncio.run(publish(file, url))
        case _:
            asyncio.run(server())
            return
    print(msgspec.json.encode(told).decode())


if __name__ == "__main__":
    main()
