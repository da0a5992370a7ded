"""What was received, out again: sums, sites, gaps, receipts, stored events by page, and the receiver's own health and counters.

Laws
- Every answer is bounded: what may be long comes by page, and `next` asks for the rest (null: there is none).
- It is documented by `openapi.json`, which a test holds against the routes and against real answers.
"""

from collections.abc import Callable
from importlib.resources import files

import msgspec
from aiohttp import web

from uplink.receiver import seen
from uplink.receiver.answers import (
    Refused,
    choice,
    day,
    granted_all,
    granted_site,
    json_answer,
    number,
    only,
    page,
    text,
)
from uplink.receiver.fleet.door import Door
from uplink.receiver.forwarding import Forwarding
from uplink.receiver.metrics import CONTENT_TYPE, Metrics
from uplink.receiver.storage import EpochState, SitesQuery, SiteState, Storage, Total, TotalsQuery
from uplink.receiver.tokens import EVERY_SITE, Tokens, reader_of

EVENTS_PAGE_MAX = 5000
RECEIPTS_PAGE_MAX = 5000
SITES_PAGE_MAX = 1000
TOTALS_SITES_MAX = 100
"""Sites in one page of totals, each with up to 18 meters on each day that is asked for."""
SILENT_S = 3600
"""Four uploads of the usual quarter of an hour that did not come."""
SILENT_MAX_S = 366 * 86_400
OPENAPI = files("uplink.receiver").joinpath("openapi.json").read_bytes()


class Reading:
    """The handlers, over one store."""

    def __init__(
        self,
        store: Storage,
        tokens: Tokens,
        clock_ms: Callable[[], int],
        metrics: Metrics,
        door: Door,
        forwarding: Forwarding,
    ) -> None:
        self.store = store
        self.tokens = tokens
        self.clock_ms = clock_ms
        self.metrics = metrics
        self.door = door
        self.forwarding = forwarding

    async def _granted(self, request: web.Request) -> str | None:
        """By a token, or by the session of an operator who is logged in to the fleet page."""
        if authorization := request.headers.get("Authorization", ""):
            return reader_of(self.tokens, authorization)
        return EVERY_SITE if await self.door.visitor(request) else None

    async def _site(self, request: web.Request) -> str:
        return granted_site(request, await self._granted(request))

    async def get_sites(self, request: web.Request) -> web.StreamResponse:
        granted_all(await self._granted(request))
        only(request, "after", "limit", "search")
        limit = page(request, 100, SITES_PAGE_MAX)
        asked = SitesQuery(after=text(request, "after"), limit=limit, search=text(request, "search"))
        sites = await self.store.sites(asked)
        return json_answer({"sites": sites, "next": _next(sites, limit)})

    async def get_gaps(self, request: web.Request) -> web.StreamResponse:
        granted_all(await self._granted(request))
        only(request, "after", "limit", "silent_s")
        limit, silent_s = page(request, 100, SITES_PAGE_MAX), number(request, "silent_s", SILENT_S)
        if not 1 <= silent_s <= SILENT_MAX_S:
            raise Refused("bad_query", f"silent_s must be a number from 1 to {SILENT_MAX_S}")
        before_ms = self.clock_ms() - silent_s * 1000
        sites = await self.store.sites(
            SitesQuery(after=text(request, "after"), limit=limit, silent_before_ms=before_ms)
        )
        gaps = [await self._gaps(site, before_ms) for site in sites]
        return json_answer({"gaps": gaps, "next": _next(sites, limit)})

    async def _gaps(self, site: SiteState, before_ms: int) -> dict[str, object]:
        epochs = await self.store.epochs(site.site) if site.broken or site.lost else []
        return {
            "site": site.site,
            "silent_since_ms": site.seen_ms if site.seen_ms < before_ms else None,
            "epochs": [
                {"epoch": each.epoch, "continues": each.continues, "began_ms": each.began_ms, "lost": each.lost}
                for each in epochs
                if each.continues in ("no", "unnamed") or each.lost
            ],
        }

    async def get_site(self, request: web.Request) -> web.StreamResponse:
        site = await self._site(request)
        only(request)
        epochs = await self.store.epochs(site)
        said = await self.store.get(seen.KIND, site)
        return json_answer({"site": site, "epochs": epochs, "seen": msgspec.Raw(said.body) if said else None})

    async def get_totals(self, request: web.Request) -> web.StreamResponse:
        site = await self._site(request)
        only(request, "day", "from", "to", "meter", "by")
        by = choice(request, "by", "day")
        totals = await self.store.totals(_totals_query(request, site, by))
        return json_answer({"site": site, "totals": totals})

    async def get_all_totals(self, request: web.Request) -> web.StreamResponse:
        granted_all(await self._granted(request))
        by = choice(request, "by", "day", "site", "site,day")
        paged = ("after", "limit") if by.startswith("site") else ()
        only(request, "day", "from", "to", "meter", "by", *paged)
        if paged:
            return await self._totals_by_site(request, by)
        return json_answer({"totals": await self.store.totals(_totals_query(request, "", by)), "next": None})

    async def _totals_by_site(self, request: web.Request, by: str) -> web.StreamResponse:
        limit, query = page(request, TOTALS_SITES_MAX, TOTALS_SITES_MAX), _totals_query(request, "", by)
        sites = await self.store.sites(SitesQuery(after=text(request, "after"), limit=limit))
        listed = [
            {"site": each.site, **_as_dict(total)}
            for each in sites
            for total in await self.store.totals(msgspec.structs.replace(query, site=each.site))
        ]
        return json_answer({"totals": listed, "next": _next(sites, limit)})

    async def get_receipts(self, request: web.Request) -> web.StreamResponse:
        site = await self._site(request)
        only(request, "epoch", "after", "limit")
        after, limit = number(request, "after", 0), page(request, 1000, RECEIPTS_PAGE_MAX)
        epoch = text(request, "epoch") or _latest(await self.store.epochs(site))
        receipts = await self.store.batches(site, epoch, after, limit)
        following = receipts[-1].last if len(receipts) == limit else None
        return json_answer({"site": site, "epoch": epoch, "receipts": receipts, "next": following})

    async def get_events(self, request: web.Request) -> web.StreamResponse:
        site = await self._site(request)
        only(request, "after", "limit")
        after, limit = number(request, "after", 0), page(request, 1000, EVENTS_PAGE_MAX)
        events = await self.store.events(site, after, limit)
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

    async def get_forwards(self, request: web.Request) -> web.StreamResponse:
        granted_all(await self._granted(request))
        only(request)
        return json_answer({"forwards": await self.forwarding.shown()})

    async def get_refused(self, request: web.Request) -> web.StreamResponse:
        granted_all(await self._granted(request))
        only(request, "after", "limit")
        name = request.match_info["name"]
        if name not in self.forwarding.names():
            raise Refused("no_such_path", "no destination has this name")
        after, limit = number(request, "after", 0), page(request, 1000, EVENTS_PAGE_MAX)
        refused = await self.forwarding.feed.refused(name, after, limit)
        following = refused[-1].position if len(refused) == limit else None
        return json_answer({"refused": refused, "next": following})

    async def get_openapi(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=OPENAPI, content_type="application/json")

    async def get_health(self, _request: web.Request) -> web.StreamResponse:
        await self.store.check()
        return web.Response(text="ok\n")

    async def get_metrics(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=(await self.metrics.text()).encode(), headers={"Content-Type": CONTENT_TYPE})


def _totals_query(request: web.Request, site: str, by: str) -> TotalsQuery:
    only_day = day(request, "day")
    if only_day and ("from" in request.query or "to" in request.query):
        raise Refused("bad_query", "day goes with neither from nor to")
    first_day, last_day = only_day or day(request, "from"), only_day or day(request, "to")
    if last_day and last_day < first_day:
        raise Refused("bad_query", "from is a later day than to")
    return TotalsQuery(
        site=site,
        first_day=first_day,
        last_day=last_day,
        meter=text(request, "meter"),
        by_day=by.endswith("day"),
    )


def _next(sites: list[SiteState], limit: int) -> str | None:
    return sites[-1].site if len(sites) == limit else None


def _as_dict(total: Total) -> dict[str, object]:
    return msgspec.structs.asdict(total)


def _latest(epochs: list[EpochState]) -> str:
    return epochs[-1].epoch if epochs else ""
