"""`pegcount export` where things are not as usual: epochs, pruning, nothing there, no room, killed, another version."""

import asyncio
import gzip
import hashlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from agent.config import load
from agent.ledger.outbox import LedgerOutbox
from agent.ledger.retention import prune_events
from agent.ledger.writer import Ledger
from tests.agent.cli.commands import SITE, SITE_ID, Done, pegcount
from tests.agent.cli.test_verify import DAY_MS, NOON_MS
from uplink.events import MicroTransaction, timed_id
from uplink.export import seal

A_DAY = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site that recorded twenty events on each of four days; a new epoch began on the second and on the third day, the
    third day's twice."""
    made = tmp_path_factory.mktemp("export")
    (made / "pegcount.toml").write_text(f'{SITE}[ledger]\npath = "{made}/ledger.db"\n')
    loaded = load(made / "pegcount.toml")
    clock_ms = NOON_MS
    ledger = Ledger.open(loaded.ledger, loaded.site, loaded.metering, lambda: clock_ms)

    async def fill() -> None:
        nonlocal clock_ms
        outbox = LedgerOutbox(ledger, SITE_ID, loaded.site.urn)
        for day in range(4):
            clock_ms = NOON_MS + day * DAY_MS
            events = [event(f"{day}-{number}", clock_ms) for number in range(A_DAY)]
            recorded = partial(ledger.numbering.append, events, clock_ms)
            await asyncio.wrap_future(ledger.do(lambda _db, record=recorded: record()))
            await outbox.cursor("platform")
            if day in (1, 2):
                epoch, last = (await outbox.identity()).epoch, (await outbox.waiting("platform")).end
                await outbox.acknowledge("platform", epoch, last, [], b"")
                for _ in range(day):
                    await outbox.begin_epoch("conflict")
        outbox.close()

    asyncio.run(fill())
    ledger.close()
    return made


def event(name: str, time_ms: int, padding: str = "") -> MicroTransaction:
    return MicroTransaction(
        id=timed_id(time_ms, name, load_slot(), 0),
        meter="call",
        subject="101",
        time_ms=time_ms,
        quantity="1",
        unit="call",
        data={"padding": padding} if padding else {},
    )


def load_slot() -> MicroTransaction:
    return MicroTransaction(id="", meter="", subject="", time_ms=0, quantity="", unit="", data={})


@pytest.fixture
def site(folder: Path, tmp_path: Path) -> Path:
    """A site of one's own."""
    for name in ("pegcount.toml", "ledger.db"):
        shutil.copy(folder / name, tmp_path)
    (tmp_path / "pegcount.toml").write_text(f'{SITE}[ledger]\npath = "{tmp_path}/ledger.db"\n')
    return tmp_path


def export(site: Path, *more: str | Path) -> Done:
    return pegcount("export", "--config", site / "pegcount.toml", "-o", site / "out.gz", *more)


def spans(site: Path) -> list[str]:
    done = pegcount("verify", site / "out.gz")
    assert done.status == 0, done.out
    return [line.split(": ")[1].split(",")[0] for line in done.out.splitlines() if line.startswith("epoch ")]


PERIODS = {
    "": ["events 1 to 40", "events 1 to 20", "events 1 to 0", "events 1 to 20"],
    "--from 2026-11-21 --to 2026-11-22": ["events 21 to 40", "events 1 to 20"],
    "--to 2026-11-20": ["events 1 to 20"],
    "--from 2026-11-22 --to 2026-11-22": ["events 1 to 20"],
    "--from 2026-11-23": ["events 1 to 20"],
    "--from 2026-11-25": [],
    "--to 2026-11-19": [],
}


@pytest.mark.parametrize("period", PERIODS)
def test_a_period_over_epochs_and_one_with_nothing_prove_themselves(site: Path, period: str) -> None:
    done = export(site, *period.split())
    assert done.status == 0, done.err
    assert spans(site) == PERIODS[period]
    assert ("nothing was recorded in this period" in done.out) == (not PERIODS[period])


def test_what_pruning_left_is_exported_and_what_it_took_is_said_to_be_none(site: Path) -> None:
    loaded = load(site / "pegcount.toml")
    ledger = Ledger.open(loaded.ledger, loaded.site, loaded.metering)
    ledger.do(lambda db: prune_events(db, NOON_MS + 2 * DAY_MS + 1)).result(10)
    ledger.close()
    assert "nothing was recorded in this period, or what was is pruned" in export(site, "--to", "2026-11-21").out
    assert spans(site) == []
    assert export(site).status == 0
    assert spans(site)[-1] == "events 1 to 20"
    assert pegcount("verify", "--config", site / "pegcount.toml").status == 0


def test_another_version_is_named_and_no_mismatch(site: Path) -> None:
    assert export(site).status == 0
    lines = gzip.decompress((site / "out.gz").read_bytes()).splitlines()[:-1]
    lines[0] = b'{"pegcount":"export","site":"s","program":"9.1","format":2,"news":{}}'
    packed = gzip.compress(b"\n".join(lines) + b"\n", mtime=0)
    (site / "out.gz").write_bytes(packed + seal(hashlib.sha256(packed).digest()))
    done = pegcount("verify", site / "out.gz")
    assert (done.status, "format 2, written by version 9.1; this version reads 1" in done.err) == (66, True)
    done = pegcount("verify", "--config", site / "pegcount.toml", "--against", site / "out.gz")
    assert (done.status, "format 2" in done.err) == (66, True)


# --- no room, killed


@pytest.fixture
def large(site: Path) -> Path:
    """An export of it takes half a megabyte and some tenths of a second."""
    loaded = load(site / "pegcount.toml")
    ledger = Ledger.open(loaded.ledger, loaded.site, loaded.metering)
    events = [event(f"more-{number}", NOON_MS, os.urandom(50).hex()) for number in range(5000)]
    ledger.do(lambda _db: ledger.numbering.append(events, NOON_MS)).result(30)
    ledger.close()
    with closing(sqlite3.connect(site / "ledger.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return site


def started(site: Path, most_bytes: int = 0) -> subprocess.Popen[str]:
    def limited() -> None:
        if most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    arguments = ("export", "--config", str(site / "pegcount.toml"), "-o", str(site / "out.gz"))
    return subprocess.Popen(
        [sys.executable, "-m", "agent.cli", *arguments],
        preexec_fn=limited,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_where_there_is_no_room_nothing_is_left_and_what_was_there_stays(large: Path) -> None:
    (large / "out.gz").write_text("an earlier one")
    process = started(large, most_bytes=200_000)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, "File too large" in said) == (74, True)
    assert (large / "out.gz").read_text() == "an earlier one"
    assert not list(large.glob(".out.gz*"))


def test_one_that_is_killed_leaves_no_file_of_that_name_and_the_next_is_whole(large: Path) -> None:
    process = started(large)
    until = time.monotonic() + 30
    while not any(part.stat().st_size for part in large.glob(".out.gz*.part")):
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=10)
    assert not (large / "out.gz").exists()
    assert export(large).status == 0
    assert spans(large)[-1] == "events 1 to 5020"
    assert export(large, "-o", large / "nowhere" / "x.gz").status == 74
