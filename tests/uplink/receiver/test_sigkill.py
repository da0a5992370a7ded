"""Agent, receiver and consumer are killed again and again while a site works, over each storage; and while both of them
forward to other platforms besides."""

import asyncio
import os
import time

from tests.uplink.destinations.stand_in import StandIn, stand_in
from tests.uplink.fire import Sinks, endure
from tests.uplink.receiver.storages import Place
from tests.uplink.receiver.test_forwarding import accept

EVENTS, KILLS = 10_000, 20
MAX_EVENTS = 20
"""Of a batch: so few that several are on their way when somebody is killed."""
FORWARDED, FORWARD_KILLS, WITHIN_S = 3_000, 10, 60.0


async def test_whoever_is_killed_nothing_is_lost_and_nothing_counted_twice(storage: Place) -> None:
    outcome = await asyncio.to_thread(endure, storage, EVENTS, KILLS, os.getpid(), MAX_EVENTS)
    assert outcome.events >= EVENTS
    assert sum(outcome.killed.values()) == KILLS


async def test_whoever_is_killed_destinations_beside_and_behind_the_platform_get_everything(storage: Place) -> None:
    """Once by id, and in order: a request whose answer was not noted is made again with the same ids, and is known."""

    async with stand_in(accept) as beside, stand_in(accept) as centre:

        def settled(ids: list[str]) -> None:
            for there in (beside, centre):
                wait_for(there, len(ids))
                assert list(there.events) == ids

        sinks = Sinks(beside.url, centre.url, settled)
        outcome = await asyncio.to_thread(
            endure, storage, FORWARDED, FORWARD_KILLS, os.getpid(), max_events=100, sinks=sinks
        )
    assert outcome.events >= FORWARDED
    assert sum(outcome.killed.values()) == FORWARD_KILLS


def wait_for(there: StandIn, count: int) -> None:
    until = time.monotonic() + WITHIN_S
    while len(there.events) < count:
        assert time.monotonic() < until, f"{len(there.events)} of {count} arrived"
        time.sleep(0.05)
