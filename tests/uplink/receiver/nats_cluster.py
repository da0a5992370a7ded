"""Three NATS servers on loopback that keep a stream together: what one of them acknowledged, two have on the disk."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import nats
import nats.errors
from nats.js import JetStreamContext

from tests.uplink.receiver.jetstream import NatsServer
from tests.uplink.receiver.postgres import free_port

READY_S = 20.0


class NatsCluster:
    """Within `with` it runs."""

    def __init__(self) -> None:
        routes = [free_port() for _ in range(3)]
        others = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        self.servers = {
            f"n{number}": NatsServer(
                f'server_name: n{number}\ncluster {{ name: c, listen: "127.0.0.1:{port}", routes: [{others}] }}\n'
            )
            for number, port in enumerate(routes)
        }

    def __enter__(self) -> Self:
        for server in self.servers.values():
            server.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in self.servers.values():
            server.__exit__(kind, error, traceback)

    @property
    def hosts(self) -> str:
        return ",".join(f"127.0.0.1:{server.port}" for server in self.servers.values())

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[JetStreamContext]:
        client = await nats.connect([f"nats://{host}" for host in self.hosts.split(",")], reconnect_time_wait=1)
        try:
            yield client.jetstream()
        finally:
            await client.close()

    async def make(self, **stream: Any) -> None:
        """As soon as the servers have agreed on who leads."""
        async with self.operator() as js, asyncio.timeout(READY_S):
            while True:
                try:
                    await js.add_stream(**stream, num_replicas=3)
                    return
                except (nats.errors.Error, TimeoutError):
                    await asyncio.sleep(0.1)

    async def leader(self, stream: str) -> str:
        async with self.operator() as js:
            cluster = (await js.stream_info(stream)).cluster
        return cluster.leader or "" if cluster else ""

    async def let_lead(self, name: str, stream: str) -> None:
        wanted = json.dumps({"placement": {"preferred": name}}).encode()
        async with self.operator() as js, asyncio.timeout(READY_S):
            while await self.leader(stream) != name:
                await js._nc.request(f"$JS.API.STREAM.LEADER.STEPDOWN.{stream}", wanted, timeout=5)
                await asyncio.sleep(0.2)
