"""What the receiver holds goes on to other platforms: all sites' counted events, each once, whatever is killed meanwhile."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.uplink.destinations.stand_in import StandIn, stand_in
from tests.uplink.platform import TOKEN, TOKENS, Clock, fetch, shipping
from tests.uplink.receiver.batches import batch_of, events, post
from tests.uplink.receiver.storages import Place, Platform, opened, running_platform
from tests.uplink.site import MemoryOutbox
from uplink.outbox import Refusal
from uplink.receiver.forwarding import StoreFeed, read_destinations
from uplink.receiver.serve import ReceiverSettings
from uplink.receiver.storage import Storage

KILLS, KILLED_EVENTS = 5, 2000


def accept(here: StandIn, body: bytes) -> web.Response:
    """As OpenMeter: what has no subject is refused with all that came with it."""
    listed = json.loads(body)
    if any(not event["subject"] for event in listed):
        return web.json_response({"title": "Bad Request", "detail": "subject"}, status=400)
    here.keep(listed)
    return web.Response(status=204)


def destination_file(folder: Path, url: str, **more: object) -> Path:
    file = folder / "forward.toml"
    settings = {"interval_s": 1, "jitter_s": 0, "stream": True, **more}
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    file.write_text(
        "\n".join(["[[destination]]", 'name = "om"', 'kind = "openmeter"', f'url = "{url}"', 'token = "t"', *lines])
    )
    return file


def centre(folder: Path, url: str) -> AbstractAsyncContextManager[Platform]:
    return running_platform(Place(str(folder / "r.db")), read_destinations(destination_file(folder, url)))


async def until(here: StandIn, count: int, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while len(here.events) < count:
            await asyncio.sleep(0.05)


def of_site(site: str, first: int, last: int, epoch: str = "e-1", **changes: object) -> list[bytes]:
    made = (
        events(epoch, seq, seq, site=site, **{"id": f"{site}/{seq}", **changes})[0] for seq in range(first, last + 1)
    )
    return list(made)


async def test_the_counted_events_of_all_sites_go_on_and_nothing_else(storage: Place, tmp_path: Path) -> None:
    async with (
        stand_in(accept) as here,
        running_platform(storage, read_destinations(destination_file(tmp_path, here.url))) as receiver,
    ):
        for site in ("a", "b"):
            history = [*of_site(site, 1, 9), b'{"no":"event"}']
            assert (await post(receiver, batch_of(history, 1, 10), site=site))[0] == 200
        again = [
            *of_site("a", 1, 3, epoch="e-2"),
            *of_site("a", 4, 4, epoch="e-2", id="a/new", time="2026-12-01T00:00:00Z"),
        ]
        assert (await post(receiver, batch_of(again, 1, 4, epoch="e-2"), site="a"))[0] == 200
        await until(here, 19)
        sent = [event["id"] for body in here.bodies() for event in body]
        assert sorted(sent) == sorted([*(f"{site}/{seq}" for site in "ab" for seq in range(1, 10)), "a/new"])
        async with asyncio.timeout(5):  # the answer is noted a moment after it was given
            while not (shown := (await fetch(receiver, "/v1/forwards"))["forwards"][0])["through"]:
                await asyncio.sleep(0.02)
        assert (shown["name"], shown["kind"], shown["problems"]) == ("om", "openmeter", [])
        assert 0 < shown["through"] <= shown["newest"]


async def test_what_is_refused_there_is_set_aside_in_sight_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with (
        stand_in(accept) as here,
        centre(tmp_path, here.url) as receiver,
    ):
        history = [*of_site("a", 1, 5), *of_site("a", 6, 6, subject=""), *of_site("a", 7, 12)]
        await post(receiver, batch_of(history, 1, 12), site="a")
        await until(here, 11)
        await asyncio.sleep(0.2)
        answer = await fetch(receiver, "/v1/forwards/om/refused")
        (refused,) = answer["refused"]
        assert (refused["position"], refused["code"], answer["next"]) == (6, "refused_400", None)
        async with aiohttp.ClientSession() as session, session.get(receiver.url + "/metrics") as response:
            text = await response.text()
        assert 'pegcount_receiver_forwarded_total{destination="om"} 12' in text
        assert 'pegcount_receiver_forward_troubled{destination="om"} 1' in text


async def test_a_destination_that_is_down_holds_up_no_site_and_gets_everything_later(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with centre(tmp_path, nowhere) as receiver:
            assert (await post(receiver, batch_of(of_site("a", 1, 50), 1, 50), site="a"))[0] == 200
            async with asyncio.timeout(10):
                while not (shown := (await fetch(receiver, "/v1/forwards"))["forwards"][0])["problems"]:
                    await asyncio.sleep(0.05)
            assert (shown["through"], shown["problems"][0]["code"]) == (0, "refused")
    async with (
        stand_in(accept) as here,
        centre(tmp_path, here.url),
    ):
        await until(here, 50)


# --- the feed


@pytest.fixture
async def store(storage: Place) -> AsyncIterator[Storage]:
    async with opened(storage) as made:
        yield made


async def test_a_place_only_moves_forward_whoever_moves_it(store: Storage) -> None:
    one, other = StoreFeed(store), StoreFeed(store)
    assert (await one.place("om")).through == 0
    await asyncio.gather(*(feed.taken("om", through, []) for through, feed in enumerate([one, other] * 10, 1)))
    assert (await other.place("om")).through == 20
    await one.taken("om", 7, [])
    await one.save_backoff("om", b"later")
    place = await other.place("om")
    assert (place.through, place.backoff) == (20, b"later")
    assert (await one.place("another")).through == 0


async def test_refusals_are_listed_by_page_and_by_destination(store: Storage) -> None:
    feed = StoreFeed(store)
    for name in ("om", "om-2"):
        await feed.taken(name, 9, [Refusal(seq=seq, code=name, message="no") for seq in (3, 5, 9)])
    await feed.taken("om", 9, [Refusal(seq=3, code="om", message="no")])
    assert [(each.position, each.code) for each in await feed.refused("om", 0, 2)] == [(3, "om"), (5, "om")]
    assert [each.position for each in await feed.refused("om", 5, 9)] == [9]


async def test_a_destination_may_begin_with_the_next_event(storage: Place) -> None:
    async with running_platform(storage) as receiver:
        await post(receiver, batch_of(of_site("a", 1, 3), 1, 3), site="a")
        feed = StoreFeed(receiver.store, frozenset({"late"}))
        for name, held in (("early", 3), ("late", 0)):
            assert len(await feed.read((await feed.place(name)).through, 9, 10_000)) == held
        await post(receiver, batch_of(of_site("a", 1, 5), 4, 5), site="a")
        assert len(await feed.read((await feed.place("late")).through, 9, 10_000)) == 2
        assert len(await feed.read(0, 9, 1)) == 1


# --- the file

WRONG_FILES = {
    "": "there must be",
    "[uplink]\nurl = 'x'": "there must be",
    "destination = 3": "there must be",
    "[[destination]": "forward.toml: ",
    "[[destination]]\nname = 'a b'\nkind = 'openmeter'": "name must be",
    "[[destination]]\nname = 'a'\nkind = 'openmete'": "kind must be one of",
    "[[destination]]\nname = 'a'\nkind = 'openmeter'\nurl = 'ftp://x'\ntoken = 't'": r"\(a\): url must be",
    "[[destination]]\nname = 'a'\nkind = 'openmeter'\nurl = 'https://x.example'\ntoken = 't'\nfoo = 1": "foo",
    "[[destination]]\nname = 'a'\nkind = 'openmeter'\nurl = 'https://x.example'\ntoken = 't'\ncron = 'now'": r"\(a\)",
}


@pytest.mark.parametrize("content", WRONG_FILES)
def test_a_file_that_is_wrong_is_told_in_words(tmp_path: Path, content: str) -> None:
    file = tmp_path / "forward.toml"
    file.write_text(content)
    with pytest.raises(ValueError, match=WRONG_FILES[content]):
        read_destinations(file)


def test_two_destinations_have_two_names(tmp_path: Path) -> None:
    file = destination_file(tmp_path, "https://om.example.net")
    file.write_text(file.read_text() + "\n\n" + file.read_text())
    with pytest.raises(ValueError, match="each needs its own"):
        read_destinations(file)


def test_two_destinations_have_two_folders(tmp_path: Path) -> None:
    """As at a site: of what is in a folder already nothing is put there again."""
    file = tmp_path / "forward.toml"
    table = "[[destination]]\nname = '{}'\nkind = 'files'\nfolder = '{}'\n"
    file.write_text(table.format("a", "/srv/in") + table.format("b", "/srv/in/"))
    with pytest.raises(ValueError, match="each destination needs its own"):
        read_destinations(file)


def test_a_centre_is_no_fleet_it_does_not_wait_for_the_jitter(tmp_path: Path) -> None:
    file = tmp_path / "forward.toml"
    file.write_text("[[destination]]\nname = 'a'\nkind = 'files'\nfolder = '/srv/in'\ninterval_s = 30")
    assert [one.timing().jitter_s for one in read_destinations(file)] == [0]
    file.write_text(file.read_text() + "\njitter_s = 20")
    assert [one.timing().jitter_s for one in read_destinations(file)] == [20]


def test_what_goes_on_from_a_log_is_read_in_its_books(tmp_path: Path) -> None:
    """Said at once, where it would else be tried for ever."""
    destinations = read_destinations(destination_file(tmp_path, "https://om.example.net"))
    with pytest.raises(ValueError, match="forward needs books"):
        ReceiverSettings(database="nats://127.0.0.1/PEGCOUNT", tokens=TOKENS, forwards=destinations)


# --- kill -9


async def start(folder: Path, port: int, file: Path) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "agent.cli", "receiver", "--store", str(folder / "r.db")),
        *("--listen", f"127.0.0.1:{port}", "--token-file", str(folder / "tokens"), "--forward", str(file)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert (await asyncio.wait_for(process.stdout.readline(), 20)).startswith(b"receiving at ")
    return process


async def test_a_receiver_killed_at_random_forwards_everything_once(tmp_path: Path) -> None:
    """Once by id: a request whose answer the killed receiver did not note is made again with the same ids, and is known."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    random, outbox = Random(11), MemoryOutbox()
    outbox.record(KILLED_EVENTS)
    bodies: list[Any] = []
    async with stand_in(accept) as here:
        file = destination_file(tmp_path, here.url)
        process = await start(tmp_path, port, file)
        try:
            async with shipping(outbox, f"http://127.0.0.1:{port}", Clock(), max_events=100) as shipper:
                for _ in range(KILLS):
                    upload = asyncio.create_task(shipper.upload())
                    await asyncio.sleep(random.uniform(0.1, 0.9))
                    process.send_signal(signal.SIGKILL)
                    await process.wait()
                    await upload
                    process = await start(tmp_path, port, file)
                while outbox.acked < KILLED_EVENTS:
                    await shipper.upload()
            await until(here, KILLED_EVENTS)
            bodies = here.bodies()
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    assert list(here.events) == outbox.ids()
    for body in bodies:
        ids = [int(event["id"].rpartition("-")[2]) for event in body]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
