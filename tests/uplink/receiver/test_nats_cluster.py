"""A log and a destination on three servers: the one that leads both is killed in the midst, and each event is there once."""

import asyncio
import json
import signal
from pathlib import Path

import pytest

from tests.uplink.destinations.test_nats import STREAM, forwarding, recorded
from tests.uplink.receiver.nats_cluster import NatsCluster
from tests.uplink.receiver.storages import booking, settled
from tests.uplink.receiver.test_booking import LENGTH, incoming
from uplink.forwarder import Forwarder
from uplink.receiver.placing import Append, Duplicate
from uplink.receiver.storage import Appended, StoreUnavailable
from uplink.receiver.storage.jetstream import JetStreamStore
from uplink.receiver.storage.opening import open_storage

SITES = [f"site-{number}" for number in range(15)]


async def logged(store: JetStreamStore, site: str) -> list[Appended]:
    """Batch after batch, each again until it is taken, as an agent does."""
    answers: list[Appended] = []
    while len(answers) < LENGTH:
        try:
            answers.append(await store.append(incoming(site, "original", len(answers) + 1, 1)))
        except StoreUnavailable:
            await asyncio.sleep(0.1)
    return answers


async def drained(loop: Forwarder) -> None:
    while (await loop.upload()).problem:
        await asyncio.sleep(0.1)


async def test_where_the_leader_is_killed_in_the_midst_log_and_destination_have_everything_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplink.receiver.storage.jetstream_log.ANSWER_S", 1.0)
    feed = recorded(5000)
    with NatsCluster() as cluster:
        await cluster.make(**STREAM)
        servers = [f"nats://{host}" for host in cluster.hosts.split(",")]
        books = await open_storage(str(tmp_path / "books.db"))
        store = await JetStreamStore.open(f"nats://{cluster.hosts}/PEGCOUNT?replicas=3", books)
        (any_of_them, *_) = cluster.servers.values()
        async with booking(store), forwarding(any_of_them, feed, url=",".join(servers), timeout_s=2.0) as loop:
            leader = await cluster.leader("PEGCOUNT")
            await cluster.let_lead(leader, "METERS")
            log = asyncio.gather(*(logged(store, site) for site in SITES))
            destination = asyncio.create_task(drained(loop))
            while feed.through == 0 or (await store.log.js.stream_info("PEGCOUNT")).state.messages < 3 * len(SITES):
                await asyncio.sleep(0.01)
            assert feed.through < 5000
            cluster.servers[leader].stop(signal.SIGKILL)
            answers = await log
            await destination
            cluster.servers[leader].start()
            for site in SITES:
                await settled(store, site)
        assert {type(each.placement) for one in answers for each in one} <= {Append, Duplicate}
        assert (await store.log.js.stream_info("PEGCOUNT")).state.messages == len(SITES) * LENGTH
        for site in SITES:
            assert [event.seq for event in await books.events(site, 0, 99)] == list(range(1, LENGTH + 1))
        await store.close()
        assert (feed.through, feed.refused) == (5000, {})
        assert sorted(await held_ids(cluster)) == sorted(feed.ids())


async def held_ids(cluster: NatsCluster) -> list[str]:
    async with cluster.operator() as js:
        count = (await js.stream_info("METERS")).state.messages
        found = [
            await asyncio.gather(*(js.get_msg("METERS", seq) for seq in range(first, min(first + 200, count + 1))))
            for first in range(1, count + 1, 200)
        ]
    return [json.loads(message.data or b"")["id"] for some in found for message in some]
