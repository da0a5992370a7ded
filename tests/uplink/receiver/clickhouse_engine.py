"""The consumer's ClickHouse books, run by the real SQL engine. This is no part of the test suite: chdb, an embedded ClickHouse,
takes 900 MB with what it needs, and no package has a server to test against. Run it by hand where the tables, the rows or the
queries of docs/storages.md change; what came of it last stands in decision 0045.

    pip install chdb        # in this environment or one on PYTHONPATH
    python -m tests.uplink.receiver.clickhouse_engine

A small HTTP shell around it speaks as ClickHouse's own server does: a statement in the URL or in the body, data behind it,
errors with their code. A log is booked into it and into SQLite; both must say the same.
"""

import asyncio
import json
import tempfile
import time
from decimal import Decimal
from typing import Any

import aiohttp.test_utils
from aiohttp import web

from tests.uplink.receiver.batches import batch_of, events
from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.site import chain_of, event_body
from uplink.batch import build
from uplink.receiver.consume import Booking, booking
from uplink.receiver.screen import Place, screen
from uplink.receiver.storage import Incoming, StoreUnavailable, TotalsQuery
from uplink.receiver.storage.clickhouse import ClickHouseBooks
from uplink.receiver.storage.jetstream import JetStreamStore
from uplink.receiver.storage.sqlite import SqliteStore

SUMS = "SELECT meter, unit, toString(sum(quantity)) AS quantity, count() AS events FROM counted WHERE site = '{}' GROUP BY ALL"
MISSING = "SELECT site, epoch, max(seq) - uniqExact(seq) AS missing FROM event GROUP BY site, epoch HAVING missing > 0"
DAY = """SELECT site, meter, unit, sum(quantity), count() FROM counted
WHERE time_ms >= toUnixTimestamp64Milli(toDateTime64('2026-11-01 00:00:00', 3, 'UTC')) GROUP BY site, meter, unit"""

CHANGED = """SELECT site, epoch, seq, id, meter, quantity, unit FROM event FINAL WHERE status = 'counted' AND (
    id != JSONExtractString(body, 'id') OR meter != JSONExtractString(body, 'type')
    OR quantity != toDecimal128(JSONExtractString(body, 'data', 'quantity'), 12)
    OR unit != JSONExtractString(body, 'data', 'unit')
    OR time_ms != toUnixTimestamp64Milli(parseDateTime64BestEffort(JSONExtractString(body, 'time'), 3, 'UTC')))"""


class Shell:
    """ClickHouse's HTTP interface, as much of it as the books use, over one chdb session."""

    def __init__(self, folder: str) -> None:
        from chdb import session  # type: ignore[import-not-found,unused-ignore]

        self._session = session.Session(folder)
        self._session.query("CREATE DATABASE metering")

    def run(self, statement: str, database: str = "metering") -> list[dict[str, Any]]:
        self._session.query(f"USE {database}")
        answer = self._session.query(statement, "JSONEachRow")
        return [json.loads(line) for line in str(answer).splitlines() if line]

    async def answer(self, request: web.Request) -> web.Response:
        body, query = (await request.read()).decode(), request.query.get("query", "")
        try:
            self.run(f"{query} {body}" if query else body, request.query["database"])
        except RuntimeError as error:
            code = str(error).removeprefix("Code: ").split(".")[0]
            return web.Response(status=500, text=str(error), headers={"X-ClickHouse-Exception-Code": code})
        return web.Response()


def incoming(site: str, epoch: str, history: list[bytes], first: int, last: int, **head: object) -> Incoming:
    batch = batch_of(history, first, last, epoch, **head)
    bodies = [] if batch.head.is_statement else history[first - 1 : last]
    batch = build(batch.head, bodies)
    seen = screen(Place(site, epoch), first, bodies)
    return Incoming(site=site, head=batch.head, events=seen, now_ms=1_795_168_800_000 + first, encoded=batch.body)


def history(site: str, epoch: str, count: int) -> list[bytes]:
    """Quantities at the edge of what is allowed, corrections, one that is no event, names with every kind of quote."""
    quantities = ["999999999999999999.999999999999", "-0.000000000001", "0.1", "-7", "0", "-0"]
    made = [
        event_body(
            site,
            epoch,
            seq,
            id=f"{site}-{seq}'\"\\`\t☎",
            quantity=quantities[seq % 6],
            type=("call", "voice.minutes", "electricity")[seq % 3],
            time=f"2026-11-{seq % 28 + 1:02}T10:00:00.123Z",
        )
        for seq in range(1, count + 1)
    ]
    made[4] = b'{"no":"\\u0000event"}'
    return made


async def logged(log: JetStreamStore) -> None:
    one, two = history("site-1", "e-1", 2000), history("site.2", "e-1", 500)
    again = [body.replace(b'"e-1"', b'"e-2"') for body in history("site-1", "e-1", 300)]
    again += [event_body("site-1", "e-2", seq, id=f"new-{seq}") for seq in range(301, 321)]
    for first in range(1, 2000, 400):
        await log.append(incoming("site-1", "e-1", one, first, first + 399))
        await log.append(incoming("site.2", "e-1", two, first // 4 + 1, first // 4 + 100))
    await log.append(incoming("site-1", "e-1", one, 1500, 1800))
    await log.append(incoming("site-1", "e-2", again, 1, 320, after_epoch="e-1", after_chain=chain_of(one)))
    withheld = one + events("e-1", 2001, 2001)
    await log.append(incoming("site-1", "e-1", withheld, 2001, 2001, count=0, withheld="too_large"))
    lost = two + events("e-1", 501, 600, site="site.2")
    await log.append(incoming("site.2", "e-1", lost, 501, 560, count=0, prev=bytes(32), lost="pruned"))
    await log.append(incoming("site.2", "e-1", lost, 561, 600))


async def booked_into(place: str, log_url: str, name: str, is_done: Any) -> None:
    async with booking(Booking(origin=log_url, into=place, name=name)), asyncio.timeout(120):
        while not await is_done():
            await asyncio.sleep(0.1)


async def compare(shell: Shell, url: str, nats: NatsServer, folder: str) -> None:
    log = await JetStreamStore.open(nats.url)
    await logged(log)
    await booked_into(url, nats.url, "clickhouse", lambda: _held(shell, 2000 + 320 + 1 + 500 + 40))
    await booked_into(f"{folder}/books.db", nats.url, "sqlite", lambda: _reached(folder, "site.2", 600))
    sqlite = await SqliteStore.open(f"{folder}/books.db")
    for site in ("site-1", "site.2"):
        wanted = {
            (each.meter, each.unit): (Decimal(each.quantity), each.events)
            for each in await sqlite.totals(TotalsQuery(site=site))
        }
        rows = shell.run(SUMS.format(site))
        found = {(row["meter"], row["unit"]): (Decimal(row["quantity"]), int(row["events"])) for row in rows}
        assert found == wanted, (site, found, wanted)
        print(
            f"{site}: sums of {sum(count for _, count in found.values())} counted events are those of SQLite, to the last digit"
        )
    bodies = {
        (row["site"], row["epoch"], int(row["seq"])): row["body"] for row in shell.run("SELECT * FROM event FINAL")
    }
    for site in ("site-1", "site.2"):
        for each in await sqlite.events(site, 0, 10_000):
            assert bodies[site, each.epoch, each.seq] == each.body.decode("utf-8", "replace")
    missing = [(row["site"], row["epoch"], int(row["missing"])) for row in shell.run(MISSING)]
    assert missing == [("site.2", "e-1", 60)], missing
    print("each body is there as it was sent; the query for missing numbers finds the 60 that were stated as lost")
    assert len(shell.run(DAY)) >= 4
    assert shell.run(CHANGED) == []
    shell.run(
        "ALTER TABLE event UPDATE quantity = 70 WHERE site = 'site-1' AND seq = 7 AND epoch = 'e-1' SETTINGS mutations_sync = 2"
    )
    (row,) = shell.run(CHANGED)
    assert (row["epoch"], int(row["seq"]), float(row["quantity"])) == ("e-1", 7, 70.0), row
    print("the query for columns that are not their bytes' finds the one that was changed")
    await sqlite.close()
    await log.close()


async def _held(shell: Shell, count: int) -> bool:
    return int(shell.run("SELECT count() AS rows FROM event FINAL")[0]["rows"]) == count


async def _reached(folder: str, site: str, number: int) -> bool:
    store = await SqliteStore.open(f"{folder}/books.db")
    states = await store.epochs(site)
    await store.close()
    return bool(states) and states[0].acked_through == number


async def again_and_again(shell: Shell, url: str) -> None:
    books = await ClickHouseBooks.open(url)  # the tables are there
    before = shell.run("SELECT count() AS rows, sum(quantity) AS sum FROM counted")
    batches = [
        incoming("site-1", "e-1", history("site-1", "e-1", 2000), first, first + 399) for first in range(1, 2000, 400)
    ]
    for _ in range(3):
        await books.book(batches)
    assert shell.run("SELECT count() AS rows, sum(quantity) AS sum FROM counted") == before
    unmerged = int(shell.run("SELECT count() AS rows FROM event")[0]["rows"])
    shell.run("OPTIMIZE TABLE event FINAL")
    merged = int(shell.run("SELECT count() AS rows FROM event")[0]["rows"])
    print(f"three times over: {unmerged} rows as written, {merged} after merging, the same sums all the while")
    began, rows = time.monotonic(), 200_000
    await books.book([incoming("big", f"e-{number}", BIG, 1, 1000) for number in range(rows // 1000)])
    print(f"{rows:,} rows in {time.monotonic() - began:.1f} s")
    try:
        await books._ask("INSERT INTO event FORMAT JSONEachRow", b'{"site":1,"quantity":"no number"}')
    except StoreUnavailable as error:
        print(f"a row that is none is refused: {str(error)[:120]}")
    else:
        raise AssertionError("a row that is none was taken")
    await books.close()


BIG = events("e", 1, 1000, site="big")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder, NatsServer() as nats:
        shell, app = Shell(f"{folder}/chdb"), web.Application(client_max_size=1 << 28)
        print("ClickHouse", shell.run("SELECT version() AS version")[0]["version"])
        app.router.add_post("/", shell.answer)
        async with aiohttp.test_utils.TestServer(app) as running:
            url = f"clickhouse://meter@127.0.0.1:{running.port}/metering"
            await compare(shell, url, nats, folder)
            await again_and_again(shell, url)


if __name__ == "__main__":
    asyncio.run(main())
