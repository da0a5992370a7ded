"""The uplink from end to end: a backlog drained, many agents at once, and all sites that come back after an outage.

Each row is what it cost on this machine, both ends on it, beside the bare equivalent: a plain aiohttp POST of the same
bytes to a server that throws them away, and a plain executemany of the same events, one after the other.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.measure import Failed, Run, median, python
from benchmarks.report import Mismatch, Settings, Table
from benchmarks.uplink_agents import Told
from benchmarks.uplink_load import TOKEN, Posts, backlog, of_ledger, of_sites

BACKLOG, SPREAD, RETURNING = 1_000_000, 200_000, 10_000
"""Events of one site's backlog; events of 1, 10 or 100 agents together; sites that come back, with EACH events."""
EACH = 50
AT_ONCE = 1_000
"""Connections of the sites that come back: what one process may open without asking (ulimit -n is 1,024 on Debian)."""


class Cost(Struct, frozen=True):
    told: Told
    cpu_s: float


def run(settings: Settings) -> Table:
    """Raises Mismatch where not every event was acknowledged."""
    folder = settings.folder
    ledger = backlog(folder, _even(BACKLOG * settings.scale))
    stored, sent = _bare_insert(ledger, folder / "bare.db"), _bare(folder, [of_ledger(ledger)], 1)
    rows = [_row("drain of a backlog, one agent, SQLite", _drained(settings, ledger), sent, stored)]
    rows.append(_row("bare: POST of the same bytes", sent, sent, stored))
    rows.append(_row("bare: executemany of the same events", stored, sent, stored))
    for agents in (1, 10, 100):
        posts = of_sites(agents, _even(SPREAD * settings.scale / agents))
        bare, ours = _bare(folder, posts, agents), _ingested(folder, posts, agents)
        rows.append(_row(f"ingest from {agents} agent{'s' * (agents > 1)}, SQLite", ours, bare, stored))
    posts = of_sites(round(RETURNING * settings.scale), EACH)
    bare, returned = _bare(folder, posts, AT_ONCE), _ingested(folder, posts, AT_ONCE)
    rows.append(_row(f"{len(posts):,} sites come back, {EACH} events each, SQLite", returned, bare, stored))
    return Table(
        name="uplink",
        title="The uplink, from ledger to platform",
        columns=("what", "events", "wall s", "events/s", "x bare", "CPU s of both ends"),
        rows=rows,
        notes=(
            "Agent and platform are processes of their own on one machine of two processors, over HTTP on loopback; each batch "
            "is durable (fsync) at the platform before it is answered, and its answer at the agent.",
            "x bare: wall time by that of two bare steps together, POST, and executemany into the same columns and indexes.",
            f"Of the sites that came back {returned.told.turned_away:,} requests were asked to come again; half of the sites "
            f"were done after {_at(returned.told, 0.5)} s, 99 % after {_at(returned.told, 0.99)} s.",
        ),
    )


def _even(number: float) -> int:
    return max(2, round(number / 2) * 2)


def _at(told: Told, part: float) -> str:
    return f"{told.waits_ms[round(part * (len(told.waits_ms) - 1))] / 1000:.1f}"


def _drained(settings: Settings, ledger: Path) -> Cost:
    with _receiving(settings.folder) as (url, usage):
        done = median([python(), "-m", "benchmarks.uplink_agents", "drain", str(ledger), url], 1)
    return _cost(done, usage, _held(ledger))


def _ingested(folder: Path, posts: list[Posts], at_once: int) -> Cost:
    file = _written(folder, posts)
    with _receiving(folder) as (url, usage):
        done = median([python(), "-m", "benchmarks.uplink_agents", "post", str(file), url, str(at_once)], 1)
    return _cost(done, usage, sum(each.events for each in posts))


def _bare(folder: Path, posts: list[Posts], at_once: int) -> Cost:
    file = _written(folder, posts)
    with _serving([python(), "-m", "benchmarks.uplink_agents", "server"]) as (url, usage):
        done = median([python(), "-m", "benchmarks.uplink_agents", "post", str(file), url, str(at_once)], 1)
    return _cost(done, usage, sum(each.events for each in posts))


def _bare_insert(ledger: Path, file: Path) -> Cost:
    done = median([python(), "-m", "benchmarks.uplink_agents", "insert", str(ledger), str(file)], 1)
    file.unlink()
    return _cost(done, [], _held(ledger))


def _held(ledger: Path) -> int:
    from agent.ledger.store import open_for_reading

    db = open_for_reading(ledger)
    (count,) = db.execute("SELECT max(line) FROM event").fetchone()
    db.close()
    return int(count)


def _cost(done: Run, usage: list[float], expected: int) -> Cost:
    told = msgspec.json.decode(done.output, type=Told)
    if told.events != expected:
        raise Mismatch(f"of {expected:,} events {told.events:,} were acknowledged")
    return Cost(told, done.cpu_s + sum(usage))


def _written(folder: Path, posts: list[Posts]) -> Path:
    file = folder / "posts"
    file.write_bytes(msgspec.msgpack.encode(posts))
    return file


@contextmanager
def _receiving(folder: Path) -> Iterator[tuple[str, list[float]]]:
    """A new receiver over a new store."""
    store, tokens = folder / "receiver.db", folder / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    command = ["receiver", "--listen", "127.0.0.1:0", "--store", str(store), "--token-file", str(tokens)]
    with _serving([python(), "-m", "agent.cli", *command]) as serving:
        yield serving
    for file in folder.glob("receiver.db*"):
        file.unlink()


@contextmanager
def _serving(command: list[str]) -> Iterator[tuple[str, list[float]]]:
    """A process that prints `... at URL` when it is ready; what CPU it took is known when it has ended."""
    usage: list[float] = []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if " at " not in line:
            raise Failed(f"{command[2]} did not start: {line}")
        yield line.rpartition(" ")[2].strip(), usage
    finally:
        process.terminate()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        usage.append(used.ru_utime + used.ru_stime)


def _row(name: str, cost: Cost, sent: Cost, stored: Cost) -> tuple[str, ...]:
    """Beside what it takes to POST the same (`sent`) and to store as many (`stored`)."""
    told = cost.told
    bare_s = sent.told.took_s + stored.told.took_s * told.events / stored.told.events
    return (
        name,
        f"{told.events:,}",
        f"{told.took_s:.2f}",
        f"{told.events / told.took_s:,.0f}",
        f"{told.took_s / bare_s:.2f}",
        f"{cost.cpu_s:.1f}",
    )
