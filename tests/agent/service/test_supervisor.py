"""What the supervisor does when a collector fails, waits, recovers, or ends."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.config.tables import Source
from agent.ledger.writer import Ledger
from agent.service.supervisor import SupervisedSource
from collectors.contract import Batch, Context, Probe, Sink, SourceMisconfigured, SourceUnavailable
from tests.agent.ledger.desk import KIND, NoConfig, open_ledger, row

Script = list[Callable[[Sink, bytes | None], object]]


class Scripted:
    """A collector that does one thing a start: the next of its script."""

    def __init__(self, script: Script) -> None:
        self.script = script

    async def run(self, sink: Sink, checkpoint: bytes | None) -> None:
        step = self.script.pop(0)
        result = step(sink, checkpoint)
        if asyncio.iscoroutine(result):
            await result

    def probe(self) -> Probe:
        return Probe(detail="scripted")


def supervised(ledger: Ledger, script: Script, folder: Path) -> SupervisedSource:
    def opened(config: object, context: Context) -> Scripted:
        return Scripted(script)

    kind = msgspec.structs.replace(KIND, open=opened)
    return SupervisedSource(Source("desk", "desk", NoConfig()), kind, ledger, folder, "UTC", {})


def failing(error: Exception) -> Callable[[Sink, bytes | None], object]:
    def step(sink: Sink, checkpoint: bytes | None) -> object:
        raise error

    return step


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.service.supervisor.FIRST_PAUSE_S", 0.02)


@pytest.mark.usefixtures("quick")
async def test_each_start_begins_at_the_last_durable_checkpoint(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    seen: list[bytes | None] = []

    async def hand_in_and_fail(sink: Sink, checkpoint: bytes | None) -> None:
        seen.append(checkpoint)
        await sink.put(Batch(records=[row("c1")], checkpoint=b"after c1"))
        raise SourceUnavailable("gone")

    def end(sink: Sink, checkpoint: bytes | None) -> None:
        seen.append(checkpoint)

    source = supervised(ledger, [hand_in_and_fail, end], tmp_path)
    await asyncio.wait_for(source.run(), 10)
    assert seen == [None, b"after c1"]
    assert source.standing.state == "ended"
    ledger.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (SourceUnavailable("no such file", "look there"), "waiting", "source_unavailable"),
        (SourceMisconfigured("wrong password", "mend it"), "failed", "source_misconfigured"),
        (ZeroDivisionError("a fault"), "failed", "source_failed"),
    ],
)
async def test_each_family_of_errors_has_its_problem_and_is_tried_again(
    tmp_path: Path, error: Exception, state: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = open_ledger(tmp_path)
    stuck = asyncio.Event()

    async def wait(sink: Sink, checkpoint: bytes | None) -> None:
        await stuck.wait()

    source = supervised(ledger, [failing(error)] * 3 + [wait], tmp_path)
    task = asyncio.create_task(source.run())
    while source.standing.code != code:
        await asyncio.sleep(0.005)
    assert source.standing.state == state
    while source.standing.state != "running":
        await asyncio.sleep(0.005)
    assert source.standing.code == ""
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(told) == 1, "a source that goes away is said once"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    ledger.close()


@pytest.mark.usefixtures("quick")
async def test_a_source_that_finds_no_room_in_the_ledger_starts_when_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.ledger.writer.RETRY_S", 0.05)
    ledger = open_ledger(tmp_path)

    def allow(pages: int) -> int:
        chosen = ledger.do(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone()[0]).result()
        return int(chosen)

    name = "n" * 20_000
    allow(1)
    source = supervised(ledger, [lambda sink, checkpoint: None], tmp_path)
    source.source = Source(name, "desk", NoConfig())
    task = asyncio.create_task(source.run())
    while source.standing.code != "ledger_full":
        await asyncio.sleep(0.005)
        assert not task.done()
    assert source.standing.state == "waiting"
    source.source = Source("new", "desk", NoConfig())
    allow(1_000_000)
    await asyncio.wait_for(task, 10)
    assert source.standing.state == "ended"
    ledger.close()


async def test_the_figures_of_a_source_are_its_collectors_own(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path)
    source = supervised(ledger, [lambda sink, checkpoint: None], tmp_path)
    assert source.probe().detail == ""
    await source.run()
    assert source.probe().detail == "scripted"
    ledger.close()
