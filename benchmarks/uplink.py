"""The uplink from end to end: a backlog drained, many agents at once, and all sites that come back after an outage.

Each row is what it cost on this machine, both ends on it, beside the bare equivalent of the same bytes in the same batches, for
as many sites at once: a plain aiohttp POST to a server that throws them away, and plain executemany, COPY or publish, a
transaction or message for each batch; one after the other.
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


class Load(Struct, frozen=True):
    """What is sent, by how many sites at a time. `ledger`: the agent's own shipper sends it; else ready bodies are posted."""

    name: str
    posts: list[Posts]
    at_once: int = 1
    ledger: Path | None = None


def run(settings: Settings) -> Table:
    """Raises Mismatch where not every event was acknowledged."""
    rows: list[tuple[str, ...]] = []
    returned: list[str] = []
    for load in _loads(settings):
        posted = _bare(settings.folder, load)
        for storage in STORAGES:
            stored = _stored(settings.folder, storage, load)
            ours = _ours(settings.folder, storage, load)
            rows.append(_row(f"{load.name}, {storage.name}", ours, posted, stored))
            if load.at_once == AT_ONCE:
                returned.append(_of_returned(storage, ours.told))
    return Table(
        name="uplink",
        title="The uplink, from ledger to platform",
        columns=("what", "events", "wall s", "events/s", "bare POST s", "bare store s", "x bare", "CPU s"),
        rows=rows,
        notes=(
            "Agent and platform are processes of their own on one machine of two processors, over HTTP on loopback; each batch "
            "is durable (fsync) at the platform before it is answered, and its answer at the agent. The agent that drains is "
            "enrolled: it signs each request, and checks and keeps each receipt.",
            "Bare: the same bytes in the same batches, posted by as many at once to a server that throws them away; and the "
            "same rows in the same columns and indexes, a transaction for each batch, by executemany (one connection) or COPY "
            "(up to eight), or the same bodies as messages, as many awaited at once. x bare: by the wall time of both.",
            "CPU s: of agents and receiver, without a database server's own.",
            *returned,
        ),
    )


def _loads(settings: Settings) -> Iterator[Load]:
    ledger = backlog(settings.folder, _even(BACKLOG * settings.scale))
    yield Load("drain of a backlog, one agent", [of_ledger(ledger)], ledger=ledger)
    for agents in (1, 10, 100):
        posts = of_sites(agents, _even(SPREAD * settings.scale / agents))
        yield Load(f"ingest from {agents} agent{'s' * (agents > 1)}", posts, agents)
    posts = of_sites(round(RETURNING * settings.scale), EACH)
    yield Load(f"{len(posts):,} sites come back, {EACH} events each", posts, AT_ONCE)


def _even(number: float) -> int:
    return max(2, round(number / 2) * 2)


def _of_returned(storage: "Storage", told: Told) -> str:
    return (
        f"Sites that came back, {storage.name}: {told.turned_away:,} requests were asked to come again; half of the sites were "
        f"done after {_at(told, 0.5)} s, 99 % after {_at(told, 0.99)} s."
    )


def _at(told: Told, part: float) -> str:
    return f"{told.waits_ms[round(part * (len(told.waits_ms) - 1))] / 1000:.1f}"


def _bare(folder: Path, load: Load) -> Cost:
    """Leaves what is posted in the file `posts`."""
    (folder / "posts").write_bytes(msgspec.msgpack.encode(load.posts))
    with serving([python(), "-m", "benchmarks.uplink_agents", "server"]) as (url, usage):
        done = _client("post", str(folder / "posts"), url, str(load.at_once))
    return _cost(done, usage, load)


def _stored(folder: Path, storage: "Storage", load: Load) -> Cost:
    with storage.at(folder) as place:
        return _cost(_client(storage.bare, str(folder / "posts"), place, str(load.at_once)), [], load)


def _ours(folder: Path, storage: "Storage", load: Load) -> Cost:
    if load.ledger is not None:
        return _drained(folder, storage, load, load.ledger)
    with receiving(folder, storage) as (url, usage):
        done = _client("post", str(folder / "posts"), url, str(load.at_once))
    return _cost(done, usage, load)


def _drained(folder: Path, storage: "Storage", load: Load, ledger: Path) -> Cost:
    """Of a copy, which has sent nothing yet."""
    site = folder / "site"
    site.mkdir()
    copy = shutil.copy(ledger, site)
    with receiving(folder, storage) as (url, usage):
        done = _client("drain", str(copy), url, str(folder / "enrolment"))
    shutil.rmtree(site)
    return _cost(done, usage, load)


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
    """`bare`: the role that stores the same with nothing around it."""

    name: str
    at: Callable[[Path], AbstractContextManager[str]]
    bare: str


STORAGES = (
    Storage(name="SQLite", at=_sqlite, bare="insert"),
    Storage(name="PostgreSQL", at=_postgresql, bare="copy"),
    Storage(name="JetStream", at=_jetstream, bare="publish"),
)


def _cost(done: Run, usage: list[float], load: Load) -> Cost:
    told, expected = msgspec.json.decode(done.output, type=Told), sum(each.events for each in load.posts)
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
        command += ["--address-rate", f"{RETURNING}:{RETURNING}"]  # all sites of this benchmark come from one address
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


def _row(name: str, ours: Cost, posted: Cost, stored: Cost) -> tuple[str, ...]:
    told = ours.told
    return (
        name,
        f"{told.events:,}",
        f"{told.took_s:.2f}",
        f"{told.events / told.took_s:,.0f}",
        f"{posted.told.took_s:.2f}",
        f"{stored.told.took_s:.2f}",
        f"{told.took_s / (posted.told.took_s + stored.told.took_s):.2f}",
        f"{ours.cpu_s:.1f}",
    )
