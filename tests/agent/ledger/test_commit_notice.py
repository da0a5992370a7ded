"""Who hands a batch in is told when its commit begins: the records are written by then, and nobody else can see them yet."""

import asyncio
from pathlib import Path

from agent.ledger.store import open_for_reading
from collectors.contract import Batch
from tests.agent.ledger.desk import open_ledger, row


def test_the_notice_comes_once_and_before_anything_is_durable(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    seen: list[int] = []

    def legs() -> int:
        db = open_for_reading(ledger.path)
        try:
            return int(db.execute("SELECT count(*) FROM leg").fetchone()[0])
        finally:
            db.close()

    batch = Batch(records=[row("c1"), row("c2")], checkpoint=b"at 2", on_commit=lambda: seen.append(legs()))
    asyncio.run(ledger.sink("desk").put(batch))
    assert seen == [0]
    assert legs() == 2
    ledger.close()
