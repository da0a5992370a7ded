"""A store that was restored from an older copy heals by itself: its sites send again what they hold, and state what is lost."""

from pathlib import Path
from typing import Any

import pytest

from tests.uplink.platform import Clock, counted_ids, fetch, shipping
from tests.uplink.receiver.batches import batch_of, post
from tests.uplink.receiver.damage import Copies
from tests.uplink.receiver.storages import Place, Platform, opened, running_platform
from tests.uplink.receiver.test_audit import audited, of_log
from tests.uplink.site import MemoryOutbox
from uplink.batch import Batch, build
from uplink.receiver.fleet.gathering import Gathering


@pytest.fixture
def copies(request: pytest.FixtureRequest, storage: Place, tmp_path: Path) -> Copies:
    cluster = request.getfixturevalue("cluster") if storage.store.startswith("postgresql") else None
    nats = request.getfixturevalue("nats_server") if storage.store.startswith("nats") else None
    return Copies(storage, cluster, nats, tmp_path)


async def sent(storage: Place, outbox: MemoryOutbox, *, problem: str = "") -> list[str]:
    """What problems stand after an upload."""
    async with (
        running_platform(storage) as receiver,
        shipping(outbox, receiver.url, Clock(), max_events=10) as site,
    ):
        assert (await site.upload()).problem == problem
        await receiver.settle("site-1")
        return [each.problem.code for each in site.problems()]


async def counted(storage: Place) -> list[str]:
    async with running_platform(storage) as receiver:
        return await counted_ids(receiver)


async def went_back(storage: Place, copies: Copies, outbox: MemoryOutbox) -> None:
    """30 events, a copy, 70 more, and the copy put back."""
    outbox.record(30)
    assert await sent(storage, outbox) == []
    copies.keep()
    outbox.record(70)
    assert await sent(storage, outbox) == []
    copies.put_back()
    assert len(await counted(storage)) == 30


async def test_what_the_site_still_holds_comes_again(storage: Place, copies: Copies) -> None:
    outbox = MemoryOutbox()
    await went_back(storage, copies, outbox)
    outbox.record(5)
    assert await sent(storage, outbox) == []
    assert await counted(storage) == outbox.ids()
    assert outbox.epochs_begun == []
    assert (await audited(storage.books or storage.store)).lost == 0


async def test_what_the_site_has_pruned_is_stated_as_lost_and_everything_else_comes(
    storage: Place, copies: Copies
) -> None:
    outbox = MemoryOutbox()
    await went_back(storage, copies, outbox)
    outbox.pruned = 55
    outbox.record(5)
    assert await sent(storage, outbox) == ["loss_stated"]
    assert outbox.epochs_begun == []
    assert await counted(storage) == outbox.ids()[:30] + outbox.ids()[55:]
    outbox.record(1)
    assert await sent(storage, outbox) == []
    found = await audited(storage.books or storage.store)
    assert (found.events, found.counted, found.lost) == (106, 81, 25)
    if storage.books:
        assert (await of_log(storage, books=storage.books)).waiting == 0
    async with running_platform(storage) as receiver:
        await shown(receiver)


async def shown(receiver: Platform) -> None:
    """To whoever bills: in the gaps, at the site, batch by batch, and on the fleet page."""
    (gap,) = (await fetch(receiver, "/v1/gaps"))["gaps"]
    assert [(each["epoch"], each["lost"]) for each in gap["epochs"]] == [("epoch-1", 25)]
    (epoch,) = (await fetch(receiver, "/v1/sites/site-1"))["epochs"]
    assert (epoch["acked_through"], epoch["counted"], epoch["lost"]) == (106, 81, 25)
    receipts = (await fetch(receiver, "/v1/sites/site-1/receipts?epoch=epoch-1"))["receipts"]
    assert [(each["first"], each["last"]) for each in receipts if each["lost"]] == [(31, 55)]
    known = await Gathering(receiver.store, Clock()).one("site-1")
    assert known is not None
    assert known.lost == 25


def stating(outbox: MemoryOutbox, start: int, end: int, **other: Any) -> Batch:
    told: dict[str, Any] = {"prev": bytes(32), "count": 0, "lost": "pruned", **other}
    return build(batch_of(outbox.bodies, start, end, "epoch-1", **told).head, [])


async def test_a_loss_that_is_stated_of_what_is_here_changes_nothing(storage: Place) -> None:
    outbox = MemoryOutbox()
    outbox.record(40)
    async with running_platform(storage) as receiver:
        assert (await post(receiver, batch_of(outbox.bodies, 1, 20, "epoch-1")))[0] == 200
        for first, last, status, code in (
            (1, 20, 200, None),
            (22, 30, 409, "gap"),
            (11, 20, 200, None),
            (1, 30, 200, None),
        ):
            answer = await post(receiver, stating(outbox, first, last))
            assert (answer[0], answer[1].get("code")) == (status, code)
        assert (await post(receiver, stating(outbox, 15, 20, chain=b"x" * 32)))[1]["code"] == "conflict"
        assert (await post(receiver, batch_of(outbox.bodies, 31, 40, "epoch-1")))[0] == 200
        assert (await post(receiver, batch_of(outbox.bodies, 40, 39, "epoch-1")))[0] == 409
        assert await counted_ids(receiver) == outbox.ids()[:20] + outbox.ids()[30:]
    assert (await audited(storage.books or storage.store)).lost == 10


@pytest.mark.parametrize(
    "other", [{"prev": b"x" * 32}, {"count": 3}, {"withheld": "too_large"}, {"lost": "No code"}, {"chain": b"short"}]
)
async def test_a_statement_that_is_none_is_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    outbox = MemoryOutbox()
    outbox.record(3)
    async with running_platform(Place(str(tmp_path / "r.db"))) as receiver:
        assert (await post(receiver, stating(outbox, 1, 3, **other)))[1]["code"] == "bad_head"
    async with opened(Place(str(tmp_path / "r.db"))) as store:
        assert await store.epochs("site-1") == []
