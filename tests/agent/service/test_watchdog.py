"""The service manager hears of life only where work is done."""

import asyncio
import socket
import threading
from pathlib import Path

import pytest

from agent.config.tables import Config, Web
from agent.config.tables import Ledger as LedgerSettings
from agent.service import Agent
from tests.agent.ledger.desk import METERING, SITE


async def test_a15_a_ledger_that_does_nothing_any_more_keeps_the_watchdog_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = str(tmp_path / "notify")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)

    def heard() -> int:
        lives = 0
        while True:
            try:
                lives += manager.recv(4096) == b"WATCHDOG=1"
            except BlockingIOError:
                return lives

    ledger = LedgerSettings(path=str(tmp_path / "ledger.db"))
    agent = Agent(Config(site=SITE, metering=METERING, ledger=ledger, web=Web(enabled=False)))
    await agent.start()
    await asyncio.sleep(0.5)
    assert heard() >= 3
    hang = threading.Event()
    agent.ledger.do(lambda _: hang.wait(10))
    await asyncio.sleep(0.2)
    heard()
    await asyncio.sleep(0.5)
    assert heard() == 0
    hang.set()
    await asyncio.sleep(0.3)
    assert heard() >= 1
    await agent.stop()
    manager.close()
