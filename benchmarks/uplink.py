"""The uplink from end to end: a backlog drained, many agents at once, and all sites that come back after an outage.

Each row is what it cost on this machine, both ends on it, beside the bare equivalent: a plain aiohttp POST of the same
bytes to a server that throws them away, and a plain executemany of the same events, one after the other.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from benchmarks.measure import Failed, Run, once, python
from benchmarks.report import Mismatch, Settings, Table
from benchmarks.uplink_agents import Told
from benchmarks.uplink_load import SITE, TOKEN, Posts, backlog, of_ledger, of_sites
from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.postgres import Cluster

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
    events = _held(ledger)
    sent = _bare(folder, [of_ledger(ledger)], 1)
    rows = [_row("bare: POST of the same bytes", sent)]
    for storage in STORAGES:
        with storage.at(folder) as url:
            stored = _cost(
                _client(storage.bare, str(ledger if storage.of_ledger else folder / "posts"), url), [], events
            )
        bare_s = sent.told.took_s + stored.told.took_s
        rows.append(_row(f"bare: {storage.bare_name}", stored))
        rows.append(_row(f"drain of a backlog, one agent, {storage.name}", _drained(folder, storage, ledger), bare_s))
        if storage is STORAGES[0]:
            each_s = stored.told.took_s / events
    for agents in (1, 10, 100):
        posts = of_sites(agents, _even(SPREAD * settings.scale / agents))
        rows.append(
            _beside(folder, f"ingest from {agents} agent{'s' * (agents > 1)}, SQLite", posts, agents, each_s)[0]
        )
    posts = of_sites(round(RETURNING * settings.scale), EACH)
    row, returned = _beside(
        folder, f"{len(posts):,} sites come back, {EACH} events each, SQLite", posts, AT_ONCE, each_s
    )
    rows.append(row)
    return Table(
        name="uplink",
        title="The uplink, from ledger to platform",
        columns=("what", "events", "wall s", "events/s", "x bare", "CPU s"),
        rows=rows,
        notes=(
            "Agent and platform are processes of their own on one machine of two processors, over HTTP on loopback; each batch "
            "is durable (fsync) at the platform before it is answered, and its answer at the agent. The agent that drains is "
            "enrolled: it signs each request, and checks and keeps each receipt.",
            "x bare: wall time by that of two bare steps together, POST, and storing in the same columns and"
            " indexes (executemany, COPY) or as the same messages.",
            "CPU s: of agents and receiver, without a database server's own.",
            f"Of the sites that came back {returned.told.turned_away:,} requests were asked to come again; half of the sites "
            f"were done after {_at(returned.told, 0.5)} s, 99 % after {_at(returned.told, 0.99)} s.",
        ),
    )


def _even(number: float) -> int:
    return max(2, round(number / 2) * 2)


def _at(told: Told, part: float) -> str:
    return f"{told.waits_ms[round(part * (len(told.waits_ms) - 1))] / 1000:.1f}"


def _beside(folder: Path, name: str, posts: list[Posts], at_once: int, each_s: float) -> tuple[tuple[str, ...], Cost]:
    """Ours beside the bare POST of the same and `each_s` for each event stored."""
    bare = _bare(folder, posts, at_once)
    with receiving(folder, STORAGES[0]) as (url, usage):
        done = _client("post", str(folder / "posts"), url, str(at_once))
    ours = _cost(done, usage, bare.told.events)
    return _row(name, ours, bare.told.took_s + each_s * ours.told.events), ours


def _drained(folder: Path, storage: "Storage", ledger: Path) -> Cost:
    """Of a copy, which has sent nothing yet."""
    site = folder / "site"
    site.mkdir()
    copy = shutil.copy(ledger, site)
    with receiving(folder, storage) as (url, usage):
        done = _client("drain", str(copy), url, str(folder / "enrolment"))
    shutil.rmtree(site)
    return _cost(done, usage, _held(ledger))


def _bare(folder: Path, posts: list[Posts], at_once: int) -> Cost:
    (folder / "posts").write_bytes(msgspec.msgpack.encode(posts))
    with serving([python(), "-m", "benchmarks.uplink_agents", "server"]) as (url, usage):
        done = _client("post", str(folder / "posts"), url, str(at_once))
    return _cost(done, usage, sum(each.events for each in posts))


def _client(*role: str) -> Run:
    return once([python(), "-m", "benchmarks.uplink_agents", *role])


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield str(folder / "receiver.db")
    for file in folder.glob("receiver.db*"):
        file.unlink()


@contextmanager
def _postgresql(_folder: Path) -> Iterator[str]:
    with Cluster() as cluster:
        yield cluster.empty()


@contextmanager
def _jetstream(_folder: Path) -> Iterator[str]:
    with NatsServer() as server:
        yield server.url


class Storage(Struct, frozen=True, kw_only=True):
    """`bare`: the role that stores the same with nothing around it, of a ledger or of the batches made of it."""

    name: str
    at: Callable[[Path], AbstractContextManager[str]]
    bare: str
    bare_name: str
    of_ledger: bool = True


STORAGES = (
    Storage(name="SQLite", at=_sqlite, bare="insert", bare_name="executemany of the same events"),
    Storage(name="PostgreSQL", at=_postgresql, bare="copy", bare_name="COPY of the same events"),
    Storage(
        name="JetStream",
        at=_jetstream,
        bare="publish",
        bare_name="JetStream publish of the same batches",
        of_ledger=False,
    ),
)


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


@contextmanager
def receiving(folder: Path, storage: Storage) -> Iterator[tuple[str, list[float]]]:
    """A new receiver over a new store; the file `enrolment` holds a token for the site that has the ledger."""
    tokens = folder / "tokens"
    tokens.write_text(f"{TOKEN}\n")
    with storage.at(folder) as store:
        given = ["token", "add", "--store", store, "--provider", SITE.provider, "--site", SITE.id]
        (folder / "enrolment").write_bytes(once([python(), "-m", "agent.cli", "platform", *given]).output)
        command = ["receiver", "--listen", "127.0.0.1:0", "--store", store, "--token-file", str(tokens)]
        with serving([python(), "-m", "agent.cli", *command]) as running:
            yield running


@contextmanager
def serving(command: list[str]) -> Iterator[tuple[str, list[float]]]:
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


def _row(name: str, cost: Cost, bare_s: float = 0) -> tuple[str, ...]:
    told = cost.told
    return (
        name,
        f"{told.events:,}",
        f"{told.took_s:.2f}",
        f"{told.events / told.took_s:,.0f}",
        f"{told.took_s / bare_s:.2f}" if bare_s else "",
        f"{cost.cpu_s:.1f}",
    )
