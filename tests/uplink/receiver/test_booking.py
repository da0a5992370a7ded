"""The storages against a model: random sends, repetitions, cuts, twins and epochs, in any order."""

import sqlite3
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.uplink.receiver.storages import Place as StoragePlace
from tests.uplink.receiver.storages import opened, settled
from tests.uplink.site import chain_of, event_body
from uplink.batch import Head, build
from uplink.receiver.placing import Append, Duplicate
from uplink.receiver.screen import Place, screen
from uplink.receiver.storage import Incoming, Storage, TotalsQuery
from uplink.receiver.storage.booking import book
from uplink.receiver.storage.schema import open_writer

LENGTH = 9
QUANTITIES = ["0.1", "2", "-0.3", "1.000000000001", "0.7", "5", "-5", "0.2", "0.04"]
sites = count(1)


def history(site: str, epoch: str, prefix: str) -> list[bytes]:
    """Events 1..9; the fifth cannot be counted."""
    return [
        event_body(
            site,
            epoch,
            seq,
            id=f"{prefix}-{seq}",
            quantity=QUANTITIES[seq - 1],
            time=f"2026-11-20T10:0{seq}:00Z",
            type="electricity" if seq == 5 else "voice.minutes",
        )
        for seq in range(1, LENGTH + 1)
    ]


def sent(site: str, name: str) -> tuple[str, list[bytes]]:
    """`twin` shares the epoch and parts after event 4; `reissued` has the same ids in a later epoch."""
    original = history(site, "e-1", "call")
    return {
        "original": ("e-1", original),
        "twin": ("e-1", original[:4] + history(site, "e-1", "other")[4:]),
        "reissued": ("e-2", history(site, "e-2", "call")),
    }[name]


def incoming(site: str, name: str, first: int, length: int) -> Incoming:
    epoch, bodies = sent(site, name)
    last = min(LENGTH, first + length - 1)
    head = Head(
        epoch=epoch,
        first=first,
        last=last,
        count=last - first + 1,
        prev=chain_of(bodies[: first - 1]),
        chain=chain_of(bodies[:last]),
        head_time_s=1,
    )
    events = screen(Place(site, epoch), first, bodies[first - 1 : last])
    encoded = build(head, bodies[first - 1 : last]).body
    return Incoming(site=site, head=head, events=events, now_ms=1, encoded=encoded)


_sends = st.lists(
    st.tuples(st.sampled_from(["original", "reissued", "twin"]), st.integers(1, LENGTH), st.integers(0, LENGTH)),
    min_size=1,
    max_size=25,
)


@pytest.fixture
async def store(storage: StoragePlace) -> AsyncIterator[Storage]:
    async with opened(storage) as store:
        yield store


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_sends)
async def test_c13_each_id_is_counted_once_and_totals_are_the_sum_of_what_is_counted(
    store: Storage, sends: list[tuple[str, int, int]]
) -> None:
    site = f"site-{next(sites)}"
    acknowledged: dict[str, int] = {}
    for name, first, length in sends:
        appended = await store.append(incoming(site, name, first, length))
        if isinstance(appended.placement, Append | Duplicate):
            epoch = sent(site, name)[0]
            acknowledged[epoch] = max(acknowledged.get(epoch, 0), appended.acked_through)
    await settled(store, site)
    stored = await store.events(site, 0, 999)
    assert [each.position for each in stored] == sorted({each.position for each in stored})
    for epoch, through in acknowledged.items():
        assert sorted(each.seq for each in stored if each.epoch == epoch) == list(range(1, through + 1))
    counted = [msgspec.json.decode(each.body) for each in stored if each.status == "counted"]
    ids = {each["id"] for each in counted}
    assert len(ids) == len(counted)
    assert not any(each.endswith("-5") for each in ids)
    assert ids >= {msgspec.json.decode(each.body)["id"] for each in stored if each.status == "known"}
    totals = await store.totals(TotalsQuery(site=site))
    assert sum(each.events for each in totals) == len(counted)
    assert sum((Decimal(each.quantity) for each in totals), Decimal(0)) == sum(
        (Decimal(each["data"]["quantity"]) for each in counted), Decimal(0)
    )
    for state in await store.epochs(site):
        mine = [each.status for each in stored if each.epoch == state.epoch]
        assert (state.counted, state.known, state.rejected) == tuple(
            mine.count(status) for status in ("counted", "known", "rejected")
        )


def test_c7_a_batch_that_fails_leaves_neither_rows_nor_watermark(tmp_path: Path) -> None:
    db = open_writer(str(tmp_path / "r.db"))
    db.conn.execute(
        "CREATE TRIGGER full BEFORE INSERT ON event WHEN NEW.seq = 7 BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with db.atomic():
        book(db.conn, [incoming("site-1", "original", 1, 3)])
    with pytest.raises(sqlite3.IntegrityError, match="disk full"), db.atomic():
        book(db.conn, [incoming("site-1", "original", 4, 6)])
    counts = [
        db.conn.execute(query).fetchone()[0]
        for query in ("SELECT count(*) FROM event", "SELECT acked_through FROM epoch")
    ]
    assert counts == [3, 3]
    assert db.conn.execute("SELECT events FROM total").fetchall() == [(3,)]
    db.close()
