"""Batches in: what `POST /v1/sites/{site}/batches` does.

Laws
- Cheap checks come first: signature or token, type and length before the body is read, digest before it is inflated,
  limits before anything is built of it.
- 200 is answered after the store said that the batch is durable, and never otherwise.
- The work on a body is done in a thread, when its turn has come (`turns`).
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Literal

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from uplink import status
from uplink.batch import CONTENT_ENCODING, CONTENT_TYPE, BatchError, BatchLimits, Head, open_batch
from uplink.events import instant
from uplink.keys import PrivateKey
from uplink.receipts import Receipt, countersign
from uplink.receiver import repair
from uplink.receiver.access import Access, Writer
from uplink.receiver.answers import Refused, check_length, json_answer, whole_body
from uplink.receiver.guard import Guard
from uplink.receiver.limits import Limits
from uplink.receiver.metrics import Counts
from uplink.receiver.placing import Append, Conflict, Duplicate, Gap, Placement
from uplink.receiver.platform_key import PlatformKeys
from uplink.receiver.resending import Resending
from uplink.receiver.screen import LATE_MS, Place, Screened, screen
from uplink.receiver.seen import Seen, Sightings
from uplink.receiver.storage import Appended, Incoming, Storage, StoreUnavailable
from uplink.receiver.turns import Turns
from uplink.signing import COVERED_BATCH

log = logging.getLogger(__name__)

_REFUSED: dict[type[Placement], Literal["gap", "conflict"]] = {Gap: "gap", Conflict: "conflict"}


class _Acknowledgement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer 200, as the contract has it."""

    acked_through: int
    epoch: str
    server_time: str
    results: list[dict[str, int | str | bool]]
    duplicate: bool
    late: bool
    receipt: Receipt
    hints: dict[str, int | bool]


class Ingest:
    """The handler, over one store."""

    def __init__(
        self,
        store: Storage,
        access: Access,
        clock_ms: Callable[[], int],
        limits: Limits,
        guard: Guard,
        counts: Counts,
        sightings: Sightings,
        keys: PlatformKeys,
        resending: Resending,
        booked: Callable[[], None],
    ) -> None:
        """`booked` is called when events were counted."""
        self.store = store
        self.access = access
        self.clock_ms = clock_ms
        self.limits = limits
        self.guard = guard
        self.counts = counts
        self.sightings = sightings
        self.keys = keys
        self.resending = resending
        self.booked = booked
        self.turns = Turns(limits)

    async def post_batch(self, request: web.Request) -> web.StreamResponse:
        began_s = time.monotonic()
        try:
            return await self._batch(request)
        except Refused as refused:
            self.counts.batches[refused.code] += 1
            raise
        except StoreUnavailable:
            self.counts.batches["store_unavailable"] += 1
            raise
        finally:
            self.counts.answer_s += time.monotonic() - began_s

    async def _batch(self, request: web.Request) -> web.Response:
        writer = await self.access.writer(request, COVERED_BATCH)
        self.guard.check_site(writer.site)
        with self.turns.holding(self._check_form(request)):
            body = await whole_body(request, self.limits.body_max_bytes, self.limits.body_timeout_s)
            self.counts.body_bytes += len(body)
            async with self.turns.turn():
                return await self._take(writer, request, body)

    def _check_form(self, request: web.Request) -> int:
        """How long the body is."""
        if request.content_type != CONTENT_TYPE:
            raise Refused("unsupported_type", f"Content-Type must be {CONTENT_TYPE}")
        if request.headers.get("Content-Encoding", "").lower() != CONTENT_ENCODING:
            raise Refused("unsupported_encoding", f"Content-Encoding must be {CONTENT_ENCODING}")
        return check_length(request, self.limits.body_max_bytes)

    async def _take(self, writer: Writer, request: web.Request, body: bytes) -> web.Response:
        site = writer.site
        with self.turns.behind(site) as those_ahead:
            try:
                head, events = await asyncio.to_thread(_open, site, request, body, self.limits.batch)
            except BatchError as error:
                raise Refused(error.code, str(error)) from None
            await those_ahead()
            mend = self.resending.stands(site, head.epoch)
            incoming = Incoming(site=site, head=head, events=events, now_ms=self.clock_ms(), encoded=body, mend=mend)
            appended = await repair.append(self.store, incoming, self.store)
            self._see(incoming, appended, request.headers.get(status.FIELD, ""), writer.by)
            replay_from = await self.resending.hint(site, head, appended.placement)
        hints: dict[str, int | bool] = {"max_batch": self.limits.batch.events}
        hints |= ({"replay_from": replay_from} if replay_from else {}) | ({"new_key": True} if writer.new_key else {})
        return self._answer(incoming, appended, await self.keys.current(), hints)

    def _see(self, incoming: Incoming, appended: Appended, told: str, by: str) -> None:
        head = incoming.head
        self.sightings.note(
            Seen(
                site=incoming.site,
                seen_ms=incoming.now_ms,
                epoch=head.epoch,
                acked_through=appended.acked_through,
                skew_ms=head.head_time_s * 1000 - incoming.now_ms,
                status=_said(told, head, taken=isinstance(appended.placement, Append | Duplicate)),
                refused=_REFUSED.get(type(appended.placement), ""),
                by=by,
                end=head.end,
            )
        )

    def _answer(
        self, incoming: Incoming, appended: Appended, key: PrivateKey, hints: dict[str, int | bool]
    ) -> web.Response:
        match appended.placement:
            case Gap(expected):
                raise Refused("gap", f"event {expected} of this epoch is the next one", expected=expected)
            case Conflict(detail):
                raise Refused("conflict", detail)
        self._count(incoming.site, incoming.head, appended)
        server_time = instant(incoming.now_ms)
        return json_answer(
            _Acknowledgement(
                acked_through=appended.acked_through,
                epoch=incoming.head.epoch,
                server_time=server_time,
                receipt=countersign(key, incoming.site, incoming.head, server_time),
                results=[
                    {"seq": each.seq, "status": each.status, "code": each.code, "message": each.message, "retry": False}
                    for each in appended.exceptions
                ],
                duplicate=isinstance(appended.placement, Duplicate),
                late=_oldest_ms(incoming) < incoming.now_ms - LATE_MS,
                hints=hints,
            )
        )

    def _count(self, site: str, head: Head, appended: Appended) -> None:
        self.counts.events["mended"] += appended.mended
        if isinstance(appended.placement, Duplicate):
            self.counts.batches["duplicate"] += 1
            return
        self.counts.batches["accepted" if head.count or head.is_statement else "heartbeat"] += 1
        self.counts.events["counted"] += appended.counted
        if head.lost:
            log.error(
                "site %s does not hold events %d to %d of epoch %s any more: lost",
                site,
                head.first,
                head.last,
                head.epoch,
            )
            self.counts.events["lost"] += head.last - head.first + 1
        if appended.counted:
            self.booked()
        for each in appended.exceptions:
            self.counts.events[each.status] += 1


def _oldest_ms(incoming: Incoming) -> int:
    return min([event.time_ms for event in incoming.events if not event.refused], default=incoming.now_ms)


def _open(site: str, request: web.Request, body: bytes, limits: BatchLimits) -> tuple[Head, list[Screened]]:
    head, bodies = open_batch(request.headers, body, limits)
    return head, screen(Place(site, head.epoch), head.first, bodies)


def _said(told: str, head: Head, taken: bool) -> status.AgentStatus | None:
    """What the agent said of itself, None for nothing. It counted what waits before it sent this batch: what was taken with it
    waits no more. What it sends again had not been counted, which shows in where its ledger ends."""
    said = status.parse(told) if told else None
    if said is None or not taken:
        return said
    left = min(said.backlog, max(0, head.end - head.last, said.backlog - (head.last - head.first + 1)))
    if left:
        return replace(said, backlog=left)
    return replace(said, backlog=0, oldest_s=0, newest_s=0)
