"""Kafka as a destination, before the mock cluster of librdkafka, which speaks the real protocol on loopback."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgspec
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tests.uplink.destinations.drained import drained_by_killed_agents
from tests.uplink.feed import MemoryFeed
from tests.uplink.platform import Clock
from uplink.destinations import TAKERS
from uplink.destinations.kafka import KafkaSettings
from uplink.forwarder import Forwarder

TOPIC = "metering"


@pytest.fixture
def brokers() -> Iterator[str]:
    """The cluster lives as long as its first producer."""
    cluster = Producer({"test.mock.num.brokers": 3, "bootstrap.servers": "mock", "log_level": 0})
    found = cluster.list_topics(TOPIC, timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in found)
    del cluster


def held(brokers: str) -> list[Message]:
    """All messages of the topic, each partition's in order."""
    reader = Consumer({"bootstrap.servers": brokers, "group.id": "reader", "log_level": 0})
    partitions = [TopicPartition(TOPIC, number, 0) for number in reader.list_topics(TOPIC).topics[TOPIC].partitions]
    wanted = sum(reader.get_watermark_offsets(partition, timeout=10)[1] for partition in partitions)
    reader.assign(partitions)
    found: list[Message] = []
    until = time.monotonic() + 20
    while len(found) < wanted and time.monotonic() < until:
        found += [message for message in reader.consume(500, 0.5) if message.error() is None]
    reader.close()
    return found


def held_ids(brokers: str) -> list[str]:
    return [json.loads(message.value() or b"")["id"] for message in held(brokers)]


@asynccontextmanager
async def forwarding(brokers: str, feed: MemoryFeed, **given: object) -> AsyncIterator[Forwarder]:
    made = msgspec.convert({"brokers": brokers, "topic": TOPIC, "timeout_s": 10.0, **given}, KafkaSettings)
    taker = TAKERS["kafka"].open(made, "site-1")
    try:
        yield Forwarder("kafka", feed, taker, made.names, 900_000, Clock(), Random(1))
    finally:
        await taker.close()


async def test_each_event_is_a_message_with_its_own_id_and_key_in_order(brokers: str) -> None:
    feed = MemoryFeed()
    feed.record(1200)
    async with forwarding(brokers, feed) as loop:
        report = await loop.upload()
    assert (report.acked, report.problem) == (1200, "")
    messages = held(brokers)
    assert [json.loads(message.value() or b"")["id"] for message in messages] == feed.ids()
    first = messages[0]
    assert (first.key(), first.value()) == (b"101", feed.items[0].body)
    headers = dict(first.headers() or [])
    assert (headers["ce_id"], headers["ce_type"]) == (b"event-1", b"voice.minutes")
    assert headers["content-type"] == b"application/cloudevents+json; charset=UTF-8"


async def test_an_event_that_is_too_long_is_put_aside_alone(brokers: str) -> None:
    feed = MemoryFeed()
    feed.record(3)
    feed.record(1, padding="x" * 1_100_000)
    feed.record(3)
    async with forwarding(brokers, feed) as loop:
        assert (await loop.upload()).problem == ""
    assert (feed.refused_ids(), feed.refused[4].code, len(held_ids(brokers))) == (["event-4"], "too_large", 6)


async def test_brokers_that_are_not_there_keep_everything() -> None:
    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("127.0.0.1:1", feed, timeout_s=1.0) as loop:
        assert (await loop.upload()).problem == "unreachable"
    assert (feed.through, feed.refused) == (0, {})


async def test_agents_that_are_killed_as_they_send_leave_every_event_there_known_by_its_id(
    brokers: str, tmp_path: Path
) -> None:
    made = await drained_by_killed_agents(tmp_path, "kafka", {"brokers": brokers, "topic": TOPIC})
    assert set(held_ids(brokers)) == set(made)


@pytest.mark.parametrize(
    "wrong", [{"brokers": "host"}, {"topic": "a b"}, {"user": "u"}, {"ca_file": "/ca"}, {"key": "id"}]
)
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"brokers": "host:9092", "topic": "t", **wrong}, KafkaSettings)
