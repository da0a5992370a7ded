"""A receiver that is killed again and again, while a site drains its backlog into it."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from random import Random

from tests.uplink.platform import TOKEN, Clock, counted_ids, fetch, receiver_at, shipping
from tests.uplink.site import START, MemoryOutbox
from uplink.events import chain_next
from uplink.outbox import Chunk
from uplink.receiver.tokens import token_hash

EVENTS, KILLS = 5000, 6

RECEIVER = f"""
import asyncio, sys
from uplink.receiver.serve import ReceiverSettings, serve
from uplink.receiver.tokens import Tokens

async def main():
    tokens = Tokens(write={{"{token_hash(TOKEN)}": "*"}})
    await serve(ReceiverSettings(database=sys.argv[1], port=int(sys.argv[2]), tokens=tokens))
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Backlog(MemoryOutbox):
    """Works each chain value out once; 5,000 events are too many for brute force in each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.chains = [START]

    async def read(self, epoch: str, after: int, max_events: int, max_bytes: int) -> Chunk:
        while len(self.chains) <= len(self.bodies):
            self.chains.append(chain_next(self.chains[-1], self.bodies[len(self.chains) - 1]))
        taken = self.bodies[after : after + max_events]
        last = after + len(taken)
        return Chunk(first=after + 1, last=last, prev=self.chains[after], chain=self.chains[last], bodies=taken)


async def start(folder: Path, port: int) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RECEIVER, str(folder / "receiver.db"), str(port), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"up\n"
    return process


async def test_a_receiver_killed_at_random_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    random, outbox, kills = Random(os.getpid()), Backlog(), 0
    outbox.record(EVENTS)
    process = await start(tmp_path, port)
    try:
        async with shipping(outbox, f"http://127.0.0.1:{port}", Clock(), max_events=20) as shipper:
            while outbox.acked < EVENTS:
                upload = asyncio.create_task(shipper.upload())
                if kills < KILLS:
                    await asyncio.sleep(random.uniform(0.0, 0.05))
                    process.send_signal(signal.SIGKILL)
                    await process.wait()
                    kills += 1
                    process = await start(tmp_path, port)
                await upload
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with receiver_at(tmp_path) as receiver:
        assert await counted_ids(receiver) == outbox.ids()
        (total,) = (await fetch(receiver, "/v1/sites/site-1/totals"))["totals"]
        assert (total["events"], total["quantity"]) == (EVENTS, "500.0")
    assert kills == KILLS
