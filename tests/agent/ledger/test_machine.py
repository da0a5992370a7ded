"""A ledger that wakes up on another machine: an epoch of its own, and nothing counted twice or lost."""

import asyncio
import shutil
from pathlib import Path

import pytest

from agent.config.tables import Ledger as LedgerSettings
from agent.ledger import machine, queries
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.store import open_for_reading
from agent.ledger.writer import Ledger
from collectors.contract import Batch
from tests.agent.ledger.desk import KIND, METERING, SITE, row
from tests.uplink.platform import TOKEN, fetch, held, receiver_at
from uplink.destinations import PegcountHttp, PegcountSettings
from uplink.receipts import Receipted
from uplink.shipper import Pace, Shipper


def opened(folder: Path, on: str) -> tuple[Ledger, bool]:
    ledger = Ledger.open(LedgerSettings(path=f"{folder}/ledger.db"), SITE, METERING)
    ledger.add_source("desk", KIND, 0)
    return ledger, ledger.do(lambda db: machine.settle(db, ledger, on)).result()


async def heard(ledger: Ledger, name: str) -> None:
    await ledger.sink("desk").put(Batch(records=[row(name)], checkpoint=b""))


async def uploaded(ledger: Ledger, url: str) -> str:
    """The problem on which an upload ended, or nothing."""
    outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
    destination = PegcountHttp(PegcountSettings(url=url, token=TOKEN), SITE.id)
    try:
        return (await Shipper("platform", outbox, destination, Pace()).upload()).problem
    finally:
        await destination.close()
        outbox.close()


async def test_a_copied_disk_reports_in_an_epoch_of_its_own(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    async with receiver_at(tmp_path) as receiver:
        ledger, cloned = opened(first, "a" * 64)
        assert not cloned
        await heard(ledger, "before")
        assert await uploaded(ledger, receiver.url) == ""
        await heard(ledger, "waits")
        await asyncio.to_thread(ledger.close)
        shutil.copytree(first, second)
        ours, cloned = opened(first, "a" * 64)
        assert not cloned
        copy, cloned = opened(second, "b" * 64)
        assert cloned
        for ledger, name in ((ours, "ours"), (copy, "copys"), (ours, "ours again"), (copy, "copys again")):
            await heard(ledger, name)
            assert await uploaded(ledger, receiver.url) == ""
        epochs = (await fetch(receiver, f"/v1/sites/{SITE.id}"))["epochs"]
        assert [epoch["continues"] for epoch in epochs] == ["first", "no"]  # the first went on behind the copy
        calls = [each for each in await held(receiver, SITE.id) if each["event"]["type"] == "call"]
        assert sorted(each["status"] for each in calls) == ["counted"] * 6 + ["known"]
        for ledger in (ours, copy):
            await asyncio.to_thread(ledger.close)
    reader = open_for_reading(second / "ledger.db")
    assert queries.epoch_began_ms(reader, "cloned") > 0
    assert queries.epoch_began_ms(reader, "conflict") == 0
    reader.close()


def test_the_same_machine_and_one_without_a_name_change_nothing(tmp_path: Path) -> None:
    for on in ("", "a" * 64, "", "a" * 64):
        ledger, cloned = opened(tmp_path, on)
        assert (cloned, ledger.numbering.epoch.n) == (False, 1)
        ledger.close()


@pytest.mark.parametrize(
    ("text", "digits"),
    [(b"0123456789abcdef0123456789abcdef\n", 64), (b"", 0), (b"uninitialized\n", 0), (b"\xff" * 32, 0), (None, 0)],
)
def test_the_machine_id_is_never_kept_itself(tmp_path: Path, text: bytes | None, digits: int) -> None:
    path = tmp_path / "machine-id"
    if text is not None:
        path.write_bytes(text)
    told = machine.fingerprint(path)
    assert len(told) == digits
    assert text is None or text.decode("latin-1").strip() not in told or not digits


async def test_receipts_go_with_the_events_that_they_are_for(tmp_path: Path) -> None:
    ledger, _ = opened(tmp_path, "")
    outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
    for name in ("c1", "c2", "c3"):
        await heard(ledger, name)
    epoch, newest = (await outbox.identity()).epoch, ledger.numbering.line
    await outbox.cursor("platform")
    for last in range(1, newest + 1):
        kept = {"prev": b"", "chain": b"", "server_time": "t", "key": "k", "public": b"", "signature": b""}
        await outbox.acknowledge("platform", epoch, last, [], b"", Receipted(first=last, last=last, **kept))
    later_ms = ledger.clock_ms() + 93 * 86_400_000
    await asyncio.to_thread(lambda: [ledger.prune(later_ms) for _ in range(3)])
    rows = await asyncio.wrap_future(ledger.do(lambda db: db.execute("SELECT last FROM receipt").fetchall()))
    assert rows == [(newest,)]
    outbox.close()
    await asyncio.to_thread(ledger.close)
