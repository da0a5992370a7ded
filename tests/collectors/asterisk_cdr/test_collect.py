"""The collector on a real file, with a sink that keeps what is durable, and stops and restarts between."""

import asyncio
import contextlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.cdr_rows import generate
from collectors.asterisk_cdr.collect import AsteriskCdrCollector, Checkpoint, batch_of, read, whole_calls
from collectors.asterisk_cdr.config import AsteriskCdrConfig
from collectors.asterisk_cdr.decode import Decoder, State
from collectors.asterisk_cdr.join import join
from collectors.asterisk_cdr.kind import sniff
from collectors.asterisk_cdr.leg import AsteriskLeg
from collectors.contract import Batch, Context
from collectors.io.tail import Tail
from collectors.records import Reject
from tests.collectors.asterisk_cdr.rows import T0, UID, line


class Kept:
    """A sink as the ledger is one: by key, and the last checkpoint."""

    def __init__(self) -> None:
        self.legs: dict[str, AsteriskLeg] = {}
        self.rejects: dict[str, Reject] = {}
        self.checkpoint: bytes | None = None
        self.batches: list[Batch] = []
        self.fail_after = -1

    async def put(self, batch: Batch) -> None:
        if self.fail_after == len(self.batches):
            raise ConnectionError("the ledger is gone")
        self.batches.append(batch)
        for leg in batch.records:
            assert isinstance(leg, AsteriskLeg)
            self.legs.setdefault(leg.key, leg)
        self.rejects.update({reject.key: reject for reject in batch.rejects})
        self.checkpoint = batch.checkpoint


def collector(path: Path, **config: object) -> AsteriskCdrCollector:
    context = Context(name="pbx", folder=path.parent, clock_ms=lambda: T0, timezone="Europe/Berlin")
    return AsteriskCdrCollector(AsteriskCdrConfig(path=str(path), poll_s=0.05, **config), context)  # type: ignore[arg-type]


async def run_until_quiet(source: AsteriskCdrCollector, kept: Kept) -> None:
    task = asyncio.create_task(source.run(kept, kept.checkpoint))
    quiet = 0
    while quiet < 4 and not task.done():
        before = len(kept.batches)
        await asyncio.sleep(0.05)
        quiet = quiet + 1 if len(kept.batches) == before else 0
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Master.csv"


async def test_lines_become_batches_with_their_checkpoint(path: Path) -> None:
    path.write_text(f"{line()}\n{line(sequence=2)[:-40]}\n{line(sequence=3, end='09:32:00')}\n{line()[:50]}")
    kept, source = Kept(), collector(path)
    await run_until_quiet(source, kept)
    assert sorted(leg.sequence for leg in kept.legs.values()) == [1, 3]
    assert [(reject.reason, reject.position) for reject in kept.rejects.values()] == [
        ("unterminated_quote", "Master.csv:2")
    ]
    assert [batch.source_time_ms for batch in kept.batches] == [T0 + 120_000]
    probe = source.probe()
    assert probe.detail == f"following {path}; times in UTC"
    assert probe.counters["lines"] == 3
    assert probe.counters["legs"] == 2
    assert probe.counters["rejects"] == 1
    assert probe.backlog_bytes == 50
    assert probe.heard_at_ms == T0


async def test_a2_a_restart_goes_on_behind_what_is_durable(path: Path) -> None:
    path.write_text(f"{line()}\n")
    kept = Kept()
    await run_until_quiet(collector(path), kept)
    with path.open("a") as file:
        file.write(f"{line(sequence=2)}\n")
    kept.batches.clear()
    await run_until_quiet(collector(path), kept)
    assert [len(batch.records) for batch in kept.batches] == [1]
    assert sorted(leg.sequence for leg in kept.legs.values()) == [1, 2]


async def test_a_checkpoint_of_another_version_means_reading_again(path: Path) -> None:
    path.write_text(f"{line()}\n")
    kept, source = Kept(), collector(path)
    kept.checkpoint = b"something else"
    await run_until_quiet(source, kept)
    assert len(kept.legs) == 1
    assert source.probe().counters["checkpoints_unreadable"] == 1


async def test_a2_b5_what_the_sink_did_not_take_comes_again(path: Path) -> None:
    path.write_text(f"{line()}\n")
    kept, source = Kept(), collector(path)
    kept.fail_after = 0
    with pytest.raises(ConnectionError):
        await source.run(kept, None)
    kept.fail_after = -1
    await run_until_quiet(collector(path), kept)
    assert len(kept.legs) == 1


async def test_a_file_that_is_not_there_is_waited_for_and_said_so(path: Path) -> None:
    kept, source = Kept(), collector(path)
    await run_until_quiet(source, kept)
    assert source.probe().detail.startswith(f"{path} is not there: waiting for it")


async def test_a_conference_is_put_together_over_a_restart(path: Path) -> None:
    room = {"app": "ConfBridge", "data": "500", "dst": "500"}
    second = {"a": "PJSIP/124-00000002", "src": "124", "uid": "1767605401.2", "linked": "1767605401.2"}
    path.write_text(line(**room, b="PJSIP/124-00000002", start="09:30:10", answer="09:30:10", end="09:31:00") + "\n")
    kept = Kept()
    await run_until_quiet(collector(path), kept)
    with path.open("a") as file:
        file.write(line(**room, **second, b="", start="09:30:08", answer="09:30:08", end="09:30:10", sequence=2) + "\n")
    await run_until_quiet(collector(path), kept)
    of_second = [leg for leg in kept.legs.values() if leg.call_key == "1767605401.2"]
    assert join(of_second).talk_ms == 52_000
    assert {leg.call_key for leg in kept.legs.values()} == {UID, "1767605401.2"}


async def test_catching_up_with_a_long_file_keeps_the_rows_of_a_call_in_one_batch(path: Path) -> None:
    group = [
        line(uid=f"17676054{n:02d}.1", linked=f"17676054{n:02d}.1", sequence=s) for n in range(90) for s in range(30)
    ]
    path.write_text("".join(f"{text}\n" for text in group))
    kept = Kept()
    await run_until_quiet(collector(path), kept)
    assert len(kept.batches) > 1
    batches_of: dict[str, set[int]] = {}
    for number, batch in enumerate(kept.batches):
        for leg in batch.records:
            assert isinstance(leg, AsteriskLeg)
            batches_of.setdefault(leg.call_key, set()).add(number)
    assert {len(numbers) for numbers in batches_of.values()} == {1}
    assert len(kept.legs) == len(group)


class Committing(Kept):
    """A sink whose commits last until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.durable = asyncio.Semaphore(0)

    async def put(self, batch: Batch) -> None:
        await super().put(batch)
        await self.durable.acquire()


@pytest.mark.parametrize("notified", [True, False])
async def test_the_next_piece_is_decoded_during_a_commit_and_handed_in_after_it(path: Path, notified: bool) -> None:
    rows = 6000
    path.write_text(
        "".join(f"{line(uid=f'1767605400.{n}', linked=f'1767605400.{n}', sequence=n)}\n" for n in range(rows))
    )
    kept, source = Committing(), collector(path)
    task = asyncio.create_task(source.run(kept, None))
    await asyncio.sleep(0.3)
    first = source.probe().counters["lines"]
    assert 0 < first == len(kept.legs) < rows
    if notified:
        notice = kept.batches[0].on_commit
        assert notice is not None
        await asyncio.to_thread(notice)
        await asyncio.sleep(0.3)
        assert source.probe().counters["lines"] > first
    assert len(kept.batches) == 1
    for _ in range(9):
        kept.durable.release()
    await asyncio.sleep(0.5)
    assert len(kept.legs) == rows
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_a_notice_that_comes_after_the_collector_has_ended_does_nothing(path: Path) -> None:
    path.write_text(f"{line()}\n")
    kept = Kept()
    asyncio.run(run_until_quiet(collector(path), kept))
    notice = kept.batches[0].on_commit
    assert notice is not None
    notice()


def test_where_lines_have_no_linked_id_or_are_all_of_one_call_nothing_waits() -> None:
    for lines in (b"a,b\nc,d\n", (line() + "\n").encode() * 3, b'x\n"y","u1"\n'):
        assert whole_calls(lines) == len(lines)
    last = (line(linked="1767605499.9", sequence=2) + "\n").encode()
    first = (line() + "\n").encode()
    assert whole_calls(first + last * 3) == len(first)


def test_a_large_office_comes_out_as_it_was_made(path: Path) -> None:
    made = generate(5_000)
    path.write_bytes(made.data)
    gathered: dict[str, list[AsteriskLeg]] = {}
    for batch in read(path, AsteriskCdrConfig(path=str(path))):
        assert not batch.rejects
        for leg in batch.records:
            assert isinstance(leg, AsteriskLeg)
            gathered.setdefault(leg.call_key, []).append(leg)
    calls = [join(legs) for legs in gathered.values()]
    assert len(calls) == made.calls
    assert sum(call.outcome == "answered" for call in calls) == made.answered
    assert sum(call.talk_ms for call in calls) == made.talk_s * 1000


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 200_000), max_size=4))
def test_reading_in_pieces_with_restarts_gives_the_records_of_reading_at_once(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int]
) -> None:
    """Lines of 18 columns, some of them equal, whose keys hang on what was counted before."""
    data = "".join(line(end=f"09:3{n % 7 + 1}:00").rsplit(",", 3)[0] + "\n" for n in range(1000)).encode()
    path = tmp_path_factory.mktemp("pieces") / "Master.csv"
    legs, at, checkpoint = [], 0, msgspec.msgpack.encode(Checkpoint(None, State()))
    path.touch()
    for cut in [*sorted(cuts), len(data)]:
        with path.open("ab") as file:
            file.write(data[at:cut])
        at = max(at, cut)
        kept = msgspec.msgpack.decode(checkpoint, type=Checkpoint)
        tail, decoder = Tail(path, kept.mark), Decoder("UTC", "UTC", (), kept.state)
        while (piece := tail.look()) is not None:
            batch = batch_of(piece, tail, decoder)
            legs += batch.records
            checkpoint = batch.checkpoint
        tail.close()
    at_once = [leg for batch in read(path, AsteriskCdrConfig(path=str(path))) for leg in batch.records]
    assert len({leg.key for leg in at_once}) == 1000  # type: ignore[union-attr]
    assert legs == at_once


def test_a_file_that_ends_within_a_line_gives_a_reject_for_it(path: Path) -> None:
    path.write_text(f"{line()}\n{line(sequence=12)[:-1]}")
    first, second = read(path, AsteriskCdrConfig(path=str(path)))
    assert (len(first.records), len(second.records)) == (1, 0)
    assert [(reject.reason, reject.position) for reject in second.rejects] == [("unterminated_line", "Master.csv:2")]


def test_reading_what_is_not_there_is_an_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(read(path, AsteriskCdrConfig(path=str(path))))


@pytest.mark.parametrize("timezone", ["", "Mars/Olympus", "../../etc/passwd"])
def test_a_zone_that_is_none_is_a_fault_of_the_configuration(timezone: str) -> None:
    with pytest.raises(ValueError, match="neither `auto` nor the name of a time zone"):
        AsteriskCdrConfig(path="Master.csv", timezone=timezone)


@pytest.mark.parametrize(
    ("name", "head", "least", "most"),
    [
        ("Master.csv", (line() + "\n" + line()[:99]).encode(), 90, 100),
        ("cdr.txt", (line() + "\n").encode(), 85, 95),
        ("Master.csv", b"", 1, 10),
        (
            "Master.csv",
            b'"Ann","1000","1001","default","2026-01-05 09:30:00","","2026-01-05 09:30:09","9","0"\n',
            1,
            10,
        ),
        ("notes.txt", b"hello\n", 0, 0),
        ("x.pcap", bytes(range(256)), 0, 0),
    ],
)
def test_sniffing(name: str, head: bytes, least: int, most: int) -> None:
    assert least <= sniff(name, head) <= most
