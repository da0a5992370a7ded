"""Fleets for tests: operators and sightings in a real store, and a receiver over it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import msgspec

from tests.uplink.platform import TOKENS
from tests.uplink.site import START, chain_of, event_body
from uplink.batch import Head
from uplink.receiver import seen
from uplink.receiver.fleet import operators
from uplink.receiver.fleet.operators import Operator, Role, hashed
from uplink.receiver.screen import Place, screen
from uplink.receiver.seen import Seen
from uplink.receiver.serve import ReceiverSettings, RunningReceiver, serve
from uplink.receiver.storage import Documents, Incoming, Storage
from uplink.status import AgentStatus

PASSWORD = "correct horse battery"
NOW_MS = 1_795_000_000_000
"""2026-11-18, 11:06:40 UTC."""


@cache
def scrypt(password: str) -> operators.Password:
    """Once for all tests: it takes a third of a second."""
    return hashed(password)


async def hire(documents: Documents, name: str = "ada", role: Role = "admin", password: str = PASSWORD) -> None:
    operator = Operator(name=name, role=role, password=scrypt(password), changed_ms=0)
    assert await operators.save(documents, operator, 0)


def sighting(site: str, seen_ms: int, **changes: object) -> Seen:
    """Of a site that is well."""
    status = AgentStatus(version="0.2.0", interval_s=900)
    made = Seen(site=site, seen_ms=seen_ms, epoch="e-1", acked_through=500, skew_ms=0, status=status)
    return msgspec.structs.replace(made, **changes)


async def sight(documents: Documents, *sightings: Seen) -> None:
    for each in sightings:
        await documents.put(seen.KIND, each.site, msgspec.json.encode(each))


async def fill(store: Storage, sites: int) -> None:
    """So many sites that have reported one event each."""

    async def report(site: str, now_ms: int) -> None:
        body = event_body(site, "e-1", 1)
        head = Head(
            epoch="e-1", first=1, last=1, count=1, prev=START, chain=chain_of([body]), head_time_s=now_ms // 1000
        )
        screened = screen(Place(site, "e-1"), 1, [body])
        await store.append(Incoming(site=site, head=head, events=screened, now_ms=now_ms, encoded=b""))

    now_ms = time.time_ns() // 1_000_000
    for first in range(0, sites, 1000):
        names = (f"site-{number:05}" for number in range(first, min(first + 1000, sites)))
        await asyncio.gather(*(report(name, now_ms) for name in names))


@asynccontextmanager
async def receiving(folder: Path, **settings: object) -> AsyncIterator[RunningReceiver]:
    running = await serve(
        ReceiverSettings(database=str(folder / "receiver.db"), tokens=TOKENS, port=0, **settings)  # type: ignore[arg-type]
    )
    try:
        yield running
    finally:
        await running.close()
