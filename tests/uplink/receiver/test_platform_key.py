"""The platform gets another key: receivers sign by it, agents know it by the old one's word, old receipts still hold."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from tests.uplink.enrolled import SITE, enrol_at, enrolled_shipping, give_token, platform_at, rotate_at
from tests.uplink.platform import Ask, Fault, fetch, line_to, pass_on
from tests.uplink.site import MemoryOutbox
from uplink import identity, receipts
from uplink.enrolment import PlatformKey, encoded
from uplink.keys import PrivateKey
from uplink.receiver import platform_key
from uplink.receiver.platform_key import CURRENT, KEYS_MAX, KIND, Kept, PlatformKeys, TooManyKeys, rotate, standing
from uplink.receiver.serve import RunningReceiver
from uplink.receiver.storage import Document, StoreUnavailable
from uplink.receiver.storage.opening import open_storage
from uplink.succession import introduce, introduced


@pytest.fixture
async def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningReceiver]:
    """One that reads its key anew for each receipt, so that no test has to wait."""
    monkeypatch.setattr(platform_key, "CACHE_S", 0.0)
    async with platform_at(tmp_path) as running:
        await give_token(running.store)
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "site" / "identity"


def known_keys(folder: Path) -> list[str]:
    enrolment = identity.read_enrolment(folder)
    assert enrolment is not None
    return [each.key for each in enrolment.answer.platform_keys]


async def test_a_running_agent_takes_receipts_by_the_new_key_without_a_pause(
    receiver: RunningReceiver, folder: Path
) -> None:
    await enrol_at(receiver.url, folder)
    outbox = MemoryOutbox(SITE)
    async with enrolled_shipping(outbox, receiver.url, folder) as shipper:
        keys = known_keys(folder)
        for number in range(1, 4):
            outbox.record()
            assert (await shipper.upload()).problem == ""
            assert outbox.acked == number
            keys.insert(0, (await rotate(receiver.store, number)).public.key)
        assert (await shipper.upload()).problem == ""
    assert known_keys(folder) == keys
    assert [receipt.key for receipt in outbox.receipts] == keys[::-1]
    assert all(receipts.holds(SITE, outbox.epoch, receipt) for receipt in outbox.receipts)


async def test_one_that_was_away_for_several_changes_learns_them_at_once(
    receiver: RunningReceiver, folder: Path
) -> None:
    await enrol_at(receiver.url, folder)
    for number in range(20):
        await rotate(receiver.store, number)
    outbox = MemoryOutbox(SITE)
    outbox.record()
    async with enrolled_shipping(outbox, receiver.url, folder) as shipper:
        assert (await shipper.upload()).problem == ""
    assert len(known_keys(folder)) == 21
    await rotate_at(receiver.url, folder)
    enrolment = identity.read_enrolment(folder)
    assert enrolment is not None
    assert (len(enrolment.answer.platform_keys), len(enrolment.past_keys)) == (1, 20)


async def test_whoever_comes_in_later_knows_the_new_one_and_not_those_before(
    receiver: RunningReceiver, folder: Path
) -> None:
    await enrol_at(receiver.url, folder.parent / "early")
    made = (await rotate(receiver.store, 1)).public.key
    await give_token(receiver.store, "late")
    await enrol_at(receiver.url, folder, "late")
    assert known_keys(folder) == [made]


async def test_all_keys_are_told_the_one_in_use_first_and_only_public_ones(receiver: RunningReceiver) -> None:
    before = (await standing(receiver.store, 1)).public
    made = (await rotate(receiver.store, 2)).public
    told = (await fetch(receiver, "/v1/keys"))["keys"]
    assert told == [
        {"key": made.key, "public": made.public, "by": before.key, "sig": made.sig},
        {"key": before.key, "public": before.public},
    ]
    document = await receiver.store.get(KIND, CURRENT)
    assert document is not None
    assert json.loads(document.body)["past"][0].keys() == {"key", "made_ms", "until_ms"}


def forged(told: list[PlatformKey], by: PrivateKey) -> Fault:
    """Somebody in the middle answers with a receipt of his own, and tells that key too."""

    async def fault(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        body = msgspec.json.encode({"keys": told})
        if request.startswith(b"POST"):
            document = json.loads((await ask()).partition(b"\r\n\r\n")[2])
            document["receipt"] = {"key": by.id, "sig": encoded(bytes(64))}
            body = json.dumps(document).encode()
        top = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n"
        writer.write(top.encode() + b"Connection: close\r\n\r\n" + body)
        await writer.drain()

    return fault


async def test_a_key_that_no_known_one_introduces_is_not_believed(receiver: RunningReceiver, folder: Path) -> None:
    await enrol_at(receiver.url, folder)
    before = known_keys(folder)
    thief = PrivateKey.make()
    own = PlatformKey(key=thief.id, public=encoded(thief.public))
    lie = msgspec.structs.replace(introduce(thief, thief.public), by=before[0])
    outbox = MemoryOutbox(SITE)
    outbox.record()
    async with line_to(receiver) as line, enrolled_shipping(outbox, line.url, folder) as shipper:
        for told in ([own], [lie], []):
            line.faults = [forged(told, thief), forged(told, thief)]
            assert (await shipper.upload()).problem == "receipt_invalid"
            assert (outbox.acked, known_keys(folder)) == (0, before)
        line.faults = [forged([own], thief), pass_on]
        assert (await shipper.upload()).problem == "receipt_invalid"
        assert (await shipper.upload()).problem == ""


async def test_after_a_key_was_disowned_a_machine_must_enrol_again_with_the_token_that_it_has(
    receiver: RunningReceiver, folder: Path
) -> None:
    await enrol_at(receiver.url, folder)
    before = known_keys(folder)
    made = (await rotate(receiver.store, 1, disowned=True)).public.key
    outbox = MemoryOutbox(SITE)
    outbox.record()
    async with enrolled_shipping(outbox, receiver.url, folder) as shipper:
        assert (await shipper.upload()).problem == "receipt_invalid"
        assert known_keys(folder) == before
        await enrol_at(receiver.url, folder)
        assert (await shipper.upload()).problem == ""
    assert (outbox.acked, known_keys(folder)) == (1, [made])


async def test_two_receivers_over_one_store_change_within_seconds(
    tmp_path: Path, folder: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile one signs by the new key and the other by the old one; the agent takes both."""
    monkeypatch.setattr(platform_key, "CACHE_S", 1.0)
    database, outbox = {"database": postgres_url}, MemoryOutbox(SITE)
    async with platform_at(tmp_path, **database) as one, platform_at(tmp_path, **database) as other:
        await give_token(one.store)
        await enrol_at(one.url, folder)
        async with enrolled_shipping(outbox, other.url, folder) as shipper:
            assert (await shipper.upload()).problem == ""
            made = await asyncio.gather(*(rotate(each.store, 2) for each in (one, other, one)))
            kept = await standing(one.store, 3)
            assert {each.public.key for each in made} == {kept.public.key, *(past.key.key for past in kept.past[:2])}
            for seconds, url, key in (
                (0.0, other.url, kept.past[2].key.key),
                (1.1, one.url, kept.public.key),
                (0.0, other.url, kept.public.key),
            ):
                await asyncio.sleep(seconds)
                outbox.record()
                async with enrolled_shipping(outbox, url, folder) as again:
                    assert (await again.upload()).problem == ""
                assert outbox.receipts[-1].key == key


class Away:
    """A store that is away from some moment on."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.gone = False

    async def get(self, kind: str, key: str) -> Document | None:
        if self.gone:
            raise StoreUnavailable("gone")
        return self.document


async def test_a_store_that_is_away_costs_no_receipt(receiver: RunningReceiver) -> None:
    made = (await standing(receiver.store, 1)).public.key
    document = await receiver.store.get(KIND, CURRENT)
    assert document is not None
    store = Away(document)
    keys = PlatformKeys(store, 1)  # type: ignore[arg-type]
    assert (await keys.current()).id == made
    store.gone = True
    assert (await keys.current()).id == made
    with pytest.raises(StoreUnavailable):
        await PlatformKeys(store, 1).current()  # type: ignore[arg-type]


async def test_there_is_an_end_to_it(receiver: RunningReceiver) -> None:
    kept = await rotate(receiver.store, 1)
    full = msgspec.structs.replace(kept, past=kept.past * KEYS_MAX)
    await receiver.store.put(KIND, CURRENT, msgspec.json.encode(full))
    with pytest.raises(TooManyKeys):
        await rotate(receiver.store, 2)


def forked(action: Callable[[], Awaitable[object]]) -> int:
    """A child that does this for ever."""
    if pid := os.fork():
        return pid
    asyncio.run(_for_ever(action))
    os._exit(1)


async def _for_ever(action: Callable[[], Awaitable[object]]) -> None:
    while True:
        await action()


async def test_killed_at_any_moment_there_is_one_key_and_all_know_it_by_the_first(tmp_path: Path) -> None:
    """Twenty times: SIGKILL in the midst of changes, one after the other."""
    store = str(tmp_path / "receiver.db")

    async def kept(change: bool = False) -> Kept:
        opened = await open_storage(store)
        try:
            return await (rotate(opened, 2) if change else standing(opened, 1))
        finally:
            await opened.close()

    first = await kept()
    chance, changes = random.Random(7), 0
    for _ in range(20):
        pid = forked(lambda: kept(change=True))
        await asyncio.to_thread(time.sleep, chance.uniform(0.005, 0.08))
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(os.waitpid, pid, 0)
        now = await kept()
        assert len(now.past) >= changes
        changes = len(now.past)
        told = [now.public, *(past.key for past in now.past)]
        start = {first.public.key: first.signing.public}
        assert {each.key for each in introduced(start, told)} == {each.key for each in told} - {first.public.key}
    assert changes > 5
