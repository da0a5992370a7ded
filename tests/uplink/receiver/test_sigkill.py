"""Agent, receiver and consumer are killed again and again while a site works, over each storage."""

import asyncio
import os

from tests.uplink.fire import endure
from tests.uplink.receiver.storages import Place

EVENTS, KILLS = 10_000, 20


async def test_whoever_is_killed_nothing_is_lost_and_nothing_counted_twice(storage: Place) -> None:
    outcome = await asyncio.to_thread(endure, storage, EVENTS, KILLS, os.getpid())
    assert outcome.events >= EVENTS
    assert sum(outcome.killed.values()) == KILLS
