"""The collector killed with SIGKILL again and again while calls come in: each call is there in the end, and once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from collectors.io.datagrams import kernel_drops
from tests.collectors.hep.calls import TALK_S, beginning, end, later
from tests.collectors.hep.test_collect import START_S, Port

KILLS = 12
CALLS_BETWEEN = 40

AGENT = """
import asyncio, base64, json, os, sys, time
from pathlib import Path
from collectors.contract import Context
from collectors.hep.kind import KIND
from collectors.io import resuming

resuming.SNAPSHOT_S = 0.1
folder, descriptor = Path(sys.argv[1]), int(sys.argv[2])
ledger = os.open(folder / "ledger", os.O_RDWR | os.O_APPEND | os.O_CREAT)

class Ledger:
    async def put(self, batch):
        legs = [dict(key=leg.key, talk_ms=KIND.join([leg]).talk_ms) for leg in batch.records]
        line = json.dumps(dict(legs=legs, checkpoint=base64.b64encode(batch.checkpoint or b"").decode()))
        os.write(ledger, line.encode() + b"\\n")
        await asyncio.sleep(0.005)

lines = (folder / "ledger").read_text().splitlines()
checkpoints = [known for line in lines if (known := json.loads(line)["checkpoint"])]
checkpoint = base64.b64decode(checkpoints[-1]) if checkpoints else None
context = Context(
    name="pbx", folder=folder, clock_ms=lambda: time.time_ns() // 1_000_000, inherited_sockets={"pbx": descriptor}
)
print("ready", flush=True)
asyncio.run(KIND.open(KIND.config(), context).run(Ledger(), checkpoint))
"""


def start(folder: Path, port: Port) -> subprocess.Popen[bytes]:
    descriptor = port.held.fileno()
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(folder), str(descriptor)], pass_fds=[descriptor], stdout=subprocess.PIPE
    )
    assert agent.stdout is not None
    assert agent.stdout.readline() == b"ready\n"
    return agent


def kill(agent: subprocess.Popen[bytes]) -> None:
    os.kill(agent.pid, signal.SIGKILL)
    agent.communicate()


def kept(folder: Path) -> dict[str, int]:
    """Talk time by leg, as a ledger that stores each key once would have it."""
    found: dict[str, int] = {}
    for line in (folder / "ledger").read_text().splitlines():
        batch: dict[str, Any] = json.loads(line)
        for leg in batch["legs"]:
            found.setdefault(leg["key"], leg["talk_ms"])
    return found


def test_no_call_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    port, chance, calls = Port(), random.Random(4), KILLS * CALLS_BETWEEN
    for turn in range(KILLS):
        agent = start(tmp_path, port)
        numbers = range(turn * CALLS_BETWEEN, (turn + 1) * CALLS_BETWEEN)
        for number in numbers:
            port.send(*beginning(number, START_S + turn * 200 + number * 0.5))
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.15))
        kill(agent)
        for number in numbers:
            port.send(*end(number, START_S + turn * 200 + number * 0.5))
    port.send(later(START_S + KILLS * 200 + calls))
    agent = start(tmp_path, port)
    deadline = time.monotonic() + 15
    while len(kept(tmp_path)) < calls and time.monotonic() < deadline:
        time.sleep(0.05)
    kill(agent)
    found = kept(tmp_path)
    assert kernel_drops(port.held) == 0
    assert len(found) == calls
    assert set(found.values()) == {int(TALK_S * 1000)}
    port.close()
