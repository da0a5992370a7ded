"""Seats by the devices that they are registered at, text messages, and risks, as the ledger keeps and meters them."""

import sqlite3
from pathlib import Path

from sqlite_utils import Database

from agent.config.tables import Ledger as LedgerSettings
from agent.ledger import queries
from agent.ledger.schema import migrations
from agent.ledger.store import open_for_reading
from agent.ledger.writer import Ledger
from agent.metering.rules import Level, Metering
from collectors.contract import Batch
from collectors.records import FeatureUse, Registration, Risk
from tests.agent.ledger.desk import KIND, NOON_MS, SITE, Clock, open_ledger
from tests.agent.ledger.test_ledger import events, net, put

HOUR_MS = 3_600_000


def registration(hours: int, seat: str = "110", device: str = "softphone", state: str = "registered") -> Registration:
    at_ms = NOON_MS + hours * HOUR_MS
    return Registration(
        key=f"{seat}/{hours}/{state}",
        endpoint=seat,
        contact=f"{seat}@192.0.2.1",
        at_ms=at_ms,
        expires_at_ms=at_ms + HOUR_MS,
        state="ended" if state == "ended" else "registered",
        device=device,
    )


def risk(key: str = "r1", code: str = "risk.register_guessing", endpoint: str = "", count: int = 8) -> Risk:
    return Risk(
        key=key,
        code=code,
        origin="198.51.100.66",
        at_ms=NOON_MS,
        until_ms=NOON_MS + 7_000,
        count=count,
        endpoint=endpoint,
        detail="100, 101, 102",
    )


def test_a_softphone_is_one_use_for_each_seat_and_day_however_often_it_is_refreshed(tmp_path: Path) -> None:
    """From noon in New York: 12 hours of this day, 12 of the next."""
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 30 * HOUR_MS)
    for hours in range(24):
        put(ledger, Batch(records=[registration(hours), registration(hours, "111", "ata")], checkpoint=b"x"))
    uses = [event for event in events(ledger) if event["type"] == "feature.use"]
    assert net(uses, "feature.use") == {("110", None, "softphone", None): 2, ("111", None, "ata", None): 2}
    assert {event["time"] for event in uses} == {"2026-11-20T05:00:00.000Z", "2026-11-21T05:00:00.000Z"}
    ledger.close()


def test_a_use_of_the_day_has_the_same_id_whichever_record_shows_it_first(tmp_path: Path) -> None:
    ids = []
    for name, order in (("a", (1, 5)), ("b", (5, 1))):
        (tmp_path / name).mkdir()
        ledger = open_ledger(tmp_path / name, now_ms=NOON_MS + 30 * HOUR_MS)
        put(ledger, *(Batch(records=[registration(hours)], checkpoint=b"x") for hours in order))
        ids.append([event["id"] for event in events(ledger) if event["type"] == "feature.use"])
        ledger.close()
    assert ids[0] == ids[1] != []


def test_desk_phones_ended_registrations_and_trunks_use_no_feature(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    records = [
        registration(0, device="desk_phone"),
        registration(0, device="softphone", state="ended"),
        registration(0, "carrier", "softphone"),
    ]
    put(ledger, Batch(records=records, checkpoint=b"x"))
    assert net(events(ledger), "feature.use") == {}
    ledger.close()


def test_a_registered_softphone_raises_the_level_and_leaves_the_seat_inactive(tmp_path: Path) -> None:
    levels = (Level("basic", ()), Level("anywhere", ("softphone", "mobile_app")))
    for when, expected in ((("registered", "active"), {("110", None, None, "anywhere"): 1}), (("active",), {})):
        folder = tmp_path / when[0]
        settings = LedgerSettings(path=f"{folder}/ledger.db")
        ledger = Ledger.open(settings, SITE, Metering(seat_when=when, levels=levels), Clock(NOON_MS + HOUR_MS))  # type: ignore[arg-type]
        ledger.add_source("desk", KIND, 5000)
        put(ledger, Batch(records=[registration(0)], checkpoint=b"x"))
        assert net(events(ledger), "seat.day") == expected
        ledger.close()


def test_hot_desking_counts_once_a_day(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    uses = [FeatureUse(code="hot_desk", endpoint="110", at_ms=NOON_MS + n, key=f"h{n}") for n in range(3)]
    put(ledger, Batch(records=uses, checkpoint=b"x"))
    assert net(events(ledger), "feature.use") == {("110", None, "hot_desk", None): 1}
    ledger.close()


def test_a_text_message_is_a_use_and_a_message_with_its_segments(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    use = FeatureUse(code="message", endpoint="101", at_ms=NOON_MS, key="m1", segments=3)
    put(ledger, Batch(records=[use], checkpoint=b"x"), Batch(records=[use], checkpoint=b"x"))
    found = events(ledger)
    assert net(found, "feature.use") == {("101", None, "message", None): 1}
    [message] = [event for event in found if event["type"] == "message"]
    data = message["data"]
    assert isinstance(data, dict)
    assert (message["subject"], data["quantity"], data["unit"], data["segments"]) == ("101", "1", "message", 3)
    ledger.close()


def test_a_risk_is_an_event_of_its_own_that_is_not_billed(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    records = [risk(), risk("r2", "risk.register_failing", "123", 115)]
    put(ledger, Batch(records=records, checkpoint=b"x"), Batch(records=records, checkpoint=b"x"))
    guessing, failing = events(ledger)
    assert (guessing["type"], guessing["subject"]) == ("risk.register_guessing", "site")
    data = guessing["data"]
    assert isinstance(data, dict)
    del data["call"]
    assert data == {
        "quantity": "1",
        "unit": "occurrence",
        "billable": "no",
        "origin": "198.51.100.66",
        "times": 8,
        "until": "2026-11-20T17:00:07.000Z",
    }
    assert (failing["type"], failing["subject"]) == ("risk.register_failing", "123")
    ledger.close()


def test_risks_of_the_last_day_are_shown_by_who_did_what(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[risk(), risk("r2", count=12), risk("r3", "risk.scanner", count=1)], checkpoint=b"x"))
    ledger.close()
    db = open_for_reading(ledger.path)
    shown = queries.latest_risks(db, NOON_MS - HOUR_MS)
    assert {(one.code, one.origin, one.count, one.source) for one in shown} == {
        ("risk.register_guessing", "198.51.100.66", 20, "desk"),
        ("risk.scanner", "198.51.100.66", 1, "desk"),
    }
    assert {one.text for one in shown} == {"Accounts or passwords are guessed", "A known scanner asks"}
    assert queries.pipeline(db, 0).risks == 3
    assert queries.latest_risks(db, NOON_MS + HOUR_MS) == ()
    db.close()


def test_a19_a_ledger_of_an_earlier_version_is_kept_and_goes_on(tmp_path: Path) -> None:
    old = Database(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None))
    migrations.apply(old, stop_before="devices_and_risks")
    old.execute("INSERT INTO source (name, kind) VALUES ('desk', 'desk')")
    old.execute("INSERT INTO registration VALUES (1, 'k', '110', 'c', ?, ?, 'registered', 'Phone')", (NOON_MS, NOON_MS))
    old.close()
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[registration(1), risk()], checkpoint=b"x"))
    ledger.close()
    db = open_for_reading(ledger.path)
    rows = db.execute("SELECT key, device FROM registration ORDER BY at_ms").fetchall()
    assert rows == [("k", ""), ("110/1/registered", "softphone")]
    db.close()
