"""A process is killed as it syncs, and a disk fails to: what was acknowledged is there, and nothing else is said to be.

strace injects it into the real process at the n-th fdatasync of a thread, which is where SQLite makes a commit durable.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.ledger.store import open_for_reading
from tests.agent.ledger.desk import open_ledger

PROGRAM = """
import asyncio, sys
import agent.ledger.writer as writer
from collectors.contract import Batch
from tests.agent.ledger.desk import open_ledger, row

writer.COMMIT_EVERY_S = writer.RETRY_S = 0.01

async def main():
    ledger = open_ledger(sys.argv[1])
    for number in range(20):
        await ledger.sink("desk").put(Batch(records=[row(f"c{number}", start_s=number)], checkpoint=str(number).encode()))
        print(number, flush=True)
    await asyncio.to_thread(ledger.close)

asyncio.run(main())
"""


def run(folder: Path, injection: str) -> tuple[int, list[int]]:
    """How the process ended, and which records it was told to be durable."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", f"inject=fdatasync:{injection}"]
    done = subprocess.run(
        [*command, sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, [int(line) for line in done.stdout.split()]


def stored(folder: Path) -> list[int]:
    """The records in the ledger, after a start that found it so."""
    ledger = open_ledger(folder)
    assert ledger.quarantined == ""
    ledger.close()
    db = open_for_reading(ledger.path)
    try:
        found = db.execute("SELECT call_key FROM leg ORDER BY id").fetchall()
        sequences = [json.loads(body)["sequence"] for (body,) in db.execute("SELECT body FROM event ORDER BY line")]
    finally:
        db.close()
    assert sequences == [str(number + 1) for number in range(len(sequences))]
    return [int(key.removeprefix("c")) for (key,) in found]


@pytest.mark.parametrize("nth", [1, 6, 11])
def test_a1_a_process_that_is_killed_as_it_makes_its_ledger_starts_again(tmp_path: Path, nth: int) -> None:
    status, acknowledged = run(tmp_path, f"signal=KILL:when={nth}")
    assert (status != 0, acknowledged) == (True, [])
    assert stored(tmp_path) == []
    assert run(tmp_path, "error=EIO:when=1000") == (0, list(range(20)))


@pytest.mark.parametrize("nth", [2, 3, 7, 15])
def test_a1_a_process_that_is_killed_as_it_syncs_has_all_that_it_acknowledged(tmp_path: Path, nth: int) -> None:
    open_ledger(tmp_path).close()
    status, acknowledged = run(tmp_path, f"signal=KILL:when={nth}")
    assert status != 0
    assert 0 <= len(acknowledged) < 20
    held = stored(tmp_path)
    assert acknowledged == list(range(len(acknowledged)))
    assert acknowledged or nth < 15
    assert held[: len(acknowledged)] == acknowledged
    assert len(held) <= len(acknowledged) + 1


def test_a1_a10_what_the_disk_did_not_sync_is_not_acknowledged_and_comes_when_it_does(tmp_path: Path) -> None:
    open_ledger(tmp_path).close()
    status, acknowledged = run(tmp_path, "error=EIO:when=5..8")
    assert (status, acknowledged) == (0, list(range(20)))
    assert stored(tmp_path) == list(range(20))
