"""`pegcount verify` and `pegcount export` over a site's ledger."""

import json
import sqlite3
from base64 import b64decode
from contextlib import closing
from pathlib import Path

import pytest

from tests.agent.cli.commands import SITE, SITE_ID, Done, pegcount
from uplink.batch import Head
from uplink.events import MicroTransaction, timed_id
from uplink.receipts import Receipted
from uplink.witness import keep, witness

DAY_MS = 86_400_000
NOON_MS = 1_795_172_400_000
"""2026-11-20 12:00 in Berlin."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A site that recorded five calls on Friday and three on Saturday."""
    from agent.config import load
    from agent.ledger.writer import Ledger

    file = tmp_path / "pegcount.toml"
    file.write_text(f'{SITE}[ledger]\npath = "{tmp_path}/ledger.db"\n')
    loaded = load(file)
    ledger = Ledger.open(loaded.ledger, loaded.site, loaded.metering, lambda: NOON_MS)
    for number in range(8):
        event = MicroTransaction(
            id=timed_id(NOON_MS, f"call-{number}", loaded.site, 0),
            meter="call",
            subject="101",
            time_ms=NOON_MS,
            quantity="1",
            unit="call",
            data={},
        )
        recorded_ms = NOON_MS + (DAY_MS if number >= 5 else 0)
        ledger.do(lambda _db, event=event, at=recorded_ms: ledger.numbering.append([event], at)).result(10)
    ledger.close()
    return file


def verify(config: Path, *more: str | Path) -> Done:
    return pegcount("verify", "--config", config, *more)


def test_the_ledger_holds_and_its_sums_are_told(config: Path) -> None:
    done = verify(config)
    assert done.status == 0
    assert done.out.splitlines()[0] == f"site {SITE_ID}: 8 events, all hold"
    assert "events 1 to 8, chain " in done.out
    assert done.out.splitlines()[-2:] == ["call: 8 call in 8 events", "held against: nothing outside of the ledger"]


def test_a_period_is_days_of_the_site(config: Path) -> None:
    assert "events 1 to 5" in verify(config, "--to", "2026-11-20").out
    assert "events 6 to 8" in verify(config, "--from", "2026-11-21", "--to", "2026-11-21").out
    assert "0 events" in verify(config, "--from", "2026-11-22").out


def test_the_first_mismatch_is_printed(config: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.execute(
            "UPDATE event SET body = CAST(replace(CAST(body AS TEXT), '\"101\"', '\"102\"') AS BLOB) WHERE line IN (3, 6)"
        )
        db.commit()
    done = verify(config)
    assert done.status == 1
    assert done.out.startswith("does not hold: epoch ")
    assert "event 3: the event" in done.out or "event 3: the chain of the ledger" in done.out
    told = json.loads(verify(config, "--json").out)
    assert (told["holds"], told["mismatch"]["sequence"]) == (False, 3)
    refused = pegcount("export", "--config", config, "-o", tmp_path / "x.gz")
    assert refused.status == 1
    assert not list(tmp_path.glob("x.gz*"))


def test_an_export_is_verified_without_configuration_and_is_the_same_twice(config: Path, tmp_path: Path) -> None:
    for name in ("one.gz", "two.gz"):
        assert pegcount("export", "--config", config, "--from", "2026-11-21", "-o", tmp_path / name).status == 0
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()
    assert (tmp_path / "one.gz").stat().st_mode & 0o777 == 0o600
    done = pegcount("verify", "--config", tmp_path / "there-is-none", tmp_path / "one.gz")
    assert done.status == 0
    assert "events 6 to 8" in done.out
    data = bytearray((tmp_path / "one.gz").read_bytes())
    data[200] ^= 1
    (tmp_path / "one.gz").write_bytes(data)
    assert pegcount("verify", tmp_path / "one.gz").status == 1


def test_the_ledger_is_held_against_an_earlier_export_and_what_the_platform_has(config: Path, tmp_path: Path) -> None:
    export, receipts = tmp_path / "friday.gz", tmp_path / "receipts.json"
    assert pegcount("export", "--config", config, "--to", "2026-11-20", "-o", export).status == 0
    told = json.loads(verify(config, "--json").out)["proved"]["spans"][0]
    answer = {"site": SITE_ID, "epoch": told["epoch"], "next": None}
    batch = {"first": 1, "last": 8, "chain": told["chain"], "received_ms": 1, "lost": False}
    receipts.write_text(json.dumps({**answer, "receipts": [batch]}))
    done = verify(config, "--against", export, "--against", receipts)
    assert (done.status, f"held against: {export}, {receipts}" in done.out.splitlines()) == (0, True)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.execute("DELETE FROM event WHERE line > 6")
        db.commit()
    assert verify(config).status == verify(config, "--against", export).status == 0
    done = verify(config, "--against", receipts)
    assert (done.status, done.out.split(": ", 2)[2]) == (
        1,
        f"the end of the epoch, by {receipts}: expected 8, found 6\n",
    )
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.execute("DELETE FROM event WHERE line > 3")
        db.commit()
    assert verify(config, "--against", export).status == 1
    receipts.write_text(json.dumps({**answer, "site": "another", "receipts": []}))
    assert (verify(config, "--against", receipts).status, verify(config, "--against", config).status) == (66, 66)
    assert verify(config, "--against", tmp_path / "nowhere").status == 66
    assert verify(config, "--against", export, export).status == 2


def test_the_last_head_beside_the_key_is_what_a_ledger_that_was_cut_is_held_against(
    config: Path, tmp_path: Path
) -> None:
    told = json.loads(verify(config, "--json").out)["proved"]["spans"][0]
    chain = b64decode(told["chain"])
    receipt = Receipted(
        first=9,
        last=8,
        prev=chain,
        chain=chain,
        server_time="2026-11-21T12:00:00.000Z",
        key="k",
        public=b"",
        signature=b"",
    )
    head = Head(
        epoch=told["epoch"], first=9, last=8, count=0, prev=chain, chain=chain, head_time_s=1, end=8, end_chain=chain
    )
    (tmp_path / "identity").mkdir()
    keep(tmp_path / "identity", witness(SITE_ID, head, receipt))
    done = verify(config)
    assert (done.status, "the last receipt, by the last head, receipted 2026-11-21" in done.out) == (1, True)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.execute("DELETE FROM event WHERE line = 8")
        db.commit()
    done = verify(config)
    assert "the end of the epoch, by the last head, receipted 2026-11-21T12:00:00.000Z: expected 8, found 7" in done.out
    assert pegcount("export", "--config", config, "-o", tmp_path / "x.gz").status == 1
    (tmp_path / "identity" / "last-head.json").write_text("{")
    assert verify(config).status == 74


def test_what_cannot_be_read_is_said(config: Path, tmp_path: Path) -> None:
    assert pegcount("verify", tmp_path / "no-such-file").status == 66
    (tmp_path / "ledger.db").unlink()
    done = verify(config)
    assert (done.status, done.out) == (66, "")
    assert pegcount("verify", "--from", "2026-11-20", tmp_path / "x").status == 2
    assert pegcount("verify", "--from", "yesterday").status == 2
