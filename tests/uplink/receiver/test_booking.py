"""The SQLite store against a model: random sends, repetitions, cuts, twins and epochs, in any order."""

import sqlite3
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.uplink.site import chain_of, event_body
from uplink.batch import Head
from uplink.receiver.placing import Append, Duplicate
from uplink.receiver.screen import Place, screen
from uplink.receiver.storage import Appended, Incoming
from uplink.receiver.storage.booking import book
from uplink.receiver.storage.schema import open_writer
from uplink.receiver.storage.sqlite import _totals

LENGTH = 9
QUANTITIES = ["0.1", "2", "-0.3", "1.000000000001", "0.7", "5", "-5", "0.2", "0.04"]


def history(epoch: str, prefix: str) -> list[bytes]:
    """Events 1..9; the fifth cannot be counted."""
    return [
        event_body(
            "site-1",
            epoch,
            seq,
            id=f"{prefix}-{seq}",
            quantity=QUANTITIES[seq - 1],
            time=f"2026-11-20T10:0{seq}:00Z",
            type="electricity" if seq == 5 else "voice.minutes",
        )
        for seq in range(1, LENGTH + 1)
    ]


SENT = {
    "original": ("e-1", history("e-1", "call")),
    "twin": ("e-1", history("e-1", "call")[:4] + history("e-1", "other")[4:]),
    "reissued": ("e-2", history("e-2", "call")),
}
"""`twin` shares the epoch and parts after event 4; `reissued` has the same ids in a later epoch."""


def send(conn: object, name: str, first: int, count: int) -> Appended:
    epoch, bodies = SENT[name]
    last = min(LENGTH, first + count - 1)
    head = Head(
        epoch=epoch,
        first=first,
        last=last,
        count=last - first + 1,
        prev=chain_of(bodies[: first - 1]),
        chain=chain_of(bodies[:last]),
        head_time_s=1,
    )
    events = screen(Place("site-1", epoch), first, bodies[first - 1 : last])
    return book(conn, Incoming(site="site-1", head=head, events=events, now_ms=1))  # type: ignore[arg-type]


_sends = st.lists(
    st.tuples(st.sampled_from(sorted(SENT)), st.integers(1, LENGTH), st.integers(0, LENGTH)), min_size=1, max_size=25
)


@settings(max_examples=60, deadline=None)
@given(_sends)
def test_each_id_is_counted_once_and_totals_are_the_sum_of_what_is_counted(sends: list[tuple[str, int, int]]) -> None:
    db = open_writer(":memory:")
    acknowledged: dict[str, int] = {}
    for name, first, count in sends:
        with db.atomic():
            appended = send(db.conn, name, first, count)
        epoch = SENT[name][0]
        if isinstance(appended.placement, Append | Duplicate):
            acknowledged[epoch] = max(acknowledged.get(epoch, 0), appended.acked_through)
    rows = db.conn.execute(
        "SELECT epoch.name, seq, status, event.id, quantity FROM event JOIN epoch ON epoch.id = epoch_id"
    )
    stored = rows.fetchall()
    for epoch, through in acknowledged.items():
        assert sorted(row[1] for row in stored if row[0] == epoch) == list(range(1, through + 1))
    counted = [(row[3], row[4]) for row in stored if row[2] == 0]
    assert len({each for each, _ in counted}) == len(counted)
    assert not any(each.endswith("-5") for each, _ in counted)
    assert {each for each, _ in counted} | {""} >= {row[3] for row in stored if row[2] == 1}
    totals = _totals(db.conn, "site-1", False, "")
    assert sum(each.events for each in totals) == len(counted)
    assert sum((Decimal(each.quantity) for each in totals), Decimal(0)) == sum(
        (Decimal(quantity) for _, quantity in counted), Decimal(0)
    )
    db.close()


def test_c7_a_batch_that_fails_leaves_neither_rows_nor_watermark() -> None:
    db = open_writer(":memory:")
    db.conn.execute(
        "CREATE TRIGGER full BEFORE INSERT ON event WHEN NEW.seq = 7 BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with db.atomic():
        send(db.conn, "original", 1, 3)
    with pytest.raises(sqlite3.IntegrityError, match="disk full"), db.atomic():
        send(db.conn, "original", 4, 6)
    counts = [
        db.conn.execute(query).fetchone()[0]
        for query in ("SELECT count(*) FROM event", "SELECT acked_through FROM epoch")
    ]
    assert counts == [3, 3]
    assert db.conn.execute("SELECT events FROM total").fetchall() == [(3,)]
    db.close()
