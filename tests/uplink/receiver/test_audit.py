"""A receiver's store proves itself; whatever is changed in it is found."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.agent.cli.commands import pegcount
from tests.uplink.receiver.batches import batch_of, events, post
from tests.uplink.receiver.storages import Place, running_platform
from tests.uplink.site import chain_of
from uplink.batch import build
from uplink.proof import Mismatch
from uplink.receiver.audit import Auditable, Audited, audit
from uplink.receiver.storage.opening import open_storage

CALLS = [*events("e-1", 1, 9, quantity="0.7"), *events("e-1", 10, 10, type="electricity"), *events("e-1", 11, 12)]
AGAIN = [
    event.replace(b'"e-1"', b'"e-2"').replace(b'"sequence":"9"', b'"sequence":"1"') for event in CALLS[8:9]
] + events("e-2", 2, 4, id="another")


async def filled(storage: Place) -> None:
    """Two sites. The first: twelve events in three batches, one refused, one withheld; then an epoch that repeats the ninth."""
    async with running_platform(storage) as platform:
        withheld = msgspec.structs.replace(batch_of(CALLS, 12, 12).head, count=0, withheld="too_large")
        for batch in (batch_of(CALLS, 1, 5), batch_of(CALLS, 4, 11), build(withheld, [])):
            assert (await post(platform, batch))[0] == 200
        after = {"after_epoch": "e-1", "after_chain": chain_of(CALLS)}
        assert (await post(platform, batch_of(AGAIN, 1, 2, "e-2", **after)))[0] == 200
        other = events("e-1", 1, 30, site="site-2")
        assert (await post(platform, batch_of(other, 1, 30), site="site-2"))[0] == 200


async def audited(storage: str) -> Audited:
    store = await open_storage(storage)
    try:
        assert isinstance(store, Auditable)
        return await audit(store)
    finally:
        await store.close()


async def test_all_of_it_holds(storage: Place) -> None:
    await filled(storage)
    assert await audited(storage.books or storage.store) == Audited(sites=2, epochs=3, events=44, counted=41, busy=[])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "receiver.db"
    asyncio.run(filled(Place(str(path))))
    return path


@contextmanager
def changed(path: Path, statement: str) -> Iterator[Path]:
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
        target.execute(statement)
        target.commit()
    yield copy
    for part in copy.parent.glob("copy.db*"):
        part.unlink()


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            "UPDATE event SET body = CAST(replace(CAST(body AS TEXT), '0.7', '0.8') AS BLOB) WHERE seq = 2",
            "the chain where",
        ),
        ("DELETE FROM event WHERE seq = 4 AND epoch_id = 1", "the next event"),
        ("DELETE FROM event WHERE seq = 12 AND epoch_id = 1", "the last event"),
        ("UPDATE event SET body = x'' WHERE seq = 3", "the event"),
        ("UPDATE event SET status = 1 WHERE seq = 3 AND epoch_id = 1", "events counted"),
        ("UPDATE event SET status = 0 WHERE seq = 10 AND epoch_id = 1", "the counted event"),
        ("UPDATE batch SET chain = zeroblob(32) WHERE last = 11", "the chain where"),
        ("UPDATE epoch SET chain = zeroblob(32)", "the chain after"),
        (
            "UPDATE total SET quantity = '1' WHERE site_id = 1",
            "site site-1, 2026-11-20: events and sum of voice.minutes",
        ),
        ("UPDATE total SET events = events + 1 WHERE site_id = 2", "site site-2"),
        ("DELETE FROM total", "site site-1"),
    ],
)
async def test_what_was_changed_is_found(store: Path, statement: str, what: str) -> None:
    with changed(store, statement) as copy, pytest.raises(Mismatch) as caught:
        await audited(str(copy))
    assert caught.value.what.startswith(what)


def test_the_command_tells_it(store: Path) -> None:
    done = pegcount("platform", "verify", "--store", store)
    assert (done.status, done.out) == (0, "2 sites, 3 epochs, 44 events, 41 of them counted: all hold\n")
    assert pegcount("platform", "verify", "--store", store, "--site", "site-2").out.startswith("1 sites, 1 epochs, 30 ")
    with changed(store, "DELETE FROM event WHERE seq = 4") as copy:
        done = pegcount("platform", "verify", "--store", copy)
    assert (done.status, done.out) == (
        1,
        "does not hold: epoch e-1 of site site-1, event 4: the next event: expected 4, found 5\n",
    )
    assert pegcount("platform", "verify", "--store", "/nowhere/at/all.db").status == 74
