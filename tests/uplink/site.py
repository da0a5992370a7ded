"""A site for tests: a ledger in memory that keeps the outbox's laws by brute force, and can forget like a real one.

The events are written by hand here, not by `uplink.events.encode`, so that the wire form has a second author.
"""

import hashlib
import json

from uplink.outbox import Chunk, Cursor, Identity, Refusal, UploadLog, Waiting
from uplink.receipts import Receipted

START = bytes(32)


def chain_of(bodies: list[bytes]) -> bytes:
    """The chain value after `bodies`, worked out the slow way."""
    chain = START
    for body in bodies:
        chain = hashlib.sha256(chain + body).digest()
    return chain


def event_body(site: str, epoch: str, seq: int, /, **changes: object) -> bytes:
    event = {
        "specversion": "1.0",
        "id": changes.pop("id", f"event-{seq}"),
        "source": f"urn:pegcount:site:{site}",
        "type": changes.pop("type", "voice.minutes"),
        "subject": "101",
        "time": changes.pop("time", "2026-11-20T10:00:00.000Z"),
        "recordedtime": "2026-11-20T10:00:01.000Z",
        "epoch": epoch,
        "sequence": str(seq),
        "datacontenttype": "application/json",
        "data": {"quantity": changes.pop("quantity", "0.1"), "unit": "minute", "padding": changes.pop("padding", "")},
    }
    return json.dumps(event | changes, separators=(",", ":"), ensure_ascii=False).encode()


class MemoryOutbox:
    """The outbox's laws, as plainly as they can be said. One destination."""

    def __init__(self, site: str = "site-1", epoch: str = "epoch-1") -> None:
        self.site = site
        self.epoch = epoch
        self.after_epoch = ""
        self.after_chain = b""
        self.made: list[dict[str, object]] = []
        self.bodies: list[bytes] = []
        self.acked = 0
        self.pruned = 0
        self.backoff = b""
        self.refused: dict[str, Refusal] = {}
        self.uploads: list[UploadLog] = []
        self.answers: list[bytes] = []
        self.receipts: list[Receipted] = []
        self.epochs_begun: list[str] = []

    def record(self, count: int = 1, **changes: object) -> None:
        """Something happened at the site `count` times."""
        for _ in range(count):
            self._store({"id": f"event-{len(self.made) + 1}", **changes})
            self.made.append({"id": f"event-{len(self.made) + 1}", **changes})

    def _store(self, event: dict[str, object]) -> None:
        self.bodies.append(event_body(self.site, self.epoch, len(self.bodies) + 1, **event))

    def ids(self) -> list[str]:
        return [str(each["id"]) for each in self.made]

    async def identity(self) -> Identity:
        return Identity(
            site=self.site,
            source=f"urn:pegcount:site:{self.site}",
            epoch=self.epoch,
            after_epoch=self.after_epoch,
            after_chain=self.after_chain,
        )

    async def cursor(self, destination: str) -> Cursor:
        chain = chain_of(self.bodies[: self.acked])
        return Cursor(epoch=self.epoch, acked_through=self.acked, chain=chain, backoff=self.backoff)

    async def read(self, epoch: str, after: int, max_events: int, max_bytes: int) -> Chunk:
        assert epoch == self.epoch
        assert self.pruned <= after <= len(self.bodies)
        taken: list[bytes] = []
        for body in self.bodies[after : after + max_events]:
            if taken and sum(map(len, taken)) + len(body) > max_bytes:
                break
            taken.append(body)
        last = after + len(taken)
        return Chunk(
            first=after + 1,
            last=last,
            prev=chain_of(self.bodies[:after]),
            chain=chain_of(self.bodies[:last]),
            bodies=taken,
        )

    async def acknowledge(
        self,
        destination: str,
        epoch: str,
        through: int,
        refused: list[Refusal],
        answer: bytes,
        receipt: Receipted | None = None,
    ) -> None:
        assert epoch == self.epoch
        assert through <= len(self.bodies)
        if receipt:
            self.receipts.append(receipt)
        if through <= self.acked:
            return
        self.acked = through
        self.answers.append(answer)
        for each in refused:
            self.refused[json.loads(self.bodies[each.seq - 1])["id"]] = each

    async def save_backoff(self, destination: str, state: bytes) -> None:
        self.backoff = state

    async def log_upload(self, destination: str, entry: UploadLog) -> None:
        self.uploads.append(entry)

    async def begin_epoch(self, reason: str) -> str:
        unacknowledged = [json.loads(body)["id"] for body in self.bodies[self.acked :]]
        again = [each for each in self.made if each["id"] in unacknowledged]
        self.after_epoch, self.after_chain = self.epoch, chain_of(self.bodies)
        self.epochs_begun.append(reason)
        self.epoch = f"{self.epoch}.n"
        self.bodies, self.acked, self.pruned = [], 0, 0
        for each in again:
            self._store(each)
        return self.epoch

    async def waiting(self, destination: str) -> Waiting:
        count = len(self.bodies) - self.acked
        at_ms = 1_763_632_801_000 if count else 0
        end = len(self.bodies)
        end_chain = chain_of(self.bodies) if end else b""
        return Waiting(count=count, oldest_ms=at_ms, newest_ms=at_ms, end=end, end_chain=end_chain)

    async def horizon(self, epoch: str) -> int:
        return self.pruned + 1
