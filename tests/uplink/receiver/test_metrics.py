"""What Prometheus gets of a receiver: well-formed, whole, and of use for alerts; a store that is away fails no scrape."""

import time
from pathlib import Path

import aiohttp
import pytest

from tests.exposition import samples
from tests.uplink.receiver.batches import batch_of, events, post
from tests.uplink.receiver.fleet.fleets import receiving, sight, sighting
from tests.uplink.receiver.storages import Place, running_platform
from uplink.receiver.metrics import METRICS, PREFIX
from uplink.receiver.storage import StoreUnavailable
from uplink.status import AgentStatus


async def scraped(url: str) -> dict[str, float]:
    """By name and label's value: `sites.broken`."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/metrics") as response:
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        found = samples(await response.text())
    return {
        ".".join((name.removeprefix(PREFIX), *(value for _, value in labels))): value
        for (name, labels), value in found.items()
    }


async def test_a_scrape_is_well_formed_and_tells_what_the_store_takes(storage: Place) -> None:
    async with running_platform(storage) as platform:
        await post(platform, batch_of(events("e-1", 1, 3), 1, 3))
        told = await scraped(platform.url)
        async with aiohttp.ClientSession() as session, session.get(f"{platform.url}/healthz") as response:
            assert (response.status, await response.text()) == (200, "ok\n")
    assert (told["batches_total.accepted"], told["store_up"]) == (1, 1)
    assert told["store_bytes"] > 500


async def test_the_fleet_is_told_in_sums(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    waits = AgentStatus(version="0.2.0", interval_s=900, backlog=40, oldest_s=now_ms // 1000 - 9000)
    async with receiving(tmp_path) as receiver:
        await sight(
            receiver.store,
            sighting("well", now_ms),
            sighting("gone", now_ms - 200_000_000),
            sighting("late", now_ms - 7_200_000, skew_ms=400_000),
            sighting("full", now_ms, status=waits),
            sighting("twin", now_ms, refused="conflict", status=AgentStatus(version="0.2.0", backlog=2)),
        )
        told = await scraped(receiver.url)
    assert {name: value for name, value in told.items() if name.startswith("sites.")} == {
        "sites.ok": 1,
        "sites.attention": 2,
        "sites.broken": 2,
        "sites.unheard": 0,
    }
    because = {name: value for name, value in told.items() if name.startswith("sites_because.") and value}
    assert because == {
        "sites_because.silent": 2,
        "sites_because.clock": 1,
        "sites_because.backlog": 1,
        "sites_because.conflict": 1,
    }
    assert told["sites_because.gap"] == 0
    assert told["sites_backlog_events"] == 42
    assert told["store_free_bytes"] > 0


async def test_a_store_that_is_away_fails_no_scrape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailable("away")

    async with receiving(tmp_path) as receiver:
        await post(receiver, batch_of(events("e-1", 1, 3), 1, 3))
        for name in ("check", "room", "listed", "sites"):
            monkeypatch.setattr(receiver.store, name, away)
        told = await scraped(receiver.url)
        async with aiohttp.ClientSession() as session, session.get(f"{receiver.url}/healthz") as response:
            assert response.status == 503
        monkeypatch.undo()
        again = await scraped(receiver.url)
    assert (told["store_up"], told["batches_total.accepted"]) == (0, 1)
    assert [name for name in told if name.startswith(("sites", "store_bytes", "store_free"))] == []
    assert again["store_up"] == 1
    assert sum(value for name, value in again.items() if name.startswith("sites.")) == 1


def test_a_metrics_name_says_whether_it_only_grows() -> None:
    assert [one.name for one in METRICS if (one.type == "counter") != one.name.endswith("_total")] == []
    assert len({one.name for one in METRICS}) == len(METRICS)
