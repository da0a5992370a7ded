"""From the end of a call to the platform, with `stream = true`: `pegcount run` hears by HEP, `pegcount receiver` stores.

A call's time begins when its BYE is sent, and ends when its event can be read in the receiver's store, looked at every 10 ms.
"""

import socket
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

from benchmarks.measure import Failed, python
from benchmarks.report import Mismatch, Settings, Table
from benchmarks.uplink import STORAGES, receiving
from benchmarks.uplink_load import TOKEN
from tests.collectors.hep.calls import RING_S, TALK_S, beginning, end
from tests.uplink.receiver.postgres import free_port

RATES = (5, 50)
"""Calls that end in a second: a busy office, and a phone system with some ten thousand phones."""
CALLS, FIRST = 300, 300
"""Callers have numbers of three digits."""
READY_S = WAIT_S = 30.0
ARRIVED = "SELECT position, meter, json_extract(body, '$.subject') FROM event WHERE position > ? ORDER BY position"
CONFIG = """[site]
id = "018f2f6c-0000-7000-8000-00000000be7c"
provider = "msp"
timezone = "UTC"
[ledger]
path = "{folder}/ledger.db"
[web]
enabled = false
[uplink]
url = "{url}"
token = "{token}"
stream = true
interval_s = 3600
jitter_s = 0
[[source]]
name = "pbx"
kind = "hep"
listen = "127.0.0.1:{port}"
"""


def run(settings: Settings) -> Table:
    """Raises Mismatch where a call did not arrive."""
    rows = []
    for rate in RATES:
        folder = settings.folder / str(rate)
        folder.mkdir()
        waits_s = _waits_s(folder, rate, max(10, round(CALLS * settings.scale)))
        parts = (0.5, 0.95, 0.99, 1.0)
        shown = (f"{waits_s[round(part * (len(waits_s) - 1))]:.2f}" for part in parts)
        rows.append((f"{rate}", f"{len(waits_s):,}", *shown))
    return Table(
        name="stream",
        title="From the end of a call to the platform, in stream mode",
        columns=("calls ending a second", "calls", "half within s", "95 %", "99 %", "all"),
        rows=rows,
        notes=(
            "Agent, receiver and sender are processes on one machine. 2 s of it are the time that HEP waits for what may still "
            "come of a call, up to 1 s the ledger's commit; what comes beside is shown in docs/operate.md.",
        ),
    )


def _waits_s(folder: Path, rate: int, calls: int) -> list[float]:
    port = free_port()
    with receiving(folder, STORAGES[0]) as (url, _):
        config = folder / "pegcount.toml"
        config.write_text(CONFIG.format(folder=folder, url=url, token=TOKEN, port=port))
        agent = subprocess.Popen(
            [python(), "-m", "agent.cli", "run", "--config", str(config)], stderr=subprocess.DEVNULL
        )
        try:
            _until_it_listens(agent, port)
            return _arrivals(folder / "receiver.db", port, rate, calls)
        finally:
            agent.terminate()
            agent.wait()


def _until_it_listens(agent: subprocess.Popen[bytes], port: int) -> None:
    until_s = time.monotonic() + READY_S
    while time.monotonic() < until_s and agent.poll() is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return
        time.sleep(0.1)
    raise Failed(f"the agent did not come to listen; it ended with {agent.poll()}")


def _arrivals(store: Path, port: int, rate: int, calls: int) -> list[float]:
    over_s: dict[str, float] = {}
    waits_s: list[float] = []
    position = 0
    began_s = time.monotonic()
    with (
        closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as db,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phones,
    ):
        while len(waits_s) < calls:
            if len(over_s) < calls and time.monotonic() - began_s >= len(over_s) / rate:
                caller = str(FIRST + len(over_s))
                _call(phones, port, int(caller))
                over_s[caller] = time.monotonic()
                continue
            arrived = db.execute(ARRIVED, (position,)).fetchall()
            waits_s += [time.monotonic() - over_s[phone] for _, meter, phone in arrived if meter == "call"]
            position = arrived[-1][0] if arrived else position
            if time.monotonic() - began_s > calls / rate + WAIT_S:
                raise Mismatch(f"of {calls} calls {len(waits_s)} arrived")
            time.sleep(0.01)
    return sorted(waits_s)


def _call(phones: socket.socket, port: int, caller: int) -> None:
    """Of a minute, that ends now."""
    at_s = time.time() - RING_S - TALK_S
    for datagram in (*beginning(caller, at_s), *end(caller, at_s)):
        phones.sendto(datagram.replace(b"sip:101@", b"sip:%d@" % caller), ("127.0.0.1", port))
