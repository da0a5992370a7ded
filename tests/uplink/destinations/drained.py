"""An agent's forwarder in a process of its own, before a real ledger: it is killed again and again while it drains."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from random import Random

from tests.uplink.test_fault_proxy import Site

PROGRAM = """
import asyncio, json, sys
from pathlib import Path
import msgspec
from agent.ledger.feed import LedgerFeed
from tests.uplink.test_fault_proxy import Site
from uplink.destinations import TAKERS
from uplink.forwarder import Forwarder

async def main(folder, kind, settings):
    made = msgspec.convert(json.loads(settings), TAKERS[kind].settings)
    site = Site(Path(folder))
    taker = TAKERS[kind].open(made, "site-1")
    print("up", flush=True)
    report = await Forwarder("there", LedgerFeed(site.ledger), taker, made.names, 900_000).upload()
    print(report.problem or "done", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""
KILLS = 4
WITHIN_S = 60.0


async def soon() -> None:
    await asyncio.sleep(Random(os.urandom(8)).uniform(0.0, 0.1))


async def drained_by_killed_agents(
    folder: Path,
    kind: str,
    settings: Mapping[str, object],
    calls: int = 400,
    moment: Callable[[], Awaitable[None]] = soon,
    kills: int = KILLS,
) -> list[str]:
    """The ids of all events in the order of the ledger, after all of them were taken. `moment`: of the kill."""
    site = Site(folder)
    await site.record(calls)
    ids = site.ids()
    await site.close()
    arguments = (str(folder), kind, json.dumps(settings))
    for kill in range(kills + 1):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, *arguments, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            assert await asyncio.wait_for(process.stdout.readline(), WITHIN_S) == b"up\n"
            if kill == kills:
                assert await asyncio.wait_for(process.stdout.readline(), WITHIN_S) == b"done\n"
            else:
                await asyncio.wait_for(moment(), WITHIN_S)
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    return ids
