"""A destination that lacks a file, an enrolment or a package: the agent counts, says so, and goes on when it is there."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.config import load
from agent.ledger.snapshot import Snapshot
from agent.service import daemon
from agent.service.state import AgentState
from tests.uplink.enrolled import SITE, enrol_at, give_token, platform_at
from tests.uplink.platform import TOKEN, TOKENS, held
from tests.uplink.test_schedule import until
from uplink.receiver.serve import RunningReceiver

ROW = (
    '"","101","+493012345678","office","","PJSIP/101-00000001","PJSIP/line-00000002","Dial","x",'
    '"2026-11-20 10:00:00","2026-11-20 10:00:05","2026-11-20 10:01:05",65,60,"ANSWERED","DOCUMENTATION","1795168800.1",""\n'
)


@pytest.fixture
async def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningReceiver]:
    monkeypatch.setattr(daemon, "REOPEN_EVERY_S", 0.05)
    async with platform_at(tmp_path, tokens=TOKENS) as running:
        yield running


def configured(tmp_path: Path, *tables: str) -> Path:
    cdr = tmp_path / "Master.csv"
    cdr.write_text(ROW)
    path = tmp_path / "pegcount.toml"
    path.write_text(
        f'[site]\nid = "{SITE}"\nprovider = "acme"\n[ledger]\npath = "{tmp_path}/state/ledger.db"\n[web]\nenabled = false\n'
        f'[[source]]\nname = "pbx"\nkind = "asterisk_cdr"\npath = "{cdr}"\nsettle_s = 0\n' + "\n".join(tables)
    )
    return path


async def until_held(receiver: RunningReceiver) -> list[str]:
    for _ in range(200):
        if len(events := await held(receiver, SITE)) == 3:
            return sorted(each["event"]["type"] for each in events)
        await asyncio.sleep(0.05)
    raise TimeoutError


async def ended(running: "asyncio.Task[int]") -> int:
    os.kill(os.getpid(), signal.SIGTERM)
    return await running


async def test_a_token_that_is_put_there_later_is_taken_without_a_restart_by_hand(
    receiver: RunningReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, told = tmp_path / "token", list[str]()
    snapshot = AgentState.snapshot

    def seen(state: AgentState) -> Snapshot:
        taken = snapshot(state)
        told.extend(f"{each.code}: {each.text}" for each in taken.problems)
        return taken

    monkeypatch.setattr(AgentState, "snapshot", seen)
    monkeypatch.setattr(daemon, "STATUS_EVERY_S", 0.05)
    uplink = f'[uplink]\nurl = "{receiver.url}"\ntoken_file = "{token}"\njitter_s = 0\n'
    running = asyncio.create_task(daemon.run(load(configured(tmp_path, uplink))))
    await until(lambda: f"credentials: {token}: No such file or directory" in told)
    token.write_text(TOKEN + "\n")
    assert await until_held(receiver) == ["call", "seat.day", "voice.minutes"]
    assert await ended(running) == 0


async def test_a_machine_that_is_enrolled_while_it_counts_reports_at_once(
    receiver: RunningReceiver, tmp_path: Path
) -> None:
    uplink = f'[uplink]\nurl = "{receiver.url}"\njitter_s = 0\n'
    running = asyncio.create_task(daemon.run(load(configured(tmp_path, uplink))))
    await asyncio.sleep(0.3)
    await give_token(receiver.store)
    await enrol_at(receiver.url, tmp_path / "state" / "identity")
    assert await until_held(receiver) == ["call", "seat.day", "voice.minutes"]
    assert await ended(running) == 0


async def test_a_destination_that_cannot_be_opened_holds_up_no_other(receiver: RunningReceiver, tmp_path: Path) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, tmp_path / "state" / "identity")
    uplink = f'[uplink]\nurl = "{receiver.url}"\njitter_s = 0\n'
    lago = f'[[destination]]\nname = "lago"\nkind = "lago"\nurl = "{receiver.url}"\ntoken_file = "{tmp_path}/missing"\n'
    running = asyncio.create_task(daemon.run(load(configured(tmp_path, uplink, lago))))
    assert await until_held(receiver) == ["call", "seat.day", "voice.minutes"]
    assert await ended(running) == 0


async def test_a_machine_that_is_enrolled_as_another_site_does_not_count(
    receiver: RunningReceiver, tmp_path: Path
) -> None:
    await give_token(receiver.store)
    await enrol_at(receiver.url, tmp_path / "state" / "identity")
    path = configured(tmp_path, f'[uplink]\nurl = "{receiver.url}"\n')
    path.write_text(path.read_text().replace(SITE, "00000000-0000-4000-8000-000000000000"))
    assert await daemon.run(load(path)) == 78
    assert not (tmp_path / "state" / "ledger.db").exists()
