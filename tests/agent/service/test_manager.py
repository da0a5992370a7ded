"""Talking to the service manager by its own protocol: a real datagram socket, real environment variables."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from agent.service import manager


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_sends_one_datagram_to_the_managers_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        address = f"\0pegcount-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
        listener.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        manager.notify("READY=1", "STATUS=two sources")
        listener.settimeout(5)
        assert listener.recv(1000) == b"READY=1\nSTATUS=two sources"


def test_without_a_manager_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    manager.notify("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
    manager.notify("READY=1")


def test_the_watchdog_is_answered_at_twice_the_rate_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert manager.watchdog_interval_s() == 15.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert manager.watchdog_interval_s() == 0.0


def test_sockets_that_the_manager_holds_are_found_by_name() -> None:
    program = (
        "import os; os.environ['LISTEN_PID'] = str(os.getpid());"
        "from agent.service.manager import inherited_sockets; print(inherited_sockets())"
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        os.dup2(held.fileno(), 3, inheritable=True) if held.fileno() != 3 else os.set_inheritable(3, True)
        environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "hep"}
        run = subprocess.run(
            [sys.executable, "-c", program], env=environment, pass_fds=[3], capture_output=True, text=True, check=True
        )
    assert run.stdout.strip() == "{'hep': 3}"


def test_another_processs_sockets_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert manager.inherited_sockets() == {}
