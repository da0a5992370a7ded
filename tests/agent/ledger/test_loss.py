"""An enrolled site whose platform was restored from an older copy, with events pruned meanwhile: its own ledger still proves
itself, with the receipt for what it stated as lost, and against the last head."""

import asyncio
import shutil
from contextlib import closing
from pathlib import Path

from agent.ledger.outbox import LedgerOutbox
from agent.ledger.proving import Period, prove
from agent.ledger.retention import prune_events
from agent.ledger.store import open_for_reading
from agent.ledger.writer import Ledger
from collectors.contract import Batch
from tests.agent.ledger.desk import SITE, Clock, open_ledger, row
from tests.uplink.enrolled import enrol_at, enrolled_shipping, give_token, platform_at
from uplink.proof import Proved
from uplink.witness import Witness, keep, read


async def record(ledger: Ledger, names: str, start_s: float) -> None:
    clock = ledger.clock_ms
    assert isinstance(clock, Clock)
    rows = tuple(row(name, start_s=start_s + 60 * number) for number, name in enumerate(names))
    await ledger.sink("desk").put(Batch(records=rows, source_time_ms=clock.now_ms + 600_000))
    clock.now_ms += 6000
    await ledger.sink("desk").put(Batch(source_time_ms=clock.now_ms + 1_200_000))


async def shipped(outbox: LedgerOutbox, folder: Path) -> tuple[Witness, list[str]]:
    async with platform_at(folder) as receiver, enrolled_shipping(outbox, receiver.url, folder / "identity") as shipper:
        assert (await shipper.upload()).problem == ""
        assert shipper.witness is not None
        return shipper.witness, [each.problem.code for each in shipper.problems()]


async def test_what_was_stated_as_lost_has_its_receipt_and_the_rest_its_own(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
    clock = ledger.clock_ms
    assert isinstance(clock, Clock)
    async with platform_at(tmp_path) as receiver:
        await give_token(receiver.store, site=SITE.id)
        await enrol_at(receiver.url, tmp_path / "identity")
    shutil.copy(tmp_path / "receiver.db", tmp_path / "older")
    await record(ledger, "abcdef", 0)
    await shipped(outbox, tmp_path)
    clock.now_ms += 86_400_000
    await record(ledger, "gh", 86_400)
    before_ms = clock.now_ms - 3_600_000
    last, _ = await shipped(outbox, tmp_path)
    assert await asyncio.wrap_future(ledger.do(lambda db: prune_events(db, before_ms))) > 0
    pruned = await outbox.horizon(last.epoch) - 1
    for rest in tmp_path.glob("receiver.db*"):
        rest.unlink()
    shutil.copy(tmp_path / "older", tmp_path / "receiver.db")
    await record(ledger, "i", 90_000)
    last, problems = await shipped(outbox, tmp_path)
    assert problems == ["loss_stated"]
    keep(tmp_path / "identity", last)
    assert read(tmp_path / "identity") == last
    outbox.close()
    await asyncio.to_thread(ledger.close)
    found = proved(ledger.path, last)
    (span,) = found.spans
    assert (span.first, span.last, found.receipted) == (pruned + 1, last.end, last.end)
    assert found.receipts >= 2


def proved(path: Path, last: Witness) -> Proved:
    with closing(open_for_reading(path)) as db:
        return prove(db, SITE.id, Period(), claims=last.claims())
