"""Disks that are full or damaged: real ones, on file systems in memory; and a process that may open hardly any file."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ledger.outbox import LedgerOutbox
from agent.ledger.reserve import RESERVE_BYTES, Reserve
from agent.ledger.store import open_for_reading
from agent.ledger.writer import DAY_MS, Ledger
from collectors.contract import Batch
from tests.agent.ledger.desk import SITE, Clock, open_ledger, row

MB = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 32 MB."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a file system needs root")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return ballast


async def record(ledger: Ledger, first: int, count: int) -> None:
    rows = [row(f"c{n}", start_s=n) for n in range(first, first + count)]
    await ledger.sink("desk").put(Batch(records=rows, checkpoint=str(first).encode()))


async def in_trouble(ledger: Ledger) -> None:
    while ledger.trouble is None:
        await asyncio.sleep(0.01)


def count(ledger: Ledger, table: str) -> int:
    db = open_for_reading(ledger.path)
    try:
        return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        db.close()


async def test_a11_a12_a13_on_a_full_disk_acknowledging_and_pruning_work_and_with_room_intake_goes_on(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ledger.writer.RETRY_S", 0.05)
    ledger = open_ledger(small_disk)
    assert (small_disk / "ledger.db.reserve").stat().st_size == RESERVE_BYTES
    outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
    epoch = (await outbox.identity()).epoch
    await outbox.cursor("platform")
    await record(ledger, 0, 500)
    events = count(ledger, "event")
    assert events > 900

    ballast = await asyncio.to_thread(fill, small_disk)
    waiting = asyncio.create_task(record(ledger, 500, 3000))
    await asyncio.wait_for(in_trouble(ledger), 10)
    assert ledger.trouble is not None
    assert ledger.trouble.code == "ledger_full"

    await outbox.acknowledge("platform", epoch, events, [], b"receipt" * 1000)
    for _ in range(20):
        await outbox.save_backoff("platform", os.urandom(2000))
    assert (await outbox.cursor("platform")).acked_through == events
    assert not (small_disk / "ledger.db.reserve").exists()
    clock = ledger.clock_ms
    assert isinstance(clock, Clock)
    clock.now_ms += 100 * DAY_MS
    await asyncio.to_thread(ledger.prune_all)
    assert count(ledger, "event") < events / 10
    assert not waiting.done()
    assert count(ledger, "call") <= 500

    ballast.unlink()
    await asyncio.wait_for(waiting, 20)
    assert ledger.trouble is None
    assert (small_disk / "ledger.db.reserve").stat().st_size == RESERVE_BYTES
    outbox.close()
    await asyncio.to_thread(ledger.close)


async def test_a11_a_start_on_a_full_disk_takes_nothing_in_until_there_is_room(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ledger.writer.RETRY_S", 0.05)
    ledger = open_ledger(small_disk)
    await record(ledger, 0, 10)
    await asyncio.to_thread(ledger.close)
    (small_disk / "ledger.db.reserve").unlink()
    ballast = fill(small_disk)
    os.truncate(ballast, ballast.stat().st_size - MB)

    ledger = open_ledger(small_disk)
    waiting = asyncio.create_task(record(ledger, 10, 10))
    await asyncio.wait_for(in_trouble(ledger), 10)
    assert not waiting.done()
    ballast.unlink()
    await asyncio.wait_for(waiting, 10)
    await asyncio.to_thread(ledger.close)


def test_a_reserve_that_cannot_be_made_or_given_up_is_none_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "ledger.db.reserve" / "in the way").mkdir(parents=True)
    ledger = open_ledger(tmp_path)
    asyncio.run(record(ledger, 0, 5))
    assert (ledger.trouble, count(ledger, "leg")) == (None, 5)
    reserve = Reserve(ledger.path)
    assert (reserve.spent, reserve.give_up()) == (False, False)
    ledger.close()


def damage(path: Path, first: int = 0, last: int = 0) -> None:
    """Overwrite the file from page `first` to `last` (0: to its end), as a disk does that loses what it was given."""
    pages = path.stat().st_size // 4096
    with open(path, "r+b") as file:
        file.seek(4096 * first)
        file.write(os.urandom(4096 * ((last or pages) - first)))


async def test_a4_a18_a_ledger_that_is_damaged_while_it_is_in_use_ends_the_agent_and_the_next_start_sets_it_aside(
    tmp_path: Path,
) -> None:
    ledger = open_ledger(tmp_path)
    await record(ledger, 0, 3000)
    await asyncio.to_thread(ledger.close)
    before = open_for_reading(ledger.path)
    epoch = before.execute("SELECT id FROM epoch").fetchone()
    before.close()

    ledger = open_ledger(tmp_path)
    pages = ledger.path.stat().st_size // 4096
    damage(ledger.path, pages // 3, pages // 2)
    outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
    identity = await outbox.identity()
    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        await outbox.read(identity.epoch, 0, 6000, 64 * MB)
    assert ledger.damaged.done()
    assert ledger.trouble is not None
    assert ledger.trouble.code == "ledger_corrupt"
    outbox.close()
    await asyncio.to_thread(ledger.close)

    ledger = open_ledger(tmp_path)
    assert Path(ledger.quarantined).stat().st_size > 100_000
    await record(ledger, 0, 5)
    await asyncio.to_thread(ledger.close)
    ledger = open_ledger(tmp_path)
    assert ledger.quarantined == ""
    assert ledger.numbering.epoch.id != epoch[0]
    ledger.close()


def test_a4_a18_a_ledger_that_is_damaged_where_a_start_reads_it_does_not_keep_the_agent_from_starting(
    tmp_path: Path,
) -> None:
    ledger = open_ledger(tmp_path)
    asyncio.run(record(ledger, 0, 3000))
    ledger.close()
    for first in (2, 20, ledger.path.stat().st_size // 8192):
        damage(ledger.path, first)
        ledger = open_ledger(tmp_path)
        assert ledger.quarantined
        asyncio.run(record(ledger, 0, 3000))
        ledger.close()
    assert len(list(tmp_path.glob("*.unreadable-?"))) == 3


def test_a4_a_mark_on_a_ledger_that_is_whole_changes_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    asyncio.run(record(ledger, 0, 5))
    ledger.close()
    (tmp_path / "ledger.db.damaged").touch()
    ledger = open_ledger(tmp_path)
    assert (ledger.quarantined, count(ledger, "leg")) == ("", 5)
    assert not (tmp_path / "ledger.db.damaged").exists()
    ledger.close()


def test_a21_the_size_limit_holds_for_what_a_restart_finds(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    for first in range(0, 24_000, 3000):
        asyncio.run(record(ledger, first, 3000))
    ledger.close()
    assert ledger.path.stat().st_size > 17 * MB
    ledger = open_ledger(tmp_path, max_size_mb=16)

    async def one_more() -> None:
        task = asyncio.create_task(record(ledger, 30_000, 1))
        await asyncio.wait_for(in_trouble(ledger), 10)
        task.cancel()

    asyncio.run(one_more())
    assert ledger.trouble is not None
    assert ledger.trouble.code == "ledger_at_limit"
    ledger.close()


def test_a7_a_ledger_at_its_limit_starts_and_drains(tmp_path: Path) -> None:
    """What waits does not keep it from starting, nor does it need intake to be read."""
    ledger = open_ledger(tmp_path)
    for first in range(0, 24_000, 3000):
        asyncio.run(record(ledger, first, 3000))
    ledger.close()

    async def drain_once(ledger: Ledger) -> int:
        outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
        cursor = await outbox.cursor("platform")
        chunk = await outbox.read(cursor.epoch, cursor.acked_through, 10_000, 64 * MB)
        await outbox.acknowledge("platform", cursor.epoch, chunk.last, [], b"")
        outbox.close()
        return len(chunk.bodies)

    drained = []
    while not drained or drained[-1]:
        ledger = open_ledger(tmp_path, max_size_mb=16)
        drained.append(asyncio.run(drain_once(ledger)))
        ledger.close()
    assert sum(drained) == count(ledger, "event")
    assert len(drained) > 3


_HARDLY_ANY_FILE = """
import asyncio, resource, sys
from tests.agent.ledger import test_disk as disk

async def main():
    ledger = disk.open_ledger(sys.argv[1])
    outbox = disk.LedgerOutbox(ledger, disk.SITE.id, disk.SITE.urn)
    identity = await outbox.identity()
    await disk.record(ledger, 0, 10)
    await outbox.read(identity.epoch, 0, 10, 1 << 20)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    try:
        while True:
            held.append(open("/dev/null"))
    except OSError:
        pass
    await disk.record(ledger, 10, 500)
    chunk = await outbox.read(identity.epoch, 0, 1000, 1 << 20)
    await outbox.cursor("platform")
    await outbox.acknowledge("platform", identity.epoch, chunk.last, [], b"")
    assert (await outbox.cursor("platform")).acked_through == chunk.last > 500
    print("kept", chunk.last)
    for each in held:
        each.close()
    outbox.close()
    await asyncio.to_thread(ledger.close)

asyncio.run(main())
"""


def test_a16_without_a_descriptor_to_spare_records_are_kept_and_acknowledged(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _HARDLY_ANY_FILE, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("kept")
