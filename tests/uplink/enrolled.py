"""Machines that enrol at a real receiver, for tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import msgspec

from tests.uplink.platform import Clock
from uplink.destinations.pegcount_http import PegcountHttp, PegcountSettings
from uplink.enrol import About, enrol, rotate
from uplink.identity import Enrolment
from uplink.line import HttpLine, LineSettings
from uplink.outbox import Outbox
from uplink.receiver.agents import KIND as AGENT
from uplink.receiver.agents import AgentKey
from uplink.receiver.enrolling import KIND, Token
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.storage import Documents
from uplink.receiver.tokens import Tokens, token_hash
from uplink.shipper import Pace, Shipper

SITE = "3f0a2f3e-0000-4000-8000-00000000beef"
TOKEN = "an-enrolment-token"
ABOUT = About(version="1.0", machine="pbx-1")


@asynccontextmanager
async def platform_at(folder: Path, **settings: object) -> AsyncIterator[RunningReceiver]:
    """A receiver that knows no bearer token at all."""
    given = {"database": str(folder / "receiver.db"), "tokens": Tokens(write={}), "port": 0, **settings}
    running = await serve(ReceiverSettings(**given))  # type: ignore[arg-type]
    try:
        yield running
    finally:
        await running.close()


async def give_token(documents: Documents, text: str = TOKEN, **changes: object) -> None:
    token = msgspec.structs.replace(Token(provider="acme", site=SITE), **changes)
    await documents.put(KIND, token_hash(text), msgspec.json.encode(token))


async def keys_at(documents: Documents) -> list[AgentKey]:
    """All keys that the platform knows."""
    return [msgspec.json.decode(each.body, type=AgentKey) for each in await documents.listed(AGENT)]


async def enrol_at(url: str, folder: Path, token: str = TOKEN, **line: object) -> Enrolment:
    opened = HttpLine(msgspec.convert({"url": url, **line}, LineSettings))
    try:
        return await enrol(opened, folder, token, ABOUT)
    finally:
        await opened.close()


async def rotate_at(url: str, folder: Path) -> Enrolment:
    opened = HttpLine(LineSettings(url=url))
    try:
        return await rotate(opened, folder, ABOUT)
    finally:
        await opened.close()


@asynccontextmanager
async def enrolled_shipping(
    outbox: Outbox, url: str, folder: Path, clock: Clock | None = None, **line: object
) -> AsyncIterator[Shipper]:
    settings = msgspec.convert({"url": url, **line}, PegcountSettings)
    destination = PegcountHttp(settings, (await outbox.identity()).site, folder)
    keys = destination.platform_keys
    shipper = Shipper("platform", outbox, destination, Pace(), clock or Clock(), Random(7), platform_keys=keys)
    try:
        yield shipper
    finally:
        await shipper.stop()
        await destination.close()
