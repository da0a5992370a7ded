"""The fleet's routes, and nothing else: what they show is `page.py`'s, whom they let in `door.py`'s."""

from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

from aiohttp import web

from uplink.pages.assets import Assets
from uplink.receiver.fleet import page, roster
from uplink.receiver.fleet.door import HOME, Door, onward
from uplink.receiver.fleet.gathering import Gathering
from uplink.receiver.fleet.guard import Trouble, form, guard
from uplink.receiver.fleet.page import Asked
from uplink.receiver.fleet.sessions import Visitor
from uplink.receiver.fleet.siteday import site_day
from uplink.receiver.fleet.verdict import HEALTHS, Known, judge
from uplink.receiver.fleet.words import day_of, is_day
from uplink.receiver.storage import Storage

ASSETS = Assets("uplink.receiver.fleet", "fleet.css", "fleet.js")
SEARCH_MAX_CHARS = 80


def make_fleet(store: Storage, door: Door, clock_ms: Callable[[], int]) -> web.Application:
    """The application under `/fleet`."""
    fleet = Fleet(store, door, clock_ms)
    app = web.Application(
        middlewares=[guard(lambda title, text: page.trouble_page(title, text, clock_ms(), ASSETS.tag))]
    )
    app.cleanup_ctx.append(fleet.background)
    app.add_routes(
        [
            web.get("", fleet.get_sites),
            web.get("/sites/{site}", fleet.get_site),
            web.post("/sites/{site}/name", fleet.post_name),
            web.get("/login", fleet.get_login),
            web.post("/login", fleet.post_login),
            web.post("/logout", fleet.post_logout),
            web.get("/assets/{name}", ASSETS.get),
        ]
    )
    return app


class Fleet:
    """The handlers, over one store."""

    def __init__(self, store: Storage, door: Door, clock_ms: Callable[[], int]) -> None:
        self.store = store
        self.gathering = Gathering(store, clock_ms)
        self.door = door
        self.clock_ms = clock_ms

    async def background(self, _app: web.Application) -> AsyncIterator[None]:
        """Part of the application's life."""
        yield
        await self.gathering.close()

    async def get_sites(self, request: web.Request) -> web.Response:
        visitor = await self._visitor(request)
        asked = _asked(request)
        gathered = await self.gathering.roster()
        shown = roster.page(gathered, asked.search, asked.health, asked.order, asked.number)
        return _html(page.sites_page(gathered, shown, asked, visitor, self.clock_ms(), ASSETS.tag))

    async def get_site(self, request: web.Request) -> web.Response:
        visitor, now_ms = await self._visitor(request), self.clock_ms()
        known = await self._known(request)
        day = request.query.get("day") or day_of(now_ms)
        if not is_day(day):
            raise Trouble(400, "Nothing here", "A day is written like 2026-11-20.")
        verdict = judge(known, now_ms, (await self.gathering.roster()).newest)
        return _html(page.site_page(await site_day(self.store, known, day), verdict, visitor, now_ms, ASSETS.tag))

    async def post_name(self, request: web.Request) -> web.Response:
        visitor, fields = await self.door.sent_form(request)
        if visitor.operator.role != "admin":
            raise Trouble(403, "Refused", "Only an admin gives names to sites.")
        known = await self._known(request)
        await self.gathering.call(known.site, " ".join(fields.get("name", "").split()))
        raise web.HTTPSeeOther(f"{HOME}/sites/{quote(known.site, safe='')}")

    async def _known(self, request: web.Request) -> Known:
        """The site of the path. Raises Trouble."""
        known = await self.gathering.one(request.match_info["site"])
        if known is None:
            raise Trouble(404, "No such site", "No site with this id has been heard or enrolled.")
        return known

    async def get_login(self, request: web.Request) -> web.Response:
        if await self.door.visitor(request):
            raise web.HTTPSeeOther(HOME)
        return _html(page.login_page(self.clock_ms(), ASSETS.tag, onward=onward(request.query.get("onward", HOME))))

    async def post_login(self, request: web.Request) -> web.Response:
        fields = await form(request)
        name, where = fields.get("name", ""), onward(fields.get("onward", HOME))
        answer = await self.door.log_in(request, name, fields.get("password", ""))
        if answer is None:
            said = "Name or password is wrong."
            return _html(page.login_page(self.clock_ms(), ASSETS.tag, said, name[:32], where), 403)
        self.gathering.prepare()
        answer.headers["Location"] = where
        return answer

    async def post_logout(self, request: web.Request) -> web.Response:
        await self.door.sent_form(request)
        return await self.door.log_out(request)

    async def _visitor(self, request: web.Request) -> Visitor:
        """Leads to the login where nobody is logged in."""
        visitor = await self.door.visitor(request)
        if visitor is None:
            where = onward(str(request.rel_url))
            raise web.HTTPSeeOther(f"{HOME}/login" + (f"?onward={quote(where, safe='')}" if where != HOME else ""))
        return visitor


def _asked(request: web.Request) -> Asked:
    """Raises Trouble."""
    query = request.query
    health, order, number = query.get("health", ""), query.get("order", "worst"), query.get("page", "1")
    if health not in ("", *HEALTHS) or order not in roster.ORDERS or not _is_number(number):
        raise Trouble(400, "Nothing here", "There is no such list of sites.")
    return Asked(search=query.get("q", "")[:SEARCH_MAX_CHARS], health=health, order=order, number=int(number))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html")
