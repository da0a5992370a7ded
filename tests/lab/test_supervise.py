"""The supervisor and the killer that the end-to-end test relies on, shown with processes of a few lines."""

import socket
import sys
from pathlib import Path

from tests.lab.asterisk import wait_for
from tests.lab.supervise import Killer, Supervised

SLEEPS = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
ENDS = [sys.executable, "-c", "raise SystemExit(3)"]

READS_ONE_DATAGRAM = [
    sys.executable,
    "-c",
    "import os, socket, time\n"
    "assert int(os.environ['LISTEN_PID']) == os.getpid()\n"
    "assert os.environ['LISTEN_FDS'] == '1'\n"
    "assert os.environ['LISTEN_FDNAMES'] == 'hep'\n"
    "print(socket.socket(fileno=3).recv(100).decode(), flush=True)\n"
    "time.sleep(60)\n",
]


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_a_killed_process_comes_back(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Supervised("sleeper", SLEEPS, log=log) as sleeper:
        wait_for(lambda: len(lines(log)) == 1, 5, "it did not start")
        assert sleeper.kill()
        wait_for(lambda: len(lines(log)) == 2, 5, "it did not come back")
    assert sleeper.kills == 1
    assert sleeper.surprises == []


def test_a_process_that_ends_by_itself_is_a_surprise_and_comes_back(tmp_path: Path) -> None:
    with Supervised("fragile", ENDS, log=tmp_path / "log") as fragile:
        wait_for(lambda: len(fragile.surprises) >= 2, 5, "it was not started again")
    assert set(fragile.surprises) == {3}


def test_what_is_sent_to_a_handed_socket_while_the_process_is_dead_is_read_by_the_next_one(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held, socket.socket(type=socket.SOCK_DGRAM) as sender:
        held.bind(("127.0.0.1", 0))
        sender.sendto(b"before the start", held.getsockname())
        with Supervised("reader", READS_ONE_DATAGRAM, log=log, sockets={"hep": held}) as reader:
            wait_for(lambda: lines(log) == ["before the start"], 5, "it did not read")
            assert reader.kill()
            sender.sendto(b"while it was dead", held.getsockname())
            wait_for(lambda: lines(log)[1:] == ["while it was dead"], 5, "it was lost")
    assert reader.surprises == []


def test_the_killer_kills_each_as_often_as_planned(tmp_path: Path) -> None:
    with (
        Supervised("one", SLEEPS, log=tmp_path / "one") as one,
        Supervised("two", SLEEPS, log=tmp_path / "two") as two,
        Killer([one, two], times=5, over_s=1.5, seed=1),
    ):
        pass
    assert (one.kills, two.kills) == (5, 5)
    assert one.surprises + two.surprises == []
