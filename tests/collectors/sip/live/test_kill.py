"""Agent and capture service, each killed by SIGKILL while calls go on: the ledger has each call, and once."""

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collectors.sip.flows import Exchange
from tests.collectors.sip.live.network import Network, network
from tests.collectors.sip.live.test_service import PHONE, PROXY, Service

__all__ = ["network"]

CALLS = 90


@pytest.fixture
def service(tmp_path: Path, network: Network) -> Iterator[Service]:
    one = Service(tmp_path, network)
    with (tmp_path / "pegcount.toml").open("a") as config:
        config.write(f'[ledger]\npath = "{tmp_path}/ledger.db"\n[web]\nenabled = false\n')
    yield one
    one.kill(signal.SIGTERM)


def start_agent(service: Service) -> subprocess.Popen[bytes]:
    command = (sys.executable, "-m", "agent.cli", "run", "--config", str(service.folder / "pegcount.toml"))
    with (service.folder / "agent.log").open("ab") as log:
        return service.network.start(*command, stderr=log)


def ledger(service: Service) -> list[tuple[str, str]]:
    """Dialled number and ending of each call."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{service.folder}/ledger.db?mode=ro", uri=True)) as db:
            return db.execute("SELECT dialled, ending FROM call ORDER BY dialled").fetchall()
    except sqlite3.OperationalError:
        return []  # there is none yet


def eventually(service: Service, wanted: list[tuple[str, str]]) -> None:
    deadline = time.monotonic() + 30
    while (last := ledger(service)) != wanted:
        assert time.monotonic() < deadline, last
        time.sleep(0.2)


def call(number: int) -> Exchange:
    return Exchange(f"killed-{number}", PHONE, PROXY, "101", str(2_000 + number))


def test_an_agent_killed_again_and_again_counts_every_call_once(service: Service) -> None:
    agent = start_agent(service)
    for number in range(CALLS):
        packets = call(number).talk(0, 1, 2)
        service.send(packets[: number % 7])
        if number % 30 == 20:
            agent.kill()
            agent.wait(10)
        service.send(packets[number % 7 :])
        if number % 30 == 25:
            agent = start_agent(service)
        time.sleep(0.03)
    eventually(service, [(str(2_000 + number), "confirmed") for number in range(CALLS)])
    agent.terminate()
    assert agent.wait(20) == 0


def test_a_call_goes_on_over_the_death_of_the_capture_service(service: Service) -> None:
    agent = start_agent(service)
    first, second = call(1).talk(0, 1, 2), call(2).talk(0, 1, 2)
    service.send([*first, *second[:5]])
    eventually(service, [("2001", "confirmed")])
    service.kill()
    service.start()
    service.send(second[5:])
    eventually(service, [("2001", "confirmed"), ("2002", "confirmed")])
    agent.terminate()
    assert agent.wait(20) == 0
    log = (service.folder / "agent.log").read_text()
    assert log.count("is gone") == log.count("is back") == 1
    assert "Traceback" not in log


def test_an_agent_that_is_stopped_and_started_goes_on_with_its_calls(service: Service) -> None:
    """Though the service begins anew as well, as at an upgrade."""
    agent = start_agent(service)
    first, second = call(1).talk(0, 1, 2), call(2).talk(0, 1, 2)
    service.send([*first, *second[:5]])
    eventually(service, [("2001", "confirmed")])
    agent.terminate()
    assert agent.wait(20) == 0
    service.kill(signal.SIGTERM)
    service.start()
    agent = start_agent(service)
    service.send(second[5:])
    eventually(service, [("2001", "confirmed"), ("2002", "confirmed")])
    agent.terminate()
    assert agent.wait(20) == 0
