"""Ledger and outbox against a simple model, with crashes between any two steps and inside any transaction.

The model is what an office could write on paper: which rows were handed in for good, and which events the platform holds. After
every step: the lines of the ledger are contiguous and chained, no id stands twice in an epoch, nothing that the platform
acknowledged is taken back. At the end: each settled call nets to what its rows say, and the platform holds each event once.
"""

import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.ledger import outbox
from agent.ledger.intake import Intake
from agent.ledger.numbering import Numbering
from agent.ledger.retention import prune_events
from agent.ledger.store import open_for_writing
from agent.metering.meter import Meter
from collectors.contract import Batch
from collectors.records import Registration
from tests.agent.ledger.desk import KIND, METERING, NOON_MS, SITE, Row, join, row
from uplink.events import CHAIN_START, chain_next
from uplink.outbox import Refusal

DESTINATION = "platform"
SETTLE_MS = 5_000
CALLEES = ("102", "103", "+442079460123")

rows = st.builds(
    row,
    call=st.sampled_from([f"c{n}" for n in range(6)]),
    key=st.sampled_from("123"),
    callee=st.sampled_from(CALLEES),
    start_s=st.integers(0, 3).map(lambda n: n * 20),
    talk_s=st.sampled_from([None, 0, 10, 59, 61]),
    feature=st.sampled_from(["", "", "hold", "conference"]),
)


class Crash(Exception):
    """The process ended here."""


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="pegcount-model-"))
        self.now_ms = NOON_MS
        self.rows: dict[tuple[str, str], Row] = {}
        self.registered: set[tuple[str, str]] = set()
        self.platform: dict[str, list[bytes]] = {}
        self.counted: dict[str, dict[str, Any]] = {}
        self.acked: dict[str, int] = {}

    def teardown(self) -> None:
        self.drain()
        self.check_totals()
        self.close()
        shutil.rmtree(self.folder)

    # --- the thing itself

    @initialize()
    def start(self) -> None:
        self.open()

    def open(self) -> None:
        opened = open_for_writing(self.folder / "ledger.db")
        assert opened.quarantined == ""
        self.db, self.lock = opened.db, opened.lock
        with self.db.atomic():
            self.numbering = Numbering(self.db, SITE.urn, self.now_ms)
        self.intake = Intake(self.db, Meter(SITE, METERING), self.numbering, 100)
        with self.db.atomic():
            self.intake.open_source("desk", KIND, SETTLE_MS, self.now_ms)
        self.ledger: Any = SimpleNamespace(numbering=self.numbering, clock_ms=lambda: self.now_ms)

    def close(self) -> None:
        self.db.close()
        self.lock.close()

    def transaction(self, work: Any, crash_after: int | None) -> bool:
        """Run `work` in a transaction; a crash strikes after so many steps of SQLite's machine. True if it was committed."""
        if crash_after is not None:
            steps = 0

            def strike() -> int:
                nonlocal steps
                steps += 1
                return steps > crash_after

            self.db.conn.set_progress_handler(strike, 7)
        try:
            with self.db.atomic():
                work()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_INTERRUPT":
                raise
            self.close()
            self.open()
            return False
        self.db.conn.set_progress_handler(None, 0)
        return True

    # --- steps

    @rule(
        legs=st.lists(rows, max_size=6),
        moved_s=st.integers(0, 30),
        crash_after=st.none() | st.integers(0, 400),
    )
    def hand_in(self, legs: list[Row], moved_s: int, crash_after: int | None) -> None:
        self.now_ms += moved_s * 1000
        legs = [self.rows.get((leg.call_key, leg.key), leg) for leg in legs]
        unique = {(leg.call_key, leg.key): leg for leg in legs}
        legs = [unique[leg.call_key, leg.key] for leg in legs]
        batch = Batch(records=legs, checkpoint=b"x")
        if self.transaction(lambda: self.intake.apply([("desk", batch)], self.now_ms), crash_after):
            self.rows.update(unique)

    @rule(seat=st.sampled_from(["101", "110"]), hour=st.integers(0, 2), crash_after=st.none() | st.integers(0, 100))
    def register(self, seat: str, hour: int, crash_after: int | None) -> None:
        at_ms = NOON_MS + hour * 3_600_000
        record = Registration(key=f"{seat}/{hour}", endpoint=seat, contact="c", at_ms=at_ms, expires_at_ms=at_ms)
        batch = Batch(records=[record], checkpoint=b"x")
        if self.transaction(lambda: self.intake.apply([("desk", batch)], self.now_ms), crash_after):
            self.registered.add((seat, "2026-11-20"))

    @rule(moved_s=st.integers(0, 10), crash_after=st.none() | st.integers(0, 300))
    def wait(self, moved_s: int, crash_after: int | None) -> None:
        self.now_ms += moved_s * 1000
        self.transaction(lambda: self.intake.apply([], self.now_ms), crash_after)

    @rule(
        most=st.integers(1, 9),
        fate=st.sampled_from(["delivered", "answer lost", "request lost"]),
        refuse=st.booleans(),
        crash_after=st.none() | st.integers(0, 60),
    )
    def ship(self, most: int, fate: str, refuse: bool, crash_after: int | None) -> None:
        with self.db.atomic():
            cursor = outbox._cursor(self.db, DESTINATION)
        chunk = outbox._chunk(self.db, cursor.epoch, cursor.acked_through, most, 1 << 20)
        if not chunk.bodies or fate == "request lost":
            return
        assert (chunk.prev, chunk.first) == (cursor.chain, cursor.acked_through + 1)
        self.receive(cursor.epoch, chunk.first, chunk.bodies)
        if fate == "answer lost":
            return
        refused = [Refusal(seq=chunk.first, code="model", message="")] if refuse else []

        def acknowledge() -> None:
            outbox._acknowledge(self.db, DESTINATION, cursor.epoch, chunk.last, refused, b"", self.now_ms)

        if self.transaction(acknowledge, crash_after):
            self.acked[cursor.epoch] = chunk.last

    def receive(self, epoch: str, first: int, bodies: list[bytes]) -> None:
        """A platform by the contract: contiguous in an epoch, the same number has the same bytes, an id counts once."""
        held = self.platform.setdefault(epoch, [])
        for number, body in enumerate(bodies, start=first):
            if number <= len(held):
                assert held[number - 1] == body, "the same number came again with other bytes"
                continue
            assert number == len(held) + 1, "a number was left out"
            held.append(body)
            event = json.loads(body)
            assert (event["epoch"], event["sequence"]) == (epoch, str(number))
            self.counted.setdefault(event["id"], event)

    @rule(crash_after=st.none() | st.integers(0, 200))
    def new_epoch(self, crash_after: int | None) -> None:
        if self.numbering.epoch.n < 4:
            self.transaction(lambda: outbox.renew(self.db, self.ledger, "conflict"), crash_after)

    @precondition(lambda self: self.numbering.line > 20)
    @rule(crash_after=st.none() | st.integers(0, 100))
    def prune(self, crash_after: int | None) -> None:
        self.transaction(lambda: prune_events(self.db, self.now_ms + 1), crash_after)

    @rule()
    def restart(self) -> None:
        self.close()
        self.open()

    # --- what always holds

    @invariant()
    def lines_are_contiguous_and_chained(self) -> None:
        if not hasattr(self, "db"):
            return
        last_line, chain, epoch = None, CHAIN_START, None
        for line, stored, body, n in self.db.execute("SELECT line, chain, body, epoch FROM event ORDER BY line"):
            assert last_line is None or line == last_line + 1
            if last_line is None and json.loads(body)["sequence"] != "1":
                chain = stored
            else:
                chain = chain_next(CHAIN_START if n != epoch else chain, body)
            assert stored == chain
            last_line, epoch = line, n
        twice = "SELECT count(*) FROM event GROUP BY id, epoch HAVING count(*) > 1"
        assert self.db.execute(twice).fetchone() is None

    @invariant()
    def nothing_acknowledged_is_taken_back(self) -> None:
        if hasattr(self, "db"):
            with self.db.atomic():
                cursor = outbox._cursor(self.db, DESTINATION)
            assert cursor.acked_through == self.acked.get(cursor.epoch, 0)

    # --- what holds in the end

    def drain(self) -> None:
        self.now_ms += SETTLE_MS + 1
        with self.db.atomic():
            self.intake.apply([], self.now_ms)
        assert self.intake.waiting() == 0
        while True:
            with self.db.atomic():
                cursor = outbox._cursor(self.db, DESTINATION)
            chunk = outbox._chunk(self.db, cursor.epoch, cursor.acked_through, 5, 1 << 20)
            if not chunk.bodies:
                return
            self.ship(5, "delivered", False, None)

    def check_totals(self) -> None:
        found: Counter[tuple[str, ...]] = Counter()
        exact: dict[tuple[str, ...], Decimal] = {}
        for event in self.counted.values():
            data = event["data"]
            detail = data.get("outcome", "") if event["type"] == "call" else data.get("feature", "")
            attributes = (data.get("call", ""), data.get("class", ""), detail, data.get("level", ""))
            slot = (event["type"], event["subject"], *attributes)
            found[slot] += 1
            exact[slot] = exact.get(slot, Decimal(0)) + Decimal(data["quantity"])
        assert {slot: total for slot, total in exact.items() if total} == self.expected()

    def expected(self) -> dict[tuple[str, ...], Decimal]:
        """Worked out from the rows alone, without ledger or corrections."""
        meter = Meter(SITE, METERING)
        calls: dict[str, list[Row]] = {}
        for (call_key, _), leg in self.rows.items():
            calls.setdefault(call_key, []).append(leg)
        totals: dict[tuple[str, ...], Decimal] = {}
        used: dict[tuple[str, str], set[str]] = {place: set() for place in self.registered}
        for legs in calls.values():
            charge = meter.call(join(legs))
            reference = next(iter(self.references(charge.key)))
            for measure in charge.measures:
                slot = measure.slot
                place = (slot.meter, slot.subject, reference, slot.call_class, slot.detail, "")
                totals[place] = Decimal(measure.amount) / 1_000_000
            for use in charge.seats:
                used.setdefault((use.seat, use.day), set()).update(use.features)
        for (seat, _), features in used.items():
            level = meter.level(features)
            place = ("seat.day", seat, "", "", "", level)
            totals[place] = totals.get(place, Decimal(0)) + 1
        return totals

    @staticmethod
    def references(call_key: str) -> list[str]:
        from uplink.events import event_id

        return [event_id(SITE.id, "call", "desk", call_key)]


TestA2A3A5LedgerAgainstModel = Machine.TestCase
TestA2A3A5LedgerAgainstModel.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
