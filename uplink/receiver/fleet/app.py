"""The fleet's routes, and what is looked at: what is shown is `page.py`'s, whom they let in `door.py`'s, what admins change
`deeds.py`'s."""

from collections.abc import AsyncIterator, Callable
from urllib.parse import quote

from aiohttp import web

from uplink.pages.assets import Assets
from uplink.receiver.agents import Agents
from uplink.receiver.fleet import asked, page, roster
from uplink.receiver.fleet.asked import HOME
from uplink.receiver.fleet.deeds import Deeds
from uplink.receiver.fleet.door import Door, onward
from uplink.receiver.fleet.gathering import Gathering
from uplink.receiver.fleet.guard import Trouble, form, guard
from uplink.receiver.fleet.meanings import Meanings
from uplink.receiver.fleet.sessions import Visitor
from uplink.receiver.fleet.siteday import SiteDay, site_day
from uplink.receiver.fleet.verdict import Known, judge
from uplink.receiver.fleet.words import day_of, is_day
from uplink.receiver.resending import Resending
from uplink.receiver.storage import Storage

ASSETS = Assets("uplink.receiver.fleet", "fleet.css", "fleet.js")


def make_fleet(fleet: "Fleet") -> web.Application:
    """The application under `/fleet`."""
    deeds = fleet.deeds
    app = web.Application(middlewares=[guard(fleet.trouble)])
    app.cleanup_ctx.append(fleet.background)
    app.add_routes(
        [
            web.get("", fleet.get_sites),
            web.get("/problems", fleet.get_problems),
            web.get("/sites/{site}", fleet.get_site),
            web.post("/sites/{site}/name", deeds.post_name),
            web.post("/sites/{site}/resend", deeds.post_resend),
            web.post("/sites/{site}/resend/withdraw", deeds.post_withdraw),
            web.get("/sites/{site}/keys/{key}/revoke", fleet.get_revoke),
            web.post("/sites/{site}/keys/{key}/revoke", deeds.post_revoke),
            web.post("/sites/{site}/keys/{key}/rotate", deeds.post_rotate),
            web.get("/login", fleet.get_login),
            web.post("/login", fleet.post_login),
            web.post("/logout", fleet.post_logout),
            web.get("/assets/{name}", ASSETS.get),
        ]
    )
    return app


class Fleet:
    """The handlers, over one store. `meanings`: of problem codes."""

    def __init__(
        self,
        store: Storage,
        gathering: Gathering,
        door: Door,
        agents: Agents,
        resending: Resending,
        meanings: Meanings,
        clock_ms: Callable[[], int],
    ) -> None:
        self.store = store
        self.gathering = gathering
        self.door = door
        self.agents = agents
        self.resending = resending
        self.meanings = meanings
        self.clock_ms = clock_ms
        self.deeds = Deeds(store, gathering, door, agents, resending, clock_ms)

    async def background(self, _app: web.Application) -> AsyncIterator[None]:
        """Part of the application's life."""
        yield
        await self.gathering.close()

    def frame(self, visitor: Visitor | None = None) -> page.Frame:
        return page.Frame(self.clock_ms(), ASSETS.tag, visitor)

    def trouble(self, title: str, text: str) -> str:
        return page.trouble_page(self.frame(), title, text)

    async def get_sites(self, request: web.Request) -> web.Response:
        visitor = await self.visitor(request)
        try:
            wish = asked.read(request.query)
        except ValueError:
            raise Trouble(400, "Nothing here", "There is no such list of sites.") from None
        gathered = await self.gathering.roster()
        return html(page.sites_page(self.frame(visitor), gathered, roster.page(gathered, wish), wish, self.meanings))

    async def get_problems(self, request: web.Request) -> web.Response:
        visitor = await self.visitor(request)
        return html(page.problems_page(self.frame(visitor), await self.gathering.roster(), self.meanings))

    async def get_site(self, request: web.Request) -> web.Response:
        visitor, now_ms = await self.visitor(request), self.clock_ms()
        known = await self.known(request)
        day = request.query.get("day") or day_of(now_ms)
        if not is_day(day):
            raise Trouble(400, "Nothing here", "A day is written like 2026-11-20.")
        verdict = judge(known, now_ms, (await self.gathering.roster()).newest)
        return html(page.site_page(self.frame(visitor), await self._day(known, day), verdict, self.meanings))

    async def _day(self, known: Known, day: str) -> SiteDay:
        keys = await self.agents.of_site(known.site, await self.gathering.keys(known.site))
        return await site_day(self.store, known, day, keys, await self.resending.asked(known.site))

    async def get_revoke(self, request: web.Request) -> web.Response:
        visitor = await self.visitor(request)
        known, key = await self.known(request), await self.deeds.key(request)
        if not visitor.is_admin():
            raise Trouble(403, "Refused", "Only an admin revokes keys.")
        return html(page.revoke_page(self.frame(visitor), known, key))

    async def known(self, request: web.Request) -> Known:
        """The site of the path. Raises Trouble."""
        known = await self.gathering.one(request.match_info["site"])
        if known is None:
            raise Trouble(404, "No such site", "No site with this id has been heard or enrolled.")
        return known

    async def get_login(self, request: web.Request) -> web.Response:
        if await self.door.visitor(request):
            raise web.HTTPSeeOther(HOME)
        return html(page.login_page(self.frame(), onward=onward(request.query.get("onward", HOME))))

    async def post_login(self, request: web.Request) -> web.Response:
        fields = await form(request)
        name, where = fields.get("name", ""), onward(fields.get("onward", HOME))
        answer = await self.door.log_in(request, name, fields.get("password", ""))
        if answer is None:
            return html(page.login_page(self.frame(), "Name or password is wrong.", name[:32], where), 403)
        self.gathering.prepare()
        answer.headers["Location"] = where
        return answer

    async def post_logout(self, request: web.Request) -> web.Response:
        await self.door.sent_form(request)
        return await self.door.log_out(request)

    async def visitor(self, request: web.Request) -> Visitor:
        """Leads to the login where nobody is logged in."""
        visitor = await self.door.visitor(request)
        if visitor is None:
            where = onward(str(request.rel_url))
            raise web.HTTPSeeOther(f"{HOME}/login" + (f"?onward={quote(where, safe='')}" if where != HOME else ""))
        return visitor


def html(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text, content_type="text/html")
