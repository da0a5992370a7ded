"""An agent with five destinations at once: each gets what the ledger holds, under the same ids, and every sum is right."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from agent.config.tables import Config, Destination, Web
from agent.config.tables import Ledger as LedgerSettings
from agent.service.daemon import Agent
from collectors.contract import Batch
from tests.agent.ledger.desk import KIND, METERING, SITE, Row, row
from tests.uplink.destinations import test_cgrates, test_lago, test_openmeter, test_stripe, test_webhook
from tests.uplink.destinations.stand_in import Accept, StandIn, stand_in
from uplink.destinations import TAKERS

MORNING_S = -8 * 3600
"""Before the stand-in's noon of UTC."""
NAMES = {"subject": "cus_{subject}"}
Sums = dict[str, Decimal]


def by_cloudevent(event: dict[str, Any]) -> tuple[str, str]:
    return event["type"], event["data"]["quantity"]


def by_cdr(cdr: dict[str, Any]) -> tuple[str, str]:
    units = Decimal(cdr["Usage"]) / (60 * 10**9 if cdr["ToR"] == "*voice" else 1)
    return cdr["Category"], str(units)


THERE: dict[str, tuple[Accept, Callable[[dict[str, Any]], tuple[str, str]], dict[str, object]]] = {
    "openmeter": (test_openmeter.accept, by_cloudevent, {"token": "t"}),
    "lago": (test_lago.accept, lambda event: (event["code"], event["properties"]["quantity"]), {"token": "t"}),
    "stripe": (test_stripe.accept, lambda event: (event["event_name"], event["payload"]["value"]), {"token": "t"}),
    "cgrates": (test_cgrates.accept, by_cdr, {}),
    "webhook": (test_webhook.accept, by_cloudevent, {}),
}
"""By kind: what the stand-in does, how the meter and quantity of an event are read there, and settings."""


def sums(kind: str, here: StandIn) -> Sums:
    total: Sums = {}
    for event in here.events.values():
        meter, quantity = THERE[kind][1](event)
        total[meter] = total.get(meter, Decimal()) + Decimal(quantity)
    return {meter: total[meter] for meter in ("call", "voice.minutes")}


def configured(folder: Path, there: dict[str, StandIn]) -> Config:
    destinations = [
        Destination(
            kind, kind, msgspec.convert({"url": here.url, "names": NAMES, **THERE[kind][2]}, TAKERS[kind].settings)
        )
        for kind, here in there.items()
    ]
    ledger = LedgerSettings(path=f"{folder}/ledger.db")
    return Config(site=SITE, metering=METERING, ledger=ledger, destinations=tuple(destinations), web=Web(enabled=False))


async def run(config: Config, records: list[Row]) -> dict[str, str]:
    """One life of an agent: it hears `records` one after the other and uploads; the problem of each destination."""
    agent = Agent(config)
    agent.ledger.add_source("desk", KIND, 0)
    await agent.start()
    for record in records:
        await agent.ledger.sink("desk").put(Batch(records=[record], checkpoint=b""))
    reports = {schedule.uploader.name: await schedule.upload_now() for schedule in agent.schedules}
    await agent.stop()
    return {name: report.problem for name, report in reports.items()}


async def test_each_gets_everything_once_under_one_id_though_one_is_down_and_the_agent_restarts(tmp_path: Path) -> None:
    """Calls of 30, 61 and 125 seconds by whole minutes: 1 + 2 + 3. One that nobody answered, until a late record of 10 seconds
    says otherwise: an event is taken back, one of the call and one of a minute are added."""
    calls = [row(f"c{talk_s}", start_s=MORNING_S + talk_s, talk_s=talk_s) for talk_s in (30, 61, 125)]
    late = [
        row("c4", start_s=MORNING_S, talk_s=None),
        row("c4", key="2", callee="103", start_s=MORNING_S, talk_s=10),
    ]
    async with AsyncExitStack() as stack:
        there = {kind: await stack.enter_async_context(stand_in(accept)) for kind, (accept, *_) in THERE.items()}
        config = configured(tmp_path, there)
        there["lago"].accept = lambda *_: web.Response(status=503)
        problems = await run(config, calls)
        assert problems == dict.fromkeys(THERE, "") | {"lago": "unavailable"}
        there["lago"].accept = test_lago.accept
        assert await run(config, late) == dict.fromkeys(THERE, "")
        ids = set(there["webhook"].events)
        told = {kind: sums(kind, here) for kind, here in there.items()}
        missing = {kind: ids - set(here.events) for kind, here in there.items()}
    truth = {"call": Decimal(4), "voice.minutes": Decimal(7)}
    assert told == dict.fromkeys(THERE, truth) | {"cgrates": truth | {"call": Decimal(5)}}
    assert {kind: len(ids) for kind, ids in missing.items()} == dict.fromkeys(THERE, 0) | {"cgrates": 1}
