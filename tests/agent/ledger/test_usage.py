"""What was used in a month, summed up from the ledger's events: each once, whatever happens in between."""

import random
from decimal import Decimal
from pathlib import Path

import pytest

from agent.ledger import usage
from agent.ledger.outbox import renew
from agent.ledger.usage import Counted, count_step, counted, uses
from agent.ledger.writer import Ledger
from collectors.contract import Batch
from collectors.records import Record, Registration
from tests.agent.ledger.desk import NOON_MS, SITE, open_ledger, row
from tests.agent.ledger.test_ledger import put
from uplink.events import decode_head

LEVELS = ("basic", "standard", "premium")
DAY_S = 86_400
HOUR_MS = 3_600_000


def heard(ledger: Ledger, *records: Record) -> None:
    put(ledger, Batch(records=records))


def summed(ledger: Ledger, month: str = "2026-11", seat_months: bool = False) -> dict[tuple[str, ...], str]:
    """meter and what is told of it -> quantity."""
    ledger.count_usage()
    found = ledger.do(lambda db: list(uses(db, month, LEVELS, seat_months))).result()
    return {(use.meter, *use.told.values()): f"{Decimal(use.amount) / 1_000_000:f}" for use in found}


def by_events(ledger: Ledger) -> dict[str, Decimal]:
    """The same by meter, of all events, in decimals."""
    bodies = ledger.do(lambda db: db.execute("SELECT body FROM event").fetchall()).result()
    sums: dict[str, Decimal] = {}
    for (body,) in bodies:
        head = decode_head(body)
        sums[head.type] = sums.get(head.type, Decimal(0)) + Decimal(head.data["quantity"])
    return sums


def test_uses_are_summed_by_month_meter_and_what_is_told_of_them(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    heard(ledger, row("a"), row("b", caller="103", talk_s=90, feature="hold"), row("c", talk_s=None))
    heard(ledger, row("d", start_s=-25 * DAY_S))
    assert summed(ledger) == {
        ("call", "internal", "answered"): "2",
        ("call", "internal", "no_answer"): "1",
        ("voice.minutes", "internal"): "3",
        ("feature.use", "hold"): "1",
        ("seat.day", "basic"): "2",
        ("seat.day", "standard"): "1",
    }
    assert summed(ledger, "2026-10")[("call", "internal", "answered")] == "1"
    assert ledger.do(counted).result() == Counted(0, 0)
    ledger.close()


def test_a_correction_takes_back_what_it_corrects(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    heard(ledger, row("a", talk_s=None))
    assert summed(ledger)[("call", "internal", "no_answer")] == "1"
    heard(ledger, row("a", key="2", talk_s=200))
    after = summed(ledger)
    assert ("call", "internal", "no_answer") not in after
    assert after[("call", "internal", "answered")] == "1"
    assert after[("voice.minutes", "internal")] == "4"
    ledger.close()


def test_a_seat_counts_once_a_month_at_its_highest_level(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for day, feature in ((-3, ""), (-2, "hold"), (-1, "")):
        heard(ledger, row(f"a{day}", start_s=day * DAY_S, feature=feature))
    heard(ledger, row("later", caller="103", callee="104"))
    found = summed(ledger, seat_months=True)
    assert {key: value for key, value in found.items() if key[0] == "seat.month"} == {
        ("seat.month", "basic"): "3",
        ("seat.month", "standard"): "1",
    }
    ledger.close()


@pytest.mark.parametrize("step", [1, 3, 2_000])
def test_whatever_the_steps_restarts_and_epochs_each_event_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(usage, "STEP_EVENTS", step)
    chance = random.Random(step)
    ledger = open_ledger(tmp_path)
    for number in range(30):
        heard(ledger, row(f"c{number}", start_s=number, talk_s=chance.choice((None, 20, 200))))
        match chance.randrange(4):
            case 0:
                ledger.do(lambda db: count_step(db, SITE.timezone, NOON_MS)).result()
            case 1:
                ledger.close()
                ledger = open_ledger(tmp_path)
            case 2:
                ledger.do(lambda db, at=ledger: renew(db, at, "conflict")).result()
    found = summed(ledger)
    assert found[("call", "internal", "answered")] != "0"
    calls = sum(Decimal(value) for key, value in found.items() if key[0] == "call")
    assert calls == 30
    ledger.close()


def test_a_ledger_that_was_there_before_counts_this_month_and_not_those_before(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, now_ms=NOON_MS - 30 * DAY_S * 1000)
    heard(ledger, row("october", start_s=-30 * DAY_S))
    ledger.close()
    ledger = open_ledger(tmp_path)
    heard(ledger, row("november"))
    assert summed(ledger)[("call", "internal", "answered")] == "1"
    assert summed(ledger, "2026-10") == {}
    assert ledger.do(counted).result() == Counted(0, 0)
    ledger.close()


def test_where_older_events_of_the_month_are_gone_it_says_when_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_ledger(tmp_path)
    for number in range(3):
        heard(ledger, row(f"c{number}", start_s=number))
    ledger.do(lambda db: db.execute("DELETE FROM event WHERE line < 3").rowcount).result()
    ledger.count_usage()
    began = Counted(0, NOON_MS + HOUR_MS + 6000)
    assert ledger.do(counted).result() == began
    monkeypatch.setattr(usage, "STEP_EVENTS", 1)
    heard(ledger, row("c4", start_s=4), row("c5", start_s=5))
    ledger.do(lambda db: db.execute("DELETE FROM event WHERE line < 5").rowcount).result()
    ledger.count_usage()
    assert ledger.do(counted).result() == began
    ledger.close()


def test_months_go_with_the_records(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, retention_days=1)
    heard(ledger, row("a"), row("b", start_s=-40 * DAY_S))
    assert summed(ledger, "2026-10") != {}
    ledger.prune(NOON_MS + DAY_S * 1000)
    assert summed(ledger, "2026-10") == {}
    assert summed(ledger) != {}
    ledger.close()


def test_a_big_site_is_summed_up_in_time(tmp_path: Path) -> None:
    """10,000 seats on one day: what the page reads of them is the sum of a row each."""
    ledger = open_ledger(tmp_path)
    seats = [
        Registration(key=f"r{n}", endpoint=str(10_000 + n), contact="x", at_ms=NOON_MS, expires_at_ms=NOON_MS + HOUR_MS)
        for n in range(10_000)
    ]
    heard(ledger, *seats)
    assert summed(ledger, seat_months=True)[("seat.month", "basic")] == "10000"
    assert by_events(ledger)["seat.day"] == 10_000
    ledger.close()
