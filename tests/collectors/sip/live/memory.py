"""A source of packets that lives in memory, as strict as a real one: it forgets what it was told to release and no more."""

import asyncio
from collections.abc import Iterable, Sequence

from collectors.contract import Batch
from collectors.records import Leg, Record
from collectors.sip.leg import SipLeg
from collectors.sip.live.source import Frame
from collectors.sip.packets import SipPacket
from tests.collectors.sip.flows import frame_of

ETHERNET = 1


def live(packets: Iterable[SipPacket]) -> list[Frame]:
    return [Frame(packet.at_us, ETHERNET, frame_of(packet)) for packet in packets]


class Memory:
    """`held` frames, numbered from 0; the position is the number of the next. `at_once`: how many a `take` gives at most."""

    def __init__(self, held: Sequence[Frame | SipPacket] = (), at_once: int = 10_000) -> None:
        self.held = list(held)
        self.at_once = at_once
        self.released = self.next = 0
        self.is_open = False
        self.detail = "in memory"

    async def open(self, resume: bytes | None) -> None:
        self.is_open = True
        self.next = max(self.released, int(resume or 0))

    async def take(self, at_most: int, wait_s: float) -> Sequence[Frame | SipPacket]:
        taken = self.held[self.next : self.next + min(at_most, self.at_once)]
        self.next += len(taken)
        await asyncio.sleep(0 if taken else min(wait_s, 0.01))
        return taken

    @property
    def position(self) -> bytes:
        return str(self.next).encode()

    async def release(self, position: bytes) -> None:
        assert self.released <= int(position) <= self.next
        self.released = int(position)

    @property
    def counters(self) -> dict[str, int]:
        return {"kernel_drops": 3}

    async def close(self) -> None:
        self.is_open = False


class Kept:
    """A sink that keeps all."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    async def put(self, batch: Batch) -> None:
        self.batches.append(batch)

    @property
    def records(self) -> list[Record]:
        return [record for batch in self.batches for record in batch.records]

    @property
    def legs(self) -> list[SipLeg]:
        return [record for record in self.records if isinstance(record, SipLeg)]

    @property
    def keys(self) -> list[str]:
        return [record.key for record in self.records if isinstance(record, Leg)]

    @property
    def checkpoint(self) -> bytes | None:
        return next((batch.checkpoint for batch in reversed(self.batches) if batch.checkpoint), None)
