"""An operator asks a site to send again: it does, once, as far as its ledger reaches, and nothing is counted twice."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.uplink.platform import AUTHORIZATION, TOKENS, Clock, counted_ids, receiver_at, shipping
from tests.uplink.receiver.storages import Platform, running_platform, settled
from tests.uplink.site import MemoryOutbox
from uplink.receiver.acts import of_site
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.tokens import Tokens, token_hash
from uplink.shipper import Shipper
from uplink.upload import IN_FLIGHT_MAX

Where = Platform | RunningReceiver


async def call(receiver: Where, method: str, body: Any = None, token: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else AUTHORIZATION
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, f"{receiver.url}/v1/sites/site-1/replay", json=body) as response,
    ):
        return response.status, await response.json(content_type=None)


async def ask(receiver: Where, first: int, epoch: str = "epoch-1") -> None:
    await settled(receiver.store, "site-1")
    assert (await call(receiver, "POST", {"epoch": epoch, "from": first}))[0] == 200


async def standing(receiver: Where) -> dict[str, Any] | None:
    document: dict[str, Any] | None = (await call(receiver, "GET"))[1]["replay"]
    return document


async def counted(receiver: Where) -> list[str]:
    await settled(receiver.store, "site-1")
    return await counted_ids(receiver)


@asynccontextmanager
async def site_at(receiver: Where, outbox: MemoryOutbox) -> AsyncIterator[Shipper]:
    async with shipping(outbox, receiver.url, Clock(), max_events=10) as shipper:
        yield shipper


@pytest.fixture
async def receiver(storage: str) -> AsyncIterator[Platform]:
    async with running_platform(storage) as platform:
        yield platform


def full_site(count: int = 100) -> MemoryOutbox:
    outbox = MemoryOutbox()
    outbox.record(count)
    return outbox


async def test_a_site_sends_again_what_is_asked_and_nothing_is_counted_twice(receiver: Platform) -> None:
    outbox = full_site()
    async with site_at(receiver, outbox) as site:
        await site.upload()
        await ask(receiver, 41)
        report = await site.upload()
        assert (report.sent, report.acked, report.problem) == (60, 0, "")
        again = [(each.first, each.last) for each in outbox.uploads[-6:]]
        assert again == [(first, first + 9) for first in range(41, 101, 10)]
        assert {each.status for each in outbox.uploads[-6:]} == {"duplicate"}
        assert (await site.upload()).sent == 0
        assert await standing(receiver) is None
        assert (await site.upload()).sent == 0
    assert await counted(receiver) == outbox.ids()
    assert outbox.acked == 100


async def test_what_is_new_meanwhile_comes_with_it(receiver: Platform) -> None:
    outbox = full_site()
    async with site_at(receiver, outbox) as site:
        await site.upload()
        await ask(receiver, 95)
        outbox.record(7)
        assert (await site.upload()).acked == 7
        await site.upload()
        assert await standing(receiver) is None
    assert await counted(receiver) == outbox.ids()


async def test_a_site_that_ends_in_the_midst_goes_on_where_it_was(receiver: Platform) -> None:
    outbox = full_site()
    async with site_at(receiver, outbox) as site:
        await site.upload()
    await ask(receiver, 1)
    async with site_at(receiver, outbox) as site:

        async def halt_after(_: object, count: int = 4) -> None:
            site.stopping = len(outbox.uploads) >= uploads + count

        uploads, log_upload = len(outbox.uploads), outbox.log_upload

        async def logged(destination: str, entry: Any) -> None:
            await log_upload(destination, entry)
            await halt_after(entry)

        outbox.log_upload = logged  # type: ignore[method-assign]
        await site.upload()
        outbox.log_upload = log_upload  # type: ignore[method-assign]
    asked = await standing(receiver)
    assert asked is not None
    assert asked["from"] == 1
    assert 31 <= asked["next"] <= 31 + 10 * IN_FLIGHT_MAX
    async with site_at(receiver, outbox) as site:
        assert (await site.upload()).sent == 101 - asked["next"]
        await site.upload()
    assert await standing(receiver) is None
    assert await counted(receiver) == outbox.ids()


@pytest.mark.parametrize("asked_first", [True, False])
async def test_a_receiver_restored_from_an_older_copy_gets_back_what_it_lost(tmp_path: Path, asked_first: bool) -> None:
    outbox = full_site(30)
    async with receiver_at(tmp_path) as receiver, site_at(receiver, outbox) as site:
        await site.upload()
    shutil.copy(tmp_path / "receiver.db", tmp_path / "older")
    outbox.record(70)
    async with receiver_at(tmp_path) as receiver, site_at(receiver, outbox) as site:
        await site.upload()
    shutil.copy(tmp_path / "older", tmp_path / "receiver.db")
    for rest in tmp_path.glob("receiver.db-*"):
        rest.unlink()
    async with receiver_at(tmp_path) as receiver, site_at(receiver, outbox) as site:
        assert len(await counted(receiver)) == 30
        if asked_first:
            await ask(receiver, 1)
        assert (await site.upload()).problem == ""
        assert await counted(receiver) == outbox.ids()
        if not asked_first:
            await ask(receiver, 1)
            assert (await site.upload()).sent == 100
        await site.upload()
        assert await standing(receiver) is None
        assert await counted(receiver) == outbox.ids()


async def test_what_is_asked_outlasts_the_receiver_that_was_asked(tmp_path: Path) -> None:
    outbox = full_site()
    async with receiver_at(tmp_path) as receiver, site_at(receiver, outbox) as site:
        await site.upload()
        await ask(receiver, 81)
    async with receiver_at(tmp_path) as receiver, site_at(receiver, outbox) as site:
        assert (await site.upload()).sent == 20


async def test_what_is_pruned_is_told_and_holds_up_nothing(receiver: Platform) -> None:
    outbox = full_site()
    async with site_at(receiver, outbox) as site:
        await site.upload()
        outbox.pruned = 50
        await ask(receiver, 11)
        outbox.record(25)
        report = await site.upload()
        assert (report.acked, report.problem, outbox.acked) == (25, "", 125)
        (problem,) = site.problems()
        assert (problem.problem.code, "event 11" in problem.detail) == ("history_lost", True)
        assert (await call(receiver, "DELETE"))[1]["replay"] is None
        await site.upload()
        assert site.problems() == []
    assert await counted(receiver) == outbox.ids()


WRONG: tuple[tuple[Any, str], ...] = (
    ({"epoch": "epoch-1", "from": 0}, "bad_request"),
    ({"epoch": "epoch-1", "from": 101}, "bad_request"),
    ({"epoch": "another", "from": 1}, "bad_request"),
    ({"epoch": "epoch-1"}, "bad_request"),
    ({"epoch": "epoch-1", "from": 1, "to": 2}, "bad_request"),
    ([[[[]]]], "bad_request"),
    ("x" * 5000, "too_large"),
)


async def test_what_cannot_be_sent_again_is_not_asked(receiver: Platform) -> None:
    outbox = full_site()
    async with site_at(receiver, outbox) as site:
        await site.upload()
    for body, code in WRONG:
        status, document = await call(receiver, "POST", body)
        assert (status >= 400, document["code"]) == (True, code)
    assert await standing(receiver) is None


async def test_who_asked_and_who_withdrew_is_noted(receiver: Platform) -> None:
    outbox = full_site()
    async with site_at(receiver, outbox) as site:
        await site.upload()
    await ask(receiver, 7)
    await call(receiver, "DELETE")
    await call(receiver, "DELETE")
    noted = [(each.who, each.what, each.detail) for each in await of_site(receiver.store, "site-1", 9)]
    # printf a-token | sha256sum
    who = "token 1f6076e3"
    assert noted == [(who, "resend_withdrawn", ""), (who, "resend", "from 7 of epoch-1")]


async def test_only_operators_ask(tmp_path: Path) -> None:
    tokens = Tokens(write=TOKENS.write, read={token_hash("reader"): "*"}, operate={token_hash("other"): "site-2"})
    running = await serve(ReceiverSettings(database=str(tmp_path / "r.db"), tokens=tokens, port=0))
    try:
        for method in ("POST", "GET", "DELETE"):
            for token, status in (("a-token", 401), ("reader", 401), ("other", 403)):
                body = {"epoch": "epoch-1", "from": 1} if method == "POST" else None
                assert (await call(running, method, body, token))[0] == status
    finally:
        await running.close()
