"""A leg that cannot be metered, whatever the reason, costs its own call and nothing else."""

from pathlib import Path

import msgspec

from collectors.contract import Batch
from tests.agent.ledger.desk import KIND, Clock, open_ledger, row
from tests.agent.ledger.test_ledger import events, hand_in, put

END_OF_TIME_MS = 253_402_300_799_000
"""9999-12-31 23:59:59 UTC: the day after it has no name."""


def test_a_call_at_the_end_of_time_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    ledger.add_source("other", KIND, 5000)
    far = msgspec.structs.replace(
        row("far"), started_at_ms=END_OF_TIME_MS, answered_at_ms=None, ended_at_ms=END_OF_TIME_MS
    )
    try:
        hand_in(ledger, Batch(records=[far], checkpoint=b"1"))
        clock = ledger.clock_ms
        assert isinstance(clock, Clock)
        clock.now_ms += 10_000
        put(ledger, Batch(records=[row("c1")], checkpoint=b"2"))
        assert len([event for event in events(ledger) if event["type"] == "call"]) == 1
        reasons = ledger.do(lambda db: db.execute("SELECT reason FROM reject").fetchall()).result()
        assert reasons == [("unmeterable",)]
    finally:
        ledger.close()
