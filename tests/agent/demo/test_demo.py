"""The demonstration as a whole: it ends by itself or when told to, and its comparison can fail."""

import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from agent.demo.run import Settings, perform

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 60


def demo(*words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "agent.cli", "demo", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    try:
        said, complained = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    return process.returncode, said, complained


def test_it_plays_compares_and_ends_by_itself() -> None:
    status, said, complained = ended(demo("--for", "12", "--port", "0"))
    assert (status, complained) == (0, ""), said + complained
    lines = said.splitlines()
    assert re.fullmatch(r"status page  http://127\.0\.0\.1:\d+/", lines[0])
    assert re.search(r"\d\d:\d\d:\d\d +[\d,]+ CDR rows +[\d,]+ SIP messages +[\d,]+ calls +[\d,]+ events", said)
    calls = re.fullmatch(r"no difference: (\d+) calls and 24 seat-days are held as they were played", lines[-1])
    assert calls
    assert int(calls[1]) > 40


def test_ctrl_c_ends_it_in_order_and_a_second_run_goes_on_in_the_same_folder(tmp_path: Path) -> None:
    first = demo("--port", "0", "--folder", str(tmp_path))
    time.sleep(8)
    first.send_signal(signal.SIGINT)
    status, said, complained = ended(first)
    assert (status, complained) == (0, ""), said + complained
    assert "still up and not counted" in said
    assert f"configuration: {tmp_path}/pegcount.toml" in said
    status, said, complained = ended(demo("--for", "12", "--port", "0", "--folder", str(tmp_path)))
    assert (status, complained) == (0, ""), said + complained
    assert "no difference" in said


def test_a_port_that_is_taken_is_told_and_nothing_is_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, said, complained = ended(demo("--for", "5", "--port", str(port)))
    assert (status, said) == (69, "")
    assert f"port {port} of 127.0.0.1 cannot be used" in complained


LOSE_A_CALL = "DELETE FROM event WHERE position = (SELECT min(position) FROM event WHERE meter = 'call')"
LOSE_MINUTES = "DELETE FROM event WHERE position = (SELECT max(position) FROM event WHERE meter = 'voice.minutes')"
COUNT_A_CALL_TWICE = (
    "INSERT INTO event (epoch_id, seq, status, id, meter, time_ms, quantity, unit, body)"
    " SELECT epoch_id, seq + 1000000, status, id || '2', meter, time_ms, quantity, unit, body FROM event"
    " WHERE position = (SELECT position FROM event WHERE meter = 'call' ORDER BY position LIMIT 1 OFFSET 5)"
)


def spoil(database: Path) -> None:
    with sqlite3.connect(database) as db:
        for sabotage in (LOSE_A_CALL, COUNT_A_CALL_TWICE, LOSE_MINUTES):
            assert db.execute(sabotage).rowcount == 1
    db.close()


async def test_a_receiver_that_lost_and_doubled_something_is_found_out(tmp_path: Path) -> None:
    said: list[str] = []
    settings = Settings(folder=tmp_path, seconds=7, seed=1, before_reading=spoil, say=said.append)
    assert await perform(settings) == 1
    differences = said[said.index("3 differences:") + 1 :]
    assert len(differences) == 3
    assert sum("2 held, 1 played" in text for text in differences) == 1
    assert sum("voice.minutes" in text and ": 0 held, " in text for text in differences) == 1
    assert sum(": 0 held, 1 played" in text or "holds nothing of it" in text for text in differences) == 1
