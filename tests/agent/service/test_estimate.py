"""What a month comes to by the rate card: from a ledger's events to what is shown, and nothing of it in the events."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from agent.config import Config, load
from agent.ledger.snapshot import EstimateView
from agent.ledger.store import open_for_reading
from agent.ledger.writer import Ledger
from agent.service import daemon
from agent.service.policy import PolicyKeeper, keep
from agent.service.state import stored_snapshot
from collectors.contract import Batch
from tests.agent.ledger.desk import KIND, NOON_MS, SITE, Clock, row
from tests.agent.ledger.test_ledger import put

CARD = """
[rates]
currency = "EUR"
version = "2026-11"
[[rates.price]]
meter = "seat.month"
unit = "seat-month"
level = ["standard"]
amount = "9.50"
[[rates.price]]
meter = "seat.month"
unit = "seat-month"
amount = "4.25"
[[rates.price]]
meter = "voice.minutes"
unit = "min"
included = "3"
amount = "0.0101"
"""
LEVELS = "[[metering.levels]]\nname = 'basic'\n[[metering.levels]]\nname = 'standard'\nfeatures = ['hold']\n"


def configured(folder: Path, card: str) -> Config:
    """By the file alone."""
    path = folder / "pegcount.toml"
    path.write_text(
        f'[site]\nid = "{SITE.id}"\nprovider = "msp"\ntimezone = "{SITE.timezone}"\n{LEVELS}'
        f'[ledger]\npath = "{folder}/ledger.db"\n[web]\nenabled = false\n{card}'
    )
    return load(path)


def fill(config: Config) -> Ledger:
    """By hand: 101 and 102 are seats of `basic`, 103 of `standard`; 1 + 2 + 2 minutes, of which three are free."""
    ledger = Ledger.open(config.ledger, config.site, config.metering, Clock(NOON_MS + 3_600_000))
    ledger.add_source("desk", KIND, 5000)
    calls = (row("a"), row("b", talk_s=90), row("c", caller="103", callee="101", talk_s=100, feature="hold"))
    put(ledger, Batch(records=calls))
    return ledger


def shown(config: Config, now_ms: int = NOON_MS) -> EstimateView:
    estimate = stored_snapshot(PolicyKeeper(config).config, now_ms).estimate
    assert estimate is not None
    return estimate


def stored(config: Config) -> list[bytes]:
    db = open_for_reading(Path(config.ledger.path))
    try:
        return [body for (body,) in db.execute("SELECT body FROM event ORDER BY line")]
    finally:
        db.close()


def test_the_month_is_shown_by_the_card_that_holds_now_and_events_stay_as_they_are(tmp_path: Path) -> None:
    config = configured(tmp_path, CARD)
    assert stored_snapshot_without(config, tmp_path) is None
    ledger = fill(config)
    events = stored(config)
    assert shown(config).waiting == len(events)
    ledger.count_usage()
    ledger.close()
    estimate = shown(config)
    assert [(each.meter, each.only, each.quantity, each.free, each.amount) for each in estimate.prices] == [
        ("seat.month", ("standard",), "1", "0", "9.5"),
        ("seat.month", (), "2", "0", "8.5"),
        ("voice.minutes", (), "5", "3", "0.0202"),
    ]
    assert (estimate.exact, estimate.total, estimate.month, estimate.waiting) == ("18.0202", "18.02", "2026-11", 0)
    assert [(each.meter, each.unit, each.quantity) for each in estimate.unpriced] == [
        ("call", "call", "3"),
        ("feature.use", "use", "1"),
    ]
    dearer = shown(configured(tmp_path, CARD.replace("4.25", "4.30")))
    assert (dearer.total, dearer.digest == estimate.digest) == ("18.12", False)
    assert stored(config) == events
    assert not [body for body in events if b"amount" in body or b"EUR" in body]
    december = shown(config, NOON_MS + 20 * 86_400_000)
    assert (december.month, december.total, december.prices) == ("2026-12", "0.00", ())


def stored_snapshot_without(config: Config, folder: Path) -> EstimateView | None:
    """What is shown of an empty ledger where there is no card."""
    plain = configured(folder, "")
    Ledger.open(plain.ledger, plain.site, plain.metering).close()
    found = stored_snapshot(plain, NOON_MS).estimate
    configured(folder, CARD)
    return found


async def test_a_running_agent_counts_by_itself_under_a_policys_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "STATUS_EVERY_S", 0.05)
    config = configured(tmp_path, "")
    await asyncio.to_thread(lambda: fill(config).close())
    keep(tmp_path / "identity", CARD.encode())
    running = asyncio.create_task(daemon.run(config))
    for _ in range(200):
        await asyncio.sleep(0.05)
        if not shown(config).waiting:
            break
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(running, 10) == 0
    assert shown(config).waiting == 0
