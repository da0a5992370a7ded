"""NATS JetStream as a destination, before a real server: what it acknowledged is there, each event once."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import nats
import pytest
from nats.js import JetStreamContext, api

from tests.uplink.destinations.drained import drained_by_killed_agents
from tests.uplink.feed import MemoryFeed
from tests.uplink.platform import Clock
from tests.uplink.receiver.jetstream import NatsServer
from uplink.destinations import TAKERS
from uplink.destinations.jetstream import doubts
from uplink.destinations.nats import NatsSettings, subject_of
from uplink.forwarder import Forwarder
from uplink.line import CredentialsUnreadable
from uplink.taker import Names, event_of

STREAM = {"name": "METERS", "subjects": ["pegcount.>"], "discard": api.DiscardPolicy.NEW, "duplicate_window": 3600.0}


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        yield running


def address(server: NatsServer) -> str:
    return f"nats://127.0.0.1:{server.port}"


@asynccontextmanager
async def operator(server: NatsServer, **login: Any) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(address(server), **login)
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def make_stream(server: NatsServer, **changes: Any) -> None:
    async with operator(server) as js:
        await js.add_stream(**(STREAM | changes))


async def held(server: NatsServer) -> list[nats.js.api.RawStreamMsg]:
    async with operator(server) as js:
        info = await js.stream_info("METERS")
        return [await js.get_msg("METERS", seq) for seq in range(1, info.state.messages + 1)]


async def held_ids(server: NatsServer) -> list[str]:
    return [json.loads(message.data or b"")["id"] for message in await held(server)]


@asynccontextmanager
async def forwarding(server: NatsServer, feed: MemoryFeed, **given: object) -> AsyncIterator[Forwarder]:
    made = msgspec.convert({"url": address(server), "stream_name": "METERS", "timeout_s": 3.0, **given}, NatsSettings)
    taker = TAKERS["nats"].open(made, "site-1")
    try:
        yield Forwarder("nats", feed, taker, made.names, 900_000, Clock(), Random(1))
    finally:
        await taker.close()


def recorded(count: int, **changes: object) -> MemoryFeed:
    feed = MemoryFeed()
    feed.record(count, **changes)
    return feed


async def test_each_event_is_a_message_under_its_subject_with_its_own_id(server: NatsServer) -> None:
    await make_stream(server)
    feed = recorded(1200)
    async with forwarding(server, feed) as loop:
        report = await loop.upload()
    assert (report.acked, report.problem, await held_ids(server)) == (1200, "", feed.ids())
    first = (await held(server))[0]
    assert (first.subject, first.data) == ("pegcount.site-1.voice.minutes", feed.items[0].body)
    assert first.headers is not None
    assert (first.headers["Nats-Msg-Id"], first.headers["content-type"]) == ("event-1", "application/cloudevents+json")


async def test_what_it_has_already_is_success_and_no_second_message(server: NatsServer) -> None:
    await make_stream(server)
    feed = recorded(10)
    async with forwarding(server, feed) as loop:
        await loop.upload()
        feed.through = 3
        report = await loop.upload()
    assert (report.acked, report.known, report.problem) == (7, 7, "")
    assert await held_ids(server) == feed.ids()


async def test_a_server_that_is_killed_and_comes_back_has_every_event_once(server: NatsServer) -> None:
    await make_stream(server)
    feed = recorded(3000)
    chance = Random(5)
    async with forwarding(server, feed) as loop:
        for _ in range(4):
            upload = asyncio.create_task(loop.upload())
            await asyncio.sleep(chance.uniform(0.02, 0.2))
            server.stop(signal.SIGKILL)
            await asyncio.wait_for(upload, 10)
            assert (await loop.upload()).problem in ("", "refused")
            server.start()
        for _ in range(20):
            if (await loop.upload()).problem == "":
                break
            await asyncio.sleep(0.1)
    assert feed.through == 3000
    assert sorted(await held_ids(server)) == sorted(feed.ids())


async def test_agents_that_are_killed_as_they_publish_leave_every_event_there_once(
    server: NatsServer, tmp_path: Path
) -> None:
    await make_stream(server)
    made = await drained_by_killed_agents(tmp_path, "nats", {"url": address(server), "stream_name": "METERS"})
    assert sorted(await held_ids(server)) == sorted(made)


async def test_a_subject_for_each_id_knows_an_event_again_without_any_window(server: NatsServer) -> None:
    await make_stream(server, duplicate_window=0.1, max_msgs_per_subject=1, discard_new_per_subject=True)
    feed = recorded(10)
    async with forwarding(server, feed, subject="pegcount.{site}.{id}") as loop:
        await loop.upload()
        await asyncio.sleep(0.3)
        feed.through = 0
        report = await loop.upload()
    assert (report.known, report.problem, await held_ids(server)) == (10, "", feed.ids())


@pytest.mark.parametrize("subject", ["pegcount.{site}.{id}", "pegcount.{site}"])
async def test_a_full_stream_keeps_everything_and_goes_on_when_there_is_room(server: NatsServer, subject: str) -> None:
    await make_stream(server, max_msgs=5)
    feed = recorded(10)
    async with forwarding(server, feed, subject=subject) as loop:
        assert (await loop.upload()).problem == "destination_full"
        assert (feed.through, feed.refused) == (0, {})
        async with operator(server) as js:
            await js.update_stream(**(STREAM | {"max_msgs": 50}))
        assert (await loop.upload()).problem == ""
    assert await held_ids(server) == feed.ids()


async def test_a_subjects_limit_is_no_acknowledgement_where_subjects_are_shared(server: NatsServer) -> None:
    await make_stream(server, max_msgs_per_subject=1, discard_new_per_subject=True)
    feed = recorded(2)
    async with forwarding(server, feed) as loop:
        assert (await loop.upload()).problem == "destination_full"
    assert feed.through == 0


async def test_a_stream_that_is_missing_or_takes_other_subjects_keeps_everything(server: NatsServer) -> None:
    feed = recorded(3)
    async with forwarding(server, feed) as loop:
        assert (await loop.upload()).problem == "destination_misconfigured"
        await make_stream(server, subjects=["others.>"])
        assert (await loop.upload()).problem == "destination_misconfigured"
        async with operator(server) as js:
            await js.add_stream(name="SECOND", subjects=["pegcount.>"])
        assert (await loop.upload()).problem == "destination_misconfigured"
    assert (feed.through, feed.refused) == (0, {})


async def test_an_event_that_is_too_long_for_the_stream_is_put_aside_alone(server: NatsServer) -> None:
    await make_stream(server, max_msg_size=2000)
    feed = recorded(3)
    feed.record(1, padding="x" * 3000)
    feed.record(3)
    async with forwarding(server, feed) as loop:
        assert (await loop.upload()).problem == ""
    assert (feed.refused_ids(), feed.refused[4].code) == (["event-4"], "too_large")
    assert len(await held_ids(server)) == 6


async def test_a_server_that_is_not_there_keeps_everything_and_the_next_of_the_list_is_asked(
    server: NatsServer,
) -> None:
    await make_stream(server)
    feed = recorded(3)
    async with forwarding(server, feed, url="nats://127.0.0.1:1") as loop:
        assert (await loop.upload()).problem == "refused"
    async with forwarding(server, feed, url="nats://platform.invalid:4222") as loop:
        assert (await loop.upload()).problem == "dns"
    assert feed.through == 0
    async with forwarding(server, feed, url=f"nats://127.0.0.1:1,{address(server)}") as loop:
        assert (await loop.upload()).problem == ""
    assert await held_ids(server) == feed.ids()


def test_a_streams_settings_that_may_lose_or_double_are_told() -> None:
    settings = NatsSettings(url="nats://x", stream_name="S")
    good = api.StreamConfig(
        discard=api.DiscardPolicy.NEW, max_bytes=9, duplicate_window=900, storage=api.StorageType.FILE
    )
    assert doubts(good, settings) == []
    for change, word in (
        ({"discard": api.DiscardPolicy.OLD}, "discard: old"),
        ({"storage": api.StorageType.MEMORY}, "memory"),
        ({"retention": api.RetentionPolicy.INTEREST}, "interest"),
        ({"duplicate_window": 120.0}, "120 s"),
    ):
        (doubt,) = doubts(good.evolve(**change), settings)
        assert word in doubt


async def test_doubts_are_logged_once_for_each_connection(server: NatsServer, caplog: pytest.LogCaptureFixture) -> None:
    await make_stream(server, duplicate_window=120.0)
    feed = recorded(3)
    with caplog.at_level(logging.WARNING):
        async with forwarding(server, feed) as loop:
            await loop.upload()
            feed.record(1)
            await loop.upload()
    assert [record.getMessage() for record in caplog.records] == [
        "stream METERS: it knows ids again for 120 s only, less than `interval_s`"
    ]


@pytest.mark.parametrize(
    ("template", "meter", "expected"),
    [
        ("pegcount.{site}.{meter}", "voice.minutes", "pegcount.site-1.voice.minutes"),
        ("m.{meter}.{subject}", "a b.*.>..c", "m.a_b._._.c.1_1_"),
        ("m.{meter}", "...", "m._"),
        ("m.{id}", "call", "m.event-1"),
    ],
)
def test_a_subject_is_always_one_that_can_be_published_to(template: str, meter: str, expected: str) -> None:
    feed = recorded(1, type=meter, subject="1.1>")
    event = event_of(1, feed.items[0].body, Names())
    assert event is not None
    assert subject_of(template, event) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://x"},
        {"url": "nats://user:secret@x"},
        {"stream_name": "a.b"},
        {"subject": "{nobody}"},
        {"subject": "a..b"},
        {"subject": "a.>"},
        {"user": "u"},
        {"user": "u", "password_file": "/p", "token_file": "/t"},
        {"token_file": "/t", "creds_file": "/c"},
        {"creds_file": "/c", "nkey_file": "/n"},
        {"certificate": "/c"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"url": "nats://x", "stream_name": "S", **wrong}, NatsSettings)


def test_a_secret_that_cannot_be_read_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "rubbish").write_text("rubbish")
    for key, file in (
        ("token_file", "none"),
        ("ca_file", "none"),
        ("creds_file", "none"),
        ("creds_file", "rubbish"),
        ("nkey_file", "none"),
        ("nkey_file", "rubbish"),
    ):
        made = msgspec.convert({"url": "nats://x", "stream_name": "S", key: str(tmp_path / file)}, NatsSettings)
        with pytest.raises(CredentialsUnreadable, match=file):
            TAKERS["nats"].open(made, "site-1")
