"""A store of events in memory that keeps the feed's laws by brute force."""

import json
from collections.abc import Sequence

from tests.uplink.site import event_body
from uplink.feed import Item, Place
from uplink.outbox import Refusal, UploadLog


class MemoryFeed:
    """`gap`: positions that are left out between two events."""

    def __init__(self, gap: int = 1) -> None:
        self.gap = gap
        self.items: list[Item] = []
        self.through = 0
        self.backoff = b""
        self.refused: dict[int, Refusal] = {}
        self.uploads: list[UploadLog] = []

    def record(self, count: int = 1, **changes: object) -> None:
        for _ in range(count):
            seq = len(self.items) + 1
            self.items.append(Item(seq * self.gap, event_body("site-1", "epoch-1", seq, **changes)))

    def ids(self) -> list[str]:
        return [json.loads(item.body)["id"] for item in self.items]

    def refused_ids(self) -> list[str]:
        return [json.loads(item.body)["id"] for item in self.items if item.position in self.refused]

    async def place(self, destination: str) -> Place:
        return Place(through=self.through, backoff=self.backoff)

    async def read(self, after: int, max_events: int, max_bytes: int) -> Sequence[Item]:
        found: list[Item] = []
        for item in (item for item in self.items if item.position > after):
            if len(found) == max_events or (found and sum(len(i.body) for i in found) + len(item.body) > max_bytes):
                break
            found.append(item)
        return found

    async def taken(self, destination: str, through: int, refused: Sequence[Refusal]) -> None:
        self.through = max(self.through, through)
        for each in refused:
            self.refused.setdefault(each.seq, each)

    async def save_backoff(self, destination: str, state: bytes) -> None:
        self.backoff = state

    async def log_upload(self, destination: str, entry: UploadLog) -> None:
        self.uploads.append(entry)
