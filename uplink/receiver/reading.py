"""What was received, out again: sums, stored events by page, epochs, and the receiver's own health and counters."""

import msgspec
from aiohttp import web

from uplink.receiver.answers import Refused, granted_site, is_day, json_answer, number
from uplink.receiver.metrics import Metrics
from uplink.receiver.storage import Store
from uplink.receiver.tokens import Tokens, reader_of

EVENTS_PAGE_MAX = 5000


class Reading:
    """The handlers, over one store."""

    def __init__(self, store: Store, tokens: Tokens, metrics: Metrics) -> None:
        self.store = store
        self.tokens = tokens
        self.metrics = metrics

    def _site(self, request: web.Request) -> str:
        return granted_site(request, reader_of(self.tokens, request.headers.get("Authorization", "")))

    async def get_site(self, request: web.Request) -> web.StreamResponse:
        site = self._site(request)
        epochs = await self.store.epochs(site)
        return json_answer({"site": site, "epochs": epochs})

    async def get_totals(self, request: web.Request) -> web.StreamResponse:
        site = self._site(request)
        day = request.query.get("day", "")
        by_day = request.query.get("by") == "day"
        if day and not is_day(day):
            raise Refused("bad_query", "day must be a UTC day like 2026-11-20")
        return json_answer({"site": site, "totals": await self.store.totals(site, by_day, day)})

    async def get_events(self, request: web.Request) -> web.StreamResponse:
        site = self._site(request)
        after, limit = number(request, "after", 0), number(request, "limit", 1000)
        events = await self.store.events(site, after, min(max(limit, 1), EVENTS_PAGE_MAX))
        listed = [
            {
                "position": each.position,
                "epoch": each.epoch,
                "seq": each.seq,
                "status": each.status,
                "event": msgspec.Raw(each.body) if each.status != "rejected" else None,
                "text": each.body.decode("utf-8", "replace") if each.status == "rejected" else None,
            }
            for each in events
        ]
        return json_answer({"site": site, "events": listed, "next": events[-1].position if events else after})

    async def get_health(self, _request: web.Request) -> web.StreamResponse:
        await self.store.epochs("")
        return web.Response(text="ok\n")

    async def get_metrics(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=self.metrics.text(), content_type="text/plain", charset="utf-8")
