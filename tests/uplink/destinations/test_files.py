"""Files by folder: whole or not there, each event once, whatever fails and however requests are cut."""

import asyncio
import csv
import gzip
import io
import json
import os
import resource
from pathlib import Path
from random import Random

import duckdb
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.uplink.destinations.drained import drained_by_killed_agents
from tests.uplink.feed import MemoryFeed
from tests.uplink.platform import Clock
from uplink.destinations import TAKERS
from uplink.destinations.files import FilesSettings, open_files
from uplink.forwarder import Forwarder
from uplink.taker import Names, event_of

FORMS = [(form, compressed) for form in ("csv", "jsonl", "parquet") for compressed in (False, True)]
every_form = pytest.mark.parametrize(("form", "compressed"), FORMS)


def suffix(form: str, compressed: bool) -> str:
    return f"{form}.gz" if compressed and form != "parquet" else form


def forwarder(folder: Path, feed: MemoryFeed, **given: object) -> Forwarder:
    made = msgspec.convert({"folder": str(folder), **given}, FilesSettings)
    return Forwarder("files", feed, TAKERS["files"].open(made, "site-1"), made.names, 900_000, Clock(), Random(1))


def lines(path: Path) -> list[dict[str, str]]:
    """What a reader that knows nothing of us finds."""
    if path.suffix == ".parquet":
        return [{"id": str(row[0])} for row in duckdb.execute("SELECT id FROM read_parquet(?)", [str(path)]).fetchall()]
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    if ".csv" in path.name:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    return [json.loads(line) for line in text.splitlines()]


def ids(folder: Path) -> list[str]:
    return [line["id"] for path in sorted(folder.iterdir()) for line in lines(path)]


@every_form
async def test_each_request_becomes_one_file_that_is_named_by_what_is_in_it(
    tmp_path: Path, form: str, compressed: bool
) -> None:
    feed = MemoryFeed()
    feed.record(5)
    report = await forwarder(tmp_path, feed, form=form, compressed=compressed, max_events=3).upload()
    assert (report.acked, report.problem, ids(tmp_path)) == (5, "", feed.ids())
    begins = [path.name.rpartition("_")[0] for path in sorted(tmp_path.iterdir())]
    assert begins == [
        "site-1_2026-11-20_000000000001-000000000003",
        "site-1_2026-11-20_000000000004-000000000005",
    ]
    assert {path.name.partition(".")[2] for path in tmp_path.iterdir()} == {suffix(form, compressed)}


async def test_a_row_of_csv_is_what_a_hand_would_write(tmp_path: Path) -> None:
    feed = MemoryFeed()
    data = {"quantity": "-0.016667", "unit": "min", "class": "international", "country": "FR", "pdd_ms": 12}
    feed.record(1, subject="+4930123", data=data | {"corrects": "=1+1", "note": 'a "b", c'})
    names = {"meters": {"voice.minutes": "@SUM(A1)"}}
    await forwarder(tmp_path, feed, names=names).upload()
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == (
        b"id,time,source,subject,meter,quantity,unit,corrects,class,country,data\r\n"
        b"event-1,2026-11-20T10:00:00.000Z,urn:pegcount:site:site-1,'+4930123,'@SUM(A1),-0.016667,min,'=1+1,"
        b'international,FR,"{""pdd_ms"":12,""note"":""a \\""b\\"", c""}"\r\n'
    )


async def test_a_quantity_that_is_none_cannot_be_a_formula(tmp_path: Path) -> None:
    feed = MemoryFeed()
    feed.record(1, data={"quantity": "=cmd|'/c calc'!A0", "unit": "min"})
    await forwarder(tmp_path, feed).upload()
    (path,) = tmp_path.iterdir()
    assert lines(path)[0]["quantity"] == "'=cmd|'/c calc'!A0"


async def test_json_lines_are_the_stored_events_under_their_names(tmp_path: Path) -> None:
    feed = MemoryFeed()
    feed.record(2)
    await forwarder(tmp_path, feed, form="jsonl").upload()
    (path,) = tmp_path.iterdir()
    assert path.read_bytes() == b"".join(item.body + b"\n" for item in feed.items)


@settings(max_examples=40, deadline=None)
@given(
    form=st.sampled_from(FORMS),
    steps=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12)), min_size=1, max_size=6),
)
def test_requests_that_are_made_again_with_any_other_cut_put_no_event_there_twice(
    tmp_path_factory: pytest.TempPathFactory, form: tuple[str, bool], steps: list[tuple[int, int]]
) -> None:
    """Each step: an agent that starts anew, that believes itself as far as the first number and makes one request up to the
    second."""
    folder = tmp_path_factory.mktemp("out")
    feed = MemoryFeed()
    feed.record(12)
    events = [event for item in feed.items if (event := event_of(item.position, item.body, Names()))]
    reached: set[str] = set()
    for first, last in steps:
        if wanted := events[first:last]:
            made = FilesSettings(folder=str(folder), form=form[0], compressed=form[1])  # type: ignore[arg-type]
            asyncio.run(open_files(made, "site-1").send(wanted))
            reached |= {event.id for event in wanted}
    there = ids(folder)
    assert len(there) == len(set(there))
    assert set(there) == reached


@every_form
async def test_a_file_that_ends_in_its_midst_is_told_of_wherever_it_is_cut(
    tmp_path: Path, form: str, compressed: bool
) -> None:
    feed = MemoryFeed()
    feed.record(2)
    loop = forwarder(tmp_path, feed, form=form, compressed=compressed)
    await loop.upload()
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        feed.through = 0
        path.write_bytes(whole[:length])
        assert (await loop.upload()).problem == "folder_unusable"
    assert len(os.listdir(tmp_path)) == 1


async def test_a_file_is_never_written_again(tmp_path: Path) -> None:
    feed = MemoryFeed()
    feed.record(3)
    await forwarder(tmp_path, feed).upload()
    (path,) = tmp_path.iterdir()
    before = path.stat()
    feed.through = 0
    report = await forwarder(tmp_path, feed).upload()
    assert (report.known, path.stat().st_ino, path.stat().st_mtime_ns) == (3, before.st_ino, before.st_mtime_ns)


async def test_a_folder_that_is_missing_or_closed_or_read_only_keeps_everything(tmp_path: Path) -> None:
    feed = MemoryFeed()
    feed.record(3)
    loop = forwarder(tmp_path / "not-mounted", feed)
    assert (await loop.upload()).problem == "folder_unusable"
    assert not (tmp_path / "not-mounted").exists()
    assert "No such file" in loop.backoff.detail
    (tmp_path / "a-file").write_text("")
    assert (await forwarder(tmp_path / "a-file", feed).upload()).problem == "folder_unusable"
    assert (await forwarder(Path("/proc"), feed).upload()).problem == "folder_unusable"
    assert (feed.through, feed.refused) == (0, {})


async def test_where_there_is_no_room_everything_is_kept_and_no_half_file_shows(tmp_path: Path) -> None:
    feed = MemoryFeed()
    feed.record(3)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        assert (await forwarder(tmp_path, feed).upload()).problem == "destination_full"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (feed.through, os.listdir(tmp_path)) == (0, [".site-1.csv.part"])
    assert (await forwarder(tmp_path, feed).upload()).problem == ""
    assert ids(tmp_path) == feed.ids()


@every_form
async def test_what_a_kill_left_half_written_is_written_over(tmp_path: Path, form: str, compressed: bool) -> None:
    (tmp_path / f".site-1.{suffix(form, compressed)}.part").write_bytes(b"half" * 10_000)
    feed = MemoryFeed()
    feed.record(3)
    await forwarder(tmp_path, feed, form=form, compressed=compressed).upload()
    assert ids(tmp_path) == feed.ids()


@every_form
async def test_a_file_of_ours_that_somebody_spoilt_is_told_of_and_nothing_is_dropped(
    tmp_path: Path, form: str, compressed: bool
) -> None:
    feed = MemoryFeed()
    feed.record(3)
    await forwarder(tmp_path, feed, form=form, compressed=compressed).upload()
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"\x00\xff nonsense")
    feed.through = 0
    loop = forwarder(tmp_path, feed, form=form, compressed=compressed)
    assert (await loop.upload()).problem == "folder_unusable"
    assert path.name in loop.backoff.detail
    assert feed.through == 0


async def test_a_way_to_elsewhere_that_others_put_in_the_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.site-1.csv.part").symlink_to(tmp_path / "theirs")
    feed = MemoryFeed()
    feed.record(3)
    await forwarder(tmp_path / "out", feed).upload()
    assert (tmp_path / "theirs").read_text() == "theirs"


async def test_what_others_put_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "site-2_2026-11-20_000000000001-000000000003_0123456789abcdef.csv").write_text("of another site")
    (tmp_path / "notes.csv").write_text("notes")
    feed = MemoryFeed()
    feed.record(3)
    assert (await forwarder(tmp_path, feed).upload()).problem == ""
    assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("wrong", [{"folder": "relative"}, {"form": "xls"}, {"max_events": 0}, {"url": "file:///x"}])
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"folder": "/srv/out", **wrong}, FilesSettings)


@pytest.mark.parametrize(("form", "compressed"), [("csv", False), ("jsonl", True)])
async def test_agents_that_are_killed_as_they_write_leave_every_event_there_once(
    tmp_path: Path, form: str, compressed: bool
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    given = {"folder": str(out), "form": form, "compressed": compressed, "max_events": 7}
    made = await drained_by_killed_agents(tmp_path, "files", given)
    (out / f".site-1.{suffix(form, compressed)}.part").unlink(missing_ok=True)
    assert sorted(ids(out)) == sorted(made)
