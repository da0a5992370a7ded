"""Keys that change under a running agent: its own, by hand, and the platform's."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from agent.config import load
from agent.ledger.proving import Period, prove
from agent.ledger.store import open_for_reading
from agent.service import daemon
from tests.uplink.enrolled import SITE, enrol_at, give_token, keys_at, platform_at, rotate_at
from uplink.identity import read_enrolment
from uplink.receiver import platform_key
from uplink.receiver.platform_key import rotate
from uplink.witness import read


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(150):
        if await holds():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("not within 15 s")


async def test_a_running_agent_goes_on_by_its_new_key_and_under_the_platforms_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(platform_key, "CACHE_S", 0.0)
    caplog.set_level("INFO")
    folder, path = tmp_path / "identity", tmp_path / "pegcount.toml"
    async with platform_at(tmp_path) as receiver:
        await give_token(receiver.store)
        first = (await enrol_at(receiver.url, folder)).answer
        path.write_text(
            f'[site]\nid = "{SITE}"\nprovider = "acme"\n[ledger]\npath = "{tmp_path}/ledger.db"\n[web]\nenabled = false\n'
            f'[uplink]\nurl = "{receiver.url}"\nauth = "key"\ninterval_s = 1\njitter_s = 0\n'
        )

        async def state(key: str, wanted: str) -> bool:
            return any(each.key == key and each.state == wanted for each in await keys_at(receiver.store))

        async def learned() -> bool:
            enrolment = read_enrolment(folder)
            return enrolment is not None and made in [each.key for each in enrolment.answer.platform_keys]

        running = asyncio.create_task(daemon.run(load(path)))
        await until(lambda: state(first.key, "active"))
        second = (await rotate_at(receiver.url, folder)).answer
        await until(lambda: state(second.key, "active"))
        made = (await rotate(receiver.store, 1)).public.key
        await until(learned)
        assert await state(first.key, "retired")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(running, 10) == 0
    kept = read(folder)
    assert kept is not None
    assert (kept.site, kept.end, kept.receipt.key) == (SITE, 0, made)
    with closing(open_for_reading(tmp_path / "ledger.db")) as db:
        assert len(prove(db, SITE, Period(), claims=kept.claims()).against) == 1
    assert caplog.text.count(" runs: ") == 1
    assert "receipt" not in [record.message for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    keys = (*(each.key for each in first.platform_keys), made)
    db = open_for_reading(tmp_path / "ledger.db")
    try:
        assert set(prove(db, SITE, Period(), trusted=frozenset(keys)).keys) <= set(keys)
    finally:
        db.close()
