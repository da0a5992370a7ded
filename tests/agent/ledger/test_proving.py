"""A ledger proves itself; whatever is changed in it, cut off it, left out or moved is found, and told where it stands."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.ledger.outbox import LedgerOutbox
from agent.ledger.proving import Period, prove
from agent.ledger.retention import prune_events
from agent.ledger.store import open_for_reading
from collectors.contract import Batch
from tests.agent.ledger.desk import NOON_MS, SITE, Clock, open_ledger, row
from uplink.batch import Head
from uplink.keys import PrivateKey
from uplink.proof import Claim, Mismatch, Proved
from uplink.receipts import check, countersign, receipt_text

COLUMNS = {
    "event": ("line", "id", "epoch", "recorded_ms", "chain", "body"),
    "receipt": ("destination", "epoch", "first", "last", "prev", "chain", "server_time", "key", "signature"),
    "platform_key": ("key", "public"),
}
PLATFORM = PrivateKey.make()
TIME = "2026-11-20T18:00:00.000Z"


def made(folder: Path) -> Path:
    """Two epochs: ten calls in the first, acknowledged through event 12 in two batches, with a heartbeat before and behind
    them; what was not is in the second again, with two more calls a day later, three events acknowledged."""
    ledger = open_ledger(folder)
    clock = ledger.clock_ms
    assert isinstance(clock, Clock)

    async def fill(names: str, start_s: float) -> None:
        rows = tuple(row(name, start_s=start_s + 60 * number) for number, name in enumerate(names))
        await ledger.sink("desk").put(Batch(records=rows, source_time_ms=clock.now_ms))
        clock.now_ms += 6000
        await ledger.sink("desk").put(Batch(source_time_ms=clock.now_ms))

    async def acknowledge(outbox: LedgerOutbox, first: int, last: int) -> None:
        epoch = (await outbox.identity()).epoch
        chunk = await outbox.read(epoch, first - 1, last - first + 1, 1 << 20)
        head = Head(
            epoch=epoch,
            first=first,
            last=last,
            count=len(chunk.bodies),
            prev=chunk.prev,
            chain=chunk.chain,
            head_time_s=1,
        )
        answer = msgspec.json.encode({"server_time": TIME, "receipt": countersign(PLATFORM, SITE.id, head, TIME)})
        receipt = check(SITE.id, head, last, answer, {PLATFORM.id: PLATFORM.public})
        await outbox.acknowledge("platform", epoch, last, [], answer, receipt)

    async def run() -> None:
        await fill("abcdefghij", 0)
        outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
        await outbox.cursor("platform")
        await acknowledge(outbox, 1, 0)
        await acknowledge(outbox, 1, 5)
        await acknowledge(outbox, 6, 12)
        await acknowledge(outbox, 13, 12)
        await outbox.begin_epoch("conflict")
        clock.now_ms += 86_400_000
        await fill("kl", 86_400)
        await outbox.cursor("platform")
        await acknowledge(outbox, 1, 3)
        outbox.close()

    asyncio.run(run())
    ledger.close()
    return ledger.path


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("ledger"))


def proved(path: Path, period: Period | None = None) -> Proved:
    with closing(open_for_reading(path)) as db:
        return prove(db, SITE.id, period or Period())


@contextmanager
def changed(path: Path, statement: str, *values: object) -> Iterator[Path]:
    """A copy of the ledger, in which somebody did this."""
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute(statement, values)
        target.commit()
    yield copy
    copy.unlink()


def mismatch(path: Path) -> Mismatch:
    with pytest.raises(Mismatch) as caught:
        proved(path)
    return caught.value


def test_epochs_chains_and_sums_are_worked_out_anew(ledger: Path) -> None:
    found = proved(ledger)
    first, second = found.spans
    assert (first.first, second.first) == (1, 1)
    assert second.after_epoch == first.epoch
    assert second.after_chain == first.chain
    assert found.events == first.last + second.last
    assert (found.receipts, found.receipted, found.keys) == (5, 3, [PLATFORM.id])
    assert {each.meter for each in found.sums} >= {"call", "voice.minutes", "seat.day"}


def test_a_period_is_what_was_recorded_in_it(ledger: Path) -> None:
    whole = proved(ledger)
    day_ms = NOON_MS + 3_600_000 + 43_200_000
    before, after = proved(ledger, Period(until_ms=day_ms)), proved(ledger, Period(since_ms=day_ms))
    assert before.events + after.events == whole.events
    assert after.spans[-1].chain == whole.spans[-1].chain
    assert after.spans[0].prev == before.spans[-1].chain
    nothing = proved(ledger, Period(since_ms=day_ms + 10**9))
    assert (nothing.events, nothing.spans) == (0, [])


def test_a_ledger_that_has_nothing_yet_holds(tmp_path: Path) -> None:
    empty = open_ledger(tmp_path)
    empty.close()
    found = proved(empty.path)
    assert (found.events, [span.last for span in found.spans]) == (0, [0])


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_flipped_byte_of_an_event_a_receipt_or_a_key_is_found(ledger: Path, data: st.DataObject) -> None:
    table = data.draw(st.sampled_from(["event", "event", "receipt", "receipt", "platform_key"]))
    column = data.draw(st.sampled_from(COLUMNS[table]))
    with closing(sqlite3.connect(ledger)) as db:
        row = data.draw(st.sampled_from(db.execute(f"SELECT * FROM {table}").fetchall()))
        names = [name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")]
    value = row[names.index(column)]
    if isinstance(value, int):
        flipped: object = value ^ 1 << data.draw(st.integers(0, 40))
    else:
        raw = value.encode() if isinstance(value, str) else value
        place = data.draw(st.integers(0, len(raw) - 1))
        raw = raw[:place] + bytes([raw[place] ^ data.draw(st.integers(1, 127))]) + raw[place + 1 :]
        flipped = raw.decode() if isinstance(value, str) else raw
    here = " AND ".join(f"{name} = ?" for name in names)
    try:
        with changed(ledger, f"UPDATE {table} SET {column} = ? WHERE {here}", flipped, *row) as copy:
            assert mismatch(copy)
    except sqlite3.IntegrityError:  # a number that another row has already
        ledger.with_name("copy.db").unlink(missing_ok=True)


def test_the_first_mismatch_is_named_by_epoch_and_number(ledger: Path) -> None:
    epoch = proved(ledger).spans[0].epoch
    with changed(
        ledger,
        "UPDATE event SET body = CAST(replace(CAST(body AS TEXT), '\"1\"', '\"0\"') AS BLOB) WHERE line IN (4, 7)",
    ) as copy:
        found = mismatch(copy)
    assert (found.epoch, found.sequence) == (epoch, 4)
    assert str(found).startswith(f"epoch {epoch}, event 4: the ")


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DELETE FROM event WHERE line = 5", "the next event"),
        ("DELETE FROM event WHERE line > 14 AND epoch = 1", "the event"),
        ("DELETE FROM event WHERE epoch = 2", "the event"),
        ("UPDATE event SET body = (SELECT body FROM event WHERE line = 6) WHERE line = 5", "the event's place"),
        ("UPDATE destination SET chain = zeroblob(32)", "the chain acknowledged by platform"),
        ("DELETE FROM receipt WHERE epoch = 1 AND last = 5", "the receipt"),
        ("DELETE FROM receipt WHERE epoch = 1 AND first = 6", "the receipt"),
        (
            "UPDATE destination SET acked_through = 4, chain = (SELECT chain FROM event WHERE line = (SELECT"
            " after_line + 4 FROM epoch WHERE n = 2))",
            "the last receipt of platform",
        ),
        ("DELETE FROM epoch", "the epochs"),
        ("DELETE FROM platform_key", "the key of the receipt"),
        ("UPDATE receipt SET destination = 'nobody' WHERE last = 3", "the receipt's last event"),
        ("UPDATE epoch SET after_chain = zeroblob(32) WHERE n = 2", "the last chain of the epoch before"),
        ("UPDATE epoch SET id = 'another' WHERE n = 1", "the signature of the receipt"),
    ],
)
def test_what_is_missing_moved_or_denied_is_found(ledger: Path, statement: str, what: str) -> None:
    with changed(ledger, statement) as copy:
        assert mismatch(copy).what == what


def test_a_receipt_that_somebody_else_signed_is_found(ledger: Path) -> None:
    forger = PrivateKey.make()
    with closing(sqlite3.connect(ledger)) as db:
        first, last, prev, chain = db.execute("SELECT first, last, prev, chain FROM receipt WHERE first = 6").fetchone()
        (epoch,) = db.execute("SELECT id FROM epoch WHERE n = 1").fetchone()
    forged = forger.sign(receipt_text(SITE.id, epoch, first, last, prev, chain, TIME))
    with changed(ledger, "UPDATE receipt SET signature = ? WHERE first = 6", forged) as copy:
        assert mismatch(copy).what == "the signature of the receipt"
    with changed(ledger, "UPDATE receipt SET signature = ?, key = ? WHERE first = 6", forged, forger.id) as copy:
        with closing(sqlite3.connect(copy)) as db:
            db.execute("INSERT INTO platform_key VALUES (?, ?)", (forger.id, forger.public))
            db.commit()
        assert len(proved(copy).keys) == 2
        with closing(open_for_reading(copy)) as reader, pytest.raises(Mismatch, match="the key of the receipt"):
            prove(reader, SITE.id, Period(), trusted=frozenset([PLATFORM.id]))


def test_what_is_known_from_elsewhere_must_be_there(ledger: Path) -> None:
    first, second = proved(ledger).spans
    with closing(open_for_reading(ledger)) as db:
        (at_3,) = db.execute(
            "SELECT chain FROM event WHERE line = (SELECT after_line + 3 FROM epoch WHERE n = 2)"
        ).fetchone()
    last = Claim(by="a witness", epoch=second.epoch, sequence=second.last, chain=second.chain)
    receipt = Claim(by="a witness", epoch=second.epoch, sequence=3, chain=at_3, receipted=True)
    beginning = Claim(by="another", epoch=first.epoch, sequence=0, chain=bytes(32))
    assert held_against(ledger, last, receipt, beginning).against == ["a witness", "another"]
    assert wrong(ledger, msgspec.structs.replace(last, chain=bytes(32))) == "the chain, by a witness"
    assert wrong(ledger, msgspec.structs.replace(last, epoch="unknown")) == "the epoch that a witness tells of"
    # An end that nobody has acknowledged, and every receipt with the keys they were made by: unseen without a witness.
    with changed(
        ledger, f"DELETE FROM event WHERE line > (SELECT after_line + {second.last - 1} FROM epoch WHERE n = 2)"
    ) as copy:
        assert proved(copy).spans[-1].last == second.last - 1
        assert wrong(copy, last) == "the end of the epoch, by a witness"
    with changed(ledger, "DELETE FROM receipt") as copy:
        with closing(sqlite3.connect(copy)) as db:
            db.execute("DELETE FROM platform_key")
            db.commit()
        assert proved(copy).receipts == 0
        assert wrong(copy, receipt) == "the last receipt, by a witness"


def held_against(path: Path, *claims: Claim) -> Proved:
    with closing(open_for_reading(path)) as db:
        return prove(db, SITE.id, Period(), claims=claims)


def wrong(path: Path, *claims: Claim) -> str:
    with pytest.raises(Mismatch) as caught:
        held_against(path, *claims)
    return caught.value.what


def test_rows_that_change_places_are_found(ledger: Path) -> None:
    with changed(ledger, "UPDATE event SET line = -line WHERE line IN (5, 6)") as copy:
        with closing(sqlite3.connect(copy)) as db:
            db.execute("UPDATE event SET line = 11 + line WHERE line < 0")
            db.commit()
        assert mismatch(copy).sequence == 5


def test_another_sites_ledger_is_not_this_sites(ledger: Path) -> None:
    with closing(open_for_reading(ledger)) as db, pytest.raises(Mismatch, match="the signature of the receipt"):
        prove(db, "another-site", Period())


def test_what_pruning_left_holds_even_where_the_clock_had_jumped_ahead(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    path = ledger.path

    async def run() -> None:
        clock = ledger.clock_ms
        assert isinstance(clock, Clock)
        for number, name in enumerate("abcdef"):
            ahead_ms = 86_400_000 if name == "c" else 0
            clock.now_ms += ahead_ms
            await ledger.sink("desk").put(
                Batch(records=(row(name, start_s=600 * number),), source_time_ms=NOON_MS + 600_000 * (number + 1))
            )
            clock.now_ms += 1000 - ahead_ms
        outbox = LedgerOutbox(ledger, SITE.id, SITE.urn)
        await outbox.cursor("platform")
        last = ledger.numbering.line
        await outbox.acknowledge("platform", (await outbox.identity()).epoch, last, [], b"")
        outbox.close()
        before_ms = clock.now_ms
        await asyncio.wrap_future(ledger.do(lambda db: prune_events(db, before_ms)))

    asyncio.run(run())
    ledger.close()
    found = proved(path)
    assert found.spans[0].first > 2
    assert found.events > 1
