"""Batches by hand, and posting them."""

import json
from typing import Any

import aiohttp
import msgspec

from tests.uplink.platform import AUTHORIZATION
from tests.uplink.receiver.storages import Platform
from tests.uplink.site import chain_of, event_body
from uplink.batch import Batch, Head, build
from uplink.receiver.serve import RunningReceiver

Answer = tuple[int, dict[str, Any]]


def events(epoch: str, first: int, last: int, site: str = "site-1", **changes: object) -> list[bytes]:
    return [event_body(site, epoch, seq, **changes) for seq in range(first, last + 1)]


def batch_of(history: list[bytes], first: int, last: int, epoch: str = "e-1", **head: object) -> Batch:
    made = Head(
        epoch=epoch,
        first=first,
        last=last,
        count=max(0, last - first + 1),
        prev=chain_of(history[: first - 1]),
        chain=chain_of(history[:last]),
        head_time_s=1_795_168_800,
    )
    return build(msgspec.structs.replace(made, **head), history[first - 1 : last])


async def post(receiver: RunningReceiver | Platform, batch: Batch, site: str = "site-1", **headers: str) -> Answer:
    async with aiohttp.ClientSession() as session:
        url = f"{receiver.url}/v1/sites/{site}/batches"
        sent = AUTHORIZATION | batch.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        async with session.post(url, data=batch.body, headers=sent) as response:
            answer = response.status, json.loads(await response.read())
    if isinstance(receiver, Platform):
        await receiver.settle(site)
    return answer


TEN = events("e-1", 1, 10)
