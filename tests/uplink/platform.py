"""The other end for tests: the real receiver on loopback, a line to it that can be made to fail, and what arrived."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp

from tests.uplink.site import MemoryOutbox
from uplink.destinations import PegcountHttp, PegcountSettings
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.tokens import Tokens, token_hash
from uplink.shipper import Pace, Shipper

TOKEN = "a-token"
TOKENS = Tokens(write={token_hash(TOKEN): "*"}, operate={token_hash(TOKEN): "*"})
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}

Ask = Callable[[], Awaitable[bytes]]
Fault = Callable[[asyncio.StreamWriter, bytes, Ask], Awaitable[None]]
"""What a faulty line does with one request: write to the client, given the request and a way to ask the real receiver."""


@asynccontextmanager
async def receiver_at(folder: Path, port: int = 0) -> AsyncIterator[RunningReceiver]:
    running = await serve(ReceiverSettings(database=str(folder / "receiver.db"), tokens=TOKENS, port=port))
    try:
        yield running
    finally:
        await running.close()


class Line:
    """A proxy in front of a receiver. Each request takes the next fault of `faults`; without any it is passed on."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.faults: list[Fault] = []
        self.requests: list[bytes] = []
        self.url = ""

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await read_message(reader)
            self.requests.append(request)
            fault = self.faults.pop(0) if self.faults else pass_on
            await fault(writer, request, lambda: self._ask(request))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _ask(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        answer = await read_message(reader)
        writer.close()
        return answer


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP message with a Content-Length."""
    top = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in top.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return top + await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)


async def pass_on(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
    answer = await ask()
    writer.write(answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
    await writer.drain()


def answers(status: str, body: bytes = b"", *headers: str) -> Fault:
    """The request does not reach the receiver; something on the way answers."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]

    async def fault(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return fault


def raw(data: bytes) -> Fault:
    async def fault(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        writer.write(data)
        await writer.drain()

    return fault


def lost_answer(keep: int = 0) -> Fault:
    """The receiver gets the request and answers, and only the first `keep` bytes of the answer come back."""

    async def fault(writer: asyncio.StreamWriter, request: bytes, ask: Ask) -> None:
        writer.write((await ask())[:keep])
        await writer.drain()

    return fault


@asynccontextmanager
async def line_to(receiver: RunningReceiver) -> AsyncIterator[Line]:
    line = Line(int(receiver.url.rpartition(":")[2]))
    server = await asyncio.start_server(line.talk, "127.0.0.1", 0)
    line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield line


class Clock:
    """A wall clock that stands still until it is moved; right at first, as the receiver's is."""

    def __init__(self, now_ms: int = 0) -> None:
        self.now_ms = now_ms or time.time_ns() // 1_000_000

    def __call__(self) -> int:
        return self.now_ms


@asynccontextmanager
async def shipping(
    outbox: MemoryOutbox, url: str, clock: Callable[[], int] | None = None, timeout_s: float = 5.0, **pace: int
) -> AsyncIterator[Shipper]:
    settings = PegcountSettings(url=url, token=TOKEN, timeout_s=timeout_s)
    destination = PegcountHttp(settings, outbox.site)
    shipper = Shipper("platform", outbox, destination, Pace(**pace), clock or Clock(), Random(7))
    try:
        yield shipper
    finally:
        await shipper.stop()
        await destination.close()


async def held(receiver: RunningReceiver, site: str = "site-1") -> list[dict[str, Any]]:
    """Every event that the receiver holds of a site, page by page over HTTP."""
    events: list[dict[str, Any]] = []
    after = 0
    async with aiohttp.ClientSession(headers=AUTHORIZATION) as session:
        while True:
            url = f"{receiver.url}/v1/sites/{site}/events?after={after}&limit=700"
            async with session.get(url) as response:
                page = json.loads(await response.read())
            if not page["events"]:
                return events
            events += page["events"]
            after = page["next"]


async def counted_ids(receiver: RunningReceiver, site: str = "site-1") -> list[str]:
    return [each["event"]["id"] for each in await held(receiver, site) if each["status"] == "counted"]


async def fetch(receiver: RunningReceiver, path: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(headers=AUTHORIZATION) as session,
        session.get(receiver.url + path) as response,
    ):
        assert response.status == 200, await response.text()
        document: dict[str, Any] = json.loads(await response.read())
        return document
