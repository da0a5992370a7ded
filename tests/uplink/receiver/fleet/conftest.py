"""A receiver with an operator, and a browser that has not logged in yet."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.uplink.receiver.fleet.fleets import hire, receiving
from uplink.receiver.serve import RunningReceiver


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[RunningReceiver]:
    async with receiving(tmp_path) as running:
        await hire(running.store)
        yield running


@pytest.fixture
async def browser(receiver: RunningReceiver) -> AsyncIterator[aiohttp.ClientSession]:
    """Cookies of an address are taken, as aiohttp by itself does not."""
    async with aiohttp.ClientSession(receiver.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session
