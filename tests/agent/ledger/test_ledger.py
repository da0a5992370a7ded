"""The ledger keeps, numbers, chains and corrects; expected figures are worked out by hand."""

import asyncio
import hashlib
import json
import os
import sqlite3
from decimal import Decimal
from pathlib import Path

import pytest

from agent.ledger.errors import LedgerLocked
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.store import open_for_reading
from agent.ledger.writer import Ledger
from collectors.contract import Batch
from collectors.records import FeatureUse, Registration, Reject
from tests.agent.ledger.desk import KIND, METERING, NOON_MS, SITE, Clock, open_ledger, row
from uplink.outbox import Refusal


def put(ledger: Ledger, *batches: Batch) -> None:
    """Hand in batches, then let the source fall silent for longer than calls settle."""
    hand_in(ledger, *batches)
    clock = ledger.clock_ms
    assert isinstance(clock, Clock)
    clock.now_ms += 6000
    hand_in(ledger, Batch(checkpoint=batches[-1].checkpoint))


def hand_in(ledger: Ledger, *batches: Batch) -> None:
    async def all_of_them() -> None:
        for batch in batches:
            await ledger.sink("desk").put(batch)

    asyncio.run(all_of_them())


def events(ledger: Ledger) -> list[dict[str, object]]:
    db = open_for_reading(ledger.path)
    try:
        return [json.loads(body) for (body,) in db.execute("SELECT body FROM event ORDER BY line")]
    finally:
        db.close()


def net(found: list[dict[str, object]], meter: str) -> dict[tuple[object, ...], Decimal]:
    """(subject, class, feature, level) -> the sum of quantities, zeros left out."""
    sums: dict[tuple[object, ...], Decimal] = {}
    for event in found:
        if event["type"] == meter:
            data = event["data"]
            assert isinstance(data, dict)
            slot = (event["subject"], data.get("class"), data.get("feature"), data.get("level"))
            sums[slot] = sums.get(slot, Decimal(0)) + Decimal(str(data["quantity"]))
    return {slot: total for slot, total in sums.items() if total}


def test_an_answered_call_gives_a_call_its_minutes_and_two_seats(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row("c1", talk_s=61)], checkpoint=b"at 1"))
    found = events(ledger)
    assert net(found, "call") == {("101", "internal", None, None): 1}
    assert net(found, "voice.minutes") == {("101", "internal", None, None): 2}
    assert net(found, "seat.day") == {("101", None, None, "basic"): 1, ("102", None, None, "basic"): 1}
    assert len(found) == 4
    ledger.close()


def test_the_events_are_numbered_without_gaps_and_chained_over_their_stored_bytes(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for number in range(5):
        put(ledger, Batch(records=[row(f"c{number}", start_s=number)], checkpoint=b"x"))
    ledger.close()
    db = open_for_reading(ledger.path)
    chain = bytes(32)
    rows = db.execute("SELECT line, chain, body FROM event ORDER BY line").fetchall()
    for expected_line, (line, stored_chain, body) in enumerate(rows, start=1):
        chain = hashlib.sha256(chain + body).digest()
        assert (line, stored_chain) == (expected_line, chain)
        assert json.loads(body)["sequence"] == str(expected_line)
    assert len(rows) == 5 * 2 + 2


def test_a_record_handed_in_again_changes_nothing_but_the_checkpoint(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row("c1")], checkpoint=b"one"))
    before = events(ledger)
    put(ledger, Batch(records=[row("c1")], checkpoint=b"two"))
    assert events(ledger) == before
    assert ledger.add_source("desk", KIND, 5000) == b"two"
    ledger.close()


def test_a_row_that_comes_later_corrects_by_a_new_event(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row("c1", talk_s=50)], checkpoint=b"x"))
    first = events(ledger)
    put(ledger, Batch(records=[row("c1", key="2", callee="103", start_s=300, talk_s=100)], checkpoint=b"y"))
    found = events(ledger)
    assert found[: len(first)] == first
    assert net(found, "call") == {("101", "internal", None, None): 1}
    assert net(found, "voice.minutes") == {("101", "internal", None, None): 3}
    correction = next(event for event in found[len(first) :] if event["type"] == "voice.minutes")
    original = next(event for event in first if event["type"] == "voice.minutes")
    assert correction["data"]["quantity"] == "2"  # type: ignore[index]
    assert correction["data"]["corrects"] == original["id"]  # type: ignore[index]
    ledger.close()


def test_a_changed_class_moves_the_amount_from_one_slot_to_the_other(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    late = row("c1", key="2", caller="+442079460000", callee="102", start_s=-2, talk_s=None)
    put(ledger, Batch(records=[row("c1", caller="101", callee="102", talk_s=30)], checkpoint=b"x"))
    put(ledger, Batch(records=[late], checkpoint=b"y"))
    assert net(events(ledger), "call") == {("102", "inbound", None, None): 1}
    ledger.close()


def test_an_outcome_that_changes_later_is_told_by_events_too(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row("c1", talk_s=None)], checkpoint=b"x"))
    put(ledger, Batch(records=[row("c1", key="2", start_s=10, talk_s=5)], checkpoint=b"y"))
    told = [(e["data"]["outcome"], e["data"]["quantity"]) for e in events(ledger) if e["type"] == "call"]  # type: ignore[index]
    assert sorted(told) == [("answered", "1"), ("no_answer", "-1"), ("no_answer", "1")]
    ledger.close()


def test_a_call_waits_for_its_rows_until_the_source_has_moved_on(tmp_path: Path) -> None:
    now_ms = NOON_MS + 36_000
    ledger = open_ledger(tmp_path, now_ms=now_ms)
    hand_in(ledger, Batch(records=[row("c1", talk_s=30)], checkpoint=b"x", source_time_ms=NOON_MS + 35_000))
    assert events(ledger) == []
    hand_in(ledger, Batch(records=[row("c1", key="2", talk_s=30)], checkpoint=b"y", source_time_ms=NOON_MS + 36_000))
    assert events(ledger) == []
    hand_in(ledger, Batch(checkpoint=b"z", source_time_ms=NOON_MS + 40_000))
    assert net(events(ledger), "voice.minutes") == {("101", "internal", None, None): 1}
    ledger.close()


def test_one_record_of_the_far_future_does_not_stop_the_sources_clock(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 100_000)
    far = row("c0", start_s=70 * 365 * 86_400)
    hand_in(ledger, Batch(records=[far, row("c1")], checkpoint=b"x"))
    assert ledger.intake.sources["desk"].settling.source_time_ms == NOON_MS + 35_000
    put(ledger, Batch(records=[row("c2", start_s=90)], checkpoint=b"x"))
    assert net(events(ledger), "call") == {("101", "internal", None, None): 3}
    ledger.close()


def test_a_waiting_call_survives_a_restart(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, now_ms=NOON_MS)
    hand_in(ledger, Batch(records=[row("c1", talk_s=30)], checkpoint=b"x"))
    ledger.close()
    assert events(ledger) == []
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 3_600_000)
    put(ledger, Batch(checkpoint=b"x"))
    assert net(events(ledger), "call") == {("101", "internal", None, None): 1}
    ledger.close()


def test_a_call_that_settled_and_waits_again_in_one_transaction_survives_a_restart(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, now_ms=NOON_MS)
    rows = [row("c1", talk_s=None), row("c2", talk_s=30), row("c1", key="2", talk_s=0)]
    hand_in(ledger, Batch(records=rows, checkpoint=b"x"))
    ledger.close()
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 3_600_000)
    put(ledger, Batch(checkpoint=b"x"))
    assert net(events(ledger), "voice.minutes") == {("101", "internal", None, None): 2}
    ledger.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pieces_of_any_size_give_the_same_events(tmp_path: Path, size: int) -> None:
    rows = [row(f"c{n // 3}", key=str(n), start_s=n * 4, talk_s=n, callee=str(102 + n % 3)) for n in range(30)]
    ledger = open_ledger(tmp_path)
    pieces = [rows[at : at + size] for at in range(0, len(rows), size)]
    put(ledger, *(Batch(records=piece, checkpoint=b"x") for piece in pieces))
    calls = [(e["id"], e["data"]) for e in events(ledger) if e["type"] in ("call", "voice.minutes")]
    ledger.close()
    (tmp_path / "whole").mkdir()
    whole = open_ledger(tmp_path / "whole")
    put(whole, Batch(records=rows, checkpoint=b"x"))
    assert calls == [(e["id"], e["data"]) for e in events(whole) if e["type"] in ("call", "voice.minutes")]
    whole.close()


def test_the_level_of_a_seat_day_rises_with_the_features_it_used(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row("c1")], checkpoint=b"x"))
    put(ledger, Batch(records=[row("c2", feature="hold", start_s=60)], checkpoint=b"x"))
    found = events(ledger)
    assert net(found, "seat.day") == {("101", None, None, "standard"): 1, ("102", None, None, "basic"): 1}
    assert net(found, "feature.use") == {("101", None, "hold", None): 1}
    ledger.close()


def test_a_registration_makes_a_seat_day_once_however_often_it_is_refreshed(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    refreshes = [
        Registration(key=f"110/{n}", endpoint="110", contact="sip:110@192.0.2.1", at_ms=NOON_MS + n * 3_600_000,
                     expires_at_ms=NOON_MS + (n + 1) * 3_600_000)
        for n in range(4)
    ]  # fmt: skip
    put(ledger, *(Batch(records=[refresh], checkpoint=b"x") for refresh in refreshes))
    assert net(events(ledger), "seat.day") == {("110", None, None, "basic"): 1}
    ledger.close()


def test_a_feature_use_without_a_call_is_counted_once(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    use = FeatureUse(code="message", endpoint="101", at_ms=NOON_MS, key="m1")
    put(ledger, Batch(records=[use], checkpoint=b"x"), Batch(records=[use], checkpoint=b"x"))
    assert net(events(ledger), "feature.use") == {("101", None, "message", None): 1}
    ledger.close()


def test_rejects_are_kept_once_and_bounded_and_what_is_dropped_is_counted(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, max_rejects=10)
    rejects = [
        Reject(key=f"r{n}", reason="columns", message="too few columns", excerpt=b"a,b", position=f"Master.csv:{n}")
        for n in range(25)
    ]
    put(ledger, Batch(rejects=rejects, checkpoint=b"x"), Batch(rejects=rejects[20:], checkpoint=b"x"))
    ledger.close()
    db = open_for_reading(ledger.path)
    assert db.execute("SELECT count(*), min(position) FROM reject").fetchone() == (10, "Master.csv:15")
    assert db.execute("SELECT rejects, rejects_dropped FROM source").fetchone() == (25, 15)


def test_a_join_that_fails_keeps_the_legs_and_tells(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    bad = row("c1")
    broken = KIND.__class__(
        name="desk",
        config=KIND.config,
        leg=KIND.leg,
        open=KIND.open,
        join=lambda legs: {}["no such leg"],  # type: ignore[arg-type, misc]
    )
    ledger.add_source("desk", broken, 5000)
    put(ledger, Batch(records=[bad], checkpoint=b"x"))
    ledger.close()
    db = open_for_reading(ledger.path)
    assert db.execute("SELECT reason FROM reject").fetchall() == [("unjoinable",)]
    assert db.execute("SELECT count(*) FROM leg").fetchone() == (1,)


def test_a_full_disk_stops_intake_loses_nothing_and_goes_on_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ledger.writer.RETRY_S", 0.05)
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row("c0")], checkpoint=b"x"))
    pages = ledger.do(lambda db: db.execute("PRAGMA page_count").fetchone()[0]).result()
    ledger.do(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone()).result()

    async def fill_then_make_room() -> None:
        many = [row(f"c{n}", start_s=n) for n in range(1, 3000)]
        waiting = asyncio.create_task(ledger.sink("desk").put(Batch(records=many, checkpoint=b"y")))
        while ledger.trouble is None:
            await asyncio.sleep(0.01)
        assert ledger.trouble.code == "ledger_full"
        assert not waiting.done()
        await asyncio.to_thread(ledger.do(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone()).result)
        await asyncio.wait_for(waiting, 20)

    asyncio.run(fill_then_make_room())
    put(ledger, Batch(checkpoint=b"y"))
    assert ledger.trouble is None
    calls = [event for event in events(ledger) if event["type"] == "call"]
    assert len(calls) == 3000
    assert [event["sequence"] for event in events(ledger)] == [str(n + 1) for n in range(len(events(ledger)))]
    ledger.close()


def test_a14_at_its_size_limit_the_ledger_waits_drops_nothing_and_still_acknowledges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ledger.writer.RETRY_S", 0.05)
    ledger = open_ledger(tmp_path, max_size_mb=16)
    limit = 16 << 20

    async def until_full() -> None:
        outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
        identity = await outbox.identity()
        await outbox.cursor("platform")
        number = 0
        while ledger.trouble is None:
            many = [row(f"c{n}", start_s=n) for n in range(number, number + 2000)]
            number += 2000
            waiting = asyncio.create_task(ledger.sink("desk").put(Batch(records=many, checkpoint=b"y")))
            while not waiting.done() and ledger.trouble is None:
                await asyncio.sleep(0.01)
        assert ledger.trouble.code == "ledger_at_limit"
        await outbox.acknowledge("platform", identity.epoch, 5, [], b"")
        assert (await outbox.cursor("platform")).acked_through == 5
        waiting.cancel()
        outbox.close()

    asyncio.run(until_full())
    ledger.close()
    assert limit * 0.8 < ledger.path.stat().st_size < limit * 1.5
    db = open_for_reading(ledger.path)
    events, first, last = db.execute("SELECT count(*), min(line), max(line) FROM event").fetchone()
    assert (first, last) == (1, events)  # the oldest are there as well as the newest
    db.close()


def test_a_second_writer_is_refused_before_it_changes_anything(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    with pytest.raises(LedgerLocked, match="another pegcount"):
        open_ledger(tmp_path)
    ledger.close()
    open_ledger(tmp_path).close()


@pytest.mark.parametrize("content", [b"this is no database at all" * 100, os.urandom(8192)], ids=["text", "noise"])
def test_a4_a9_an_unreadable_file_is_set_aside_untouched_and_a_new_epoch_begins(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.db").write_bytes(content)
    ledger = open_ledger(tmp_path)
    assert Path(ledger.quarantined).read_bytes() == content
    put(ledger, Batch(records=[row("c1")], checkpoint=b"x"))
    assert len(events(ledger)) == 4
    ledger.close()


def test_an_empty_file_becomes_a_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    ledger = open_ledger(tmp_path)
    assert ledger.quarantined == ""
    ledger.close()


def test_a10_a17_commits_are_synced_to_the_disk(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    assert ledger.do(lambda db: db.execute("PRAGMA synchronous").fetchone()[0]).result() == 2
    assert ledger.do(lambda db: db.execute("PRAGMA journal_mode").fetchone()[0]).result() == "wal"
    ledger.close()


def test_all_tables_are_strict(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    conn = sqlite3.connect(tmp_path / "ledger.db")
    loose = "SELECT name FROM pragma_table_list WHERE NOT strict AND type = 'table' AND name NOT LIKE '%sqlite%'"
    assert conn.execute(loose).fetchall() == []


def test_an_action_that_fails_takes_back_its_own_changes_only(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)

    def count_and_fail(db: object) -> None:
        ledger.intake.count("tried", 1)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        ledger.do(count_and_fail).result()
    assert ledger.do(lambda db: db.execute("SELECT count(*) FROM counter").fetchone()[0]).result() == 0
    ledger.close()


def test_a_new_epoch_numbers_from_one_and_writes_again_what_was_not_acknowledged(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row(f"c{n}", start_s=n) for n in range(4)], checkpoint=b"x"))
    old_ids = [event["id"] for event in events(ledger)]

    async def conflict() -> None:
        outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
        old = await outbox.identity()
        await outbox.cursor("platform")
        await outbox.acknowledge("platform", old.epoch, 3, [Refusal(seq=2, code="bad", message="why")], b"")
        epoch = await outbox.begin_epoch("conflict")
        new = await outbox.identity()
        assert (new.epoch, new.after_epoch) == (epoch, old.epoch)
        assert (await outbox.cursor("platform")).acked_through == 0
        chunk = await outbox.read(epoch, 0, 100, 1 << 20)
        again = [json.loads(body) for body in chunk.bodies]
        assert [event["id"] for event in again] == old_ids[3:]
        assert [event["sequence"] for event in again] == [str(n + 1) for n in range(len(again))]
        chain = bytes(32)
        for body in chunk.bodies:
            chain = hashlib.sha256(chain + body).digest()
        assert (chunk.prev, chunk.chain) == (bytes(32), chain)
        outbox.close()

    asyncio.run(conflict())
    put(ledger, Batch(records=[row("c9", start_s=90)], checkpoint=b"x"))
    assert events(ledger)[-1]["sequence"] == str(len(old_ids) - 3 + 2)
    ledger.close()


def test_the_outbox_gives_chunks_within_its_bounds_and_their_chain(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row(f"c{n}", start_s=n) for n in range(20)], checkpoint=b"x"))

    async def read_in_pieces() -> None:
        outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
        epoch = (await outbox.identity()).epoch
        after, chain = 0, bytes(32)
        bodies = []
        while (chunk := await outbox.read(epoch, after, 7, 1500)).bodies:
            assert (chunk.first, chunk.last, chunk.prev) == (after + 1, after + len(chunk.bodies), chain)
            assert len(chunk.bodies) <= 7
            assert len(chunk.bodies) == 1 or sum(map(len, chunk.bodies)) <= 1500
            bodies += chunk.bodies
            after, chain = chunk.last, chunk.chain
        assert bodies == [json.dumps(event, separators=(",", ":")).encode() for event in events(ledger)]
        assert (await outbox.read(epoch, after, 1, 1)).bodies == []
        single = await outbox.read(epoch, 0, 5, 1)
        assert len(single.bodies) == 1
        outbox.close()

    asyncio.run(read_in_pieces())
    ledger.close()


def test_pruning_takes_only_what_is_acknowledged_and_old_and_a_file_read_again_is_not_counted_again(
    tmp_path: Path,
) -> None:
    day_ms = 24 * 3_600_000
    rows = [row(f"c{n}", start_s=n * 60) for n in range(50)]
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 3_600_000, retention_days=10)
    put(ledger, Batch(records=rows, checkpoint=b"x"))
    total = len(events(ledger))
    ledger.close()

    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 40 * day_ms, retention_days=10)
    put(ledger, Batch(records=[row("late", start_s=39 * 86_400)], checkpoint=b"y"))

    async def acknowledge(through: int) -> int:
        outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
        epoch = (await outbox.identity()).epoch
        await outbox.cursor("platform")
        await outbox.acknowledge("platform", epoch, through, [], b"")
        horizon = await outbox.horizon(epoch)
        outbox.close()
        return horizon

    assert asyncio.run(acknowledge(40)) == 1
    ledger.prune_all()
    assert len(events(ledger)) == total - 39 + 4
    assert asyncio.run(acknowledge(total)) == 41
    ledger.prune_all()
    assert [event["sequence"] for event in events(ledger)] == [str(total + n) for n in range(5)]
    put(ledger, Batch(records=rows, checkpoint=b"x"))
    assert [event["type"] for event in events(ledger)[1:]] == ["call", "voice.minutes", "seat.day", "seat.day"]
    stale = ledger.do(lambda db: db.execute("SELECT stale FROM source").fetchone()[0]).result()
    assert stale == 50
    ledger.close()


DAY_MS = 24 * 3_600_000


def calls_and_stale(ledger: Ledger) -> tuple[int, int]:
    stale = ledger.do(lambda db: db.execute("SELECT stale FROM source").fetchone()[0]).result()
    return len([event for event in events(ledger) if event["type"] == "call"]), stale


def test_an_old_file_that_is_read_for_the_first_time_is_counted_although_pruning_runs_meanwhile(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 200 * DAY_MS)
    for hour in range(0, 24 * 20, 5):
        put(ledger, Batch(records=[row(f"c{hour}", start_s=hour * 3600)], checkpoint=b"x"))
        ledger.prune_all()
    put(ledger, Batch(records=[row("long", start_s=15 * 86_400, talk_s=5 * 86_400)], checkpoint=b"x"))
    assert calls_and_stale(ledger) == (97, 0)
    ledger.close()


def test_a_clock_that_ran_ahead_while_pruning_costs_no_call(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    put(ledger, Batch(records=[row("c1"), row("c2", start_s=60)], checkpoint=b"x"))
    ledger.prune(NOON_MS + 3650 * DAY_MS)
    put(ledger, Batch(records=[row("c3", start_s=120), row("c1"), row("c4", start_s=240)], checkpoint=b"y"))
    assert calls_and_stale(ledger) == (4, 0)
    ledger.close()


def test_the_later_leg_of_a_pruned_call_is_no_call_of_its_own_when_the_file_is_read_again(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 30 * DAY_MS, retention_days=10)
    legs = [row("c1", start_s=-1), row("c1", key="2", start_s=600)]
    put(ledger, Batch(records=[*legs, row("newest", start_s=30 * 86_400)], checkpoint=b"x"))
    ledger.prune(NOON_MS + 10 * DAY_MS)
    assert ledger.do(lambda db: db.execute("SELECT count(*) FROM leg").fetchone()[0]).result() == 1
    put(ledger, Batch(records=[*legs, row("newer", start_s=30 * 86_400 + 60)], checkpoint=b"x"))
    assert calls_and_stale(ledger) == (3, 2)
    ledger.close()


def test_a_call_that_waits_for_legs_is_not_pruned(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 60 * DAY_MS, retention_days=10)
    put(ledger, Batch(records=[row("c1"), row("newest", start_s=60 * 86_400)], checkpoint=b"x"))
    hand_in(ledger, Batch(records=[row("c1", key="2", start_s=120)], checkpoint=b"x"))
    ledger.prune_all()
    kept = ledger.do(lambda db: db.execute("SELECT key FROM call").fetchall()).result()
    assert kept == [("c1",), ("newest",)]
    ledger.close()


def test_without_a_destination_no_event_is_pruned(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 3_600_000, retention_days=1)
    put(ledger, Batch(records=[row("c1")], checkpoint=b"x"))
    ledger.close()
    ledger = open_ledger(tmp_path, now_ms=NOON_MS + 400 * 24 * 3_600_000, retention_days=1)
    ledger.prune_all()
    assert len(events(ledger)) == 4
    ledger.close()


def test_the_meter_of_the_tests_is_the_one_configured() -> None:
    assert [level.name for level in METERING.levels] == ["basic", "standard", "premium"]
