"""What admins change on a site's page: its name, what it is asked to send again, the keys that may report for it.

Laws
- Each is a form of a session (`Door.sent_form`) whose operator is an admin; viewers are not shown the forms, and are refused.
- What was done is noted among the site's acts, with the operator's name.
- What cannot be taken back is asked about once more, on a page of its own.
"""

from collections.abc import Callable
from urllib.parse import quote

from aiohttp import web

from uplink.receiver import acts
from uplink.receiver.acts import Act
from uplink.receiver.agents import AgentKey, Agents
from uplink.receiver.answers import Refused
from uplink.receiver.fleet.asked import HOME
from uplink.receiver.fleet.door import Door
from uplink.receiver.fleet.gathering import Gathering
from uplink.receiver.fleet.guard import Trouble
from uplink.receiver.resending import Resending
from uplink.receiver.storage import Documents


class Deeds:
    """The handlers of the forms."""

    def __init__(
        self,
        documents: Documents,
        gathering: Gathering,
        door: Door,
        agents: Agents,
        resending: Resending,
        clock_ms: Callable[[], int],
    ) -> None:
        self._documents = documents
        self._gathering = gathering
        self._door = door
        self._agents = agents
        self._resending = resending
        self._clock_ms = clock_ms

    async def post_name(self, request: web.Request) -> web.Response:
        site, who, fields = await self._by_admin(request)
        name = " ".join(fields.get("name", "").split())
        await self._gathering.call(site, name)
        await self._note(site, who, "name", name)
        raise _back_to(site)

    async def post_resend(self, request: web.Request) -> web.Response:
        site, who, fields = await self._by_admin(request)
        epoch, first = fields.get("epoch", ""), fields.get("from", "").strip()
        if not (first.isascii() and first.isdigit() and len(first) <= 15):
            raise Trouble(400, "Not asked", "From which event on is told by its number.")
        try:
            await self._resending.ask(site, epoch, int(first), who)
        except Refused:
            text = "There is no such event of this numbering here, so the site need not send it again."
            raise Trouble(400, "Not asked", text) from None
        raise _back_to(site, "again")

    async def post_withdraw(self, request: web.Request) -> web.Response:
        site, who, _ = await self._by_admin(request)
        await self._resending.withdraw(site, who)
        raise _back_to(site, "again")

    async def key(self, request: web.Request) -> AgentKey:
        """The key of the path, which is the site's. Raises Trouble."""
        key = await self._agents.read(request.match_info["key"])
        if key is None or key.site != request.match_info["site"]:
            raise Trouble(404, "No such key", "This site has no key with this id.")
        return key

    async def post_rotate(self, request: web.Request) -> web.Response:
        site, who, _ = await self._by_admin(request)
        key = await self.key(request)
        if key.state not in ("new", "active"):
            raise Trouble(400, "Not asked", "This key is not in use.")
        if not key.is_wished_away:
            await self._agents.wish_another(key.key, self._clock_ms())
            await self._note(site, who, "rotate", key.key)
        raise _back_to(site, "keys")

    async def post_revoke(self, request: web.Request) -> web.Response:
        site, who, _ = await self._by_admin(request)
        key = await self.key(request)
        if key.state != "revoked":
            await self._agents.change(key.key, "revoked", self._clock_ms())
            await self._note(site, who, "revoke", key.key)
        raise _back_to(site, "keys")

    async def _by_admin(self, request: web.Request) -> tuple[str, str, dict[str, str]]:
        """The site, who sent the form, and its fields. Raises Trouble."""
        visitor, fields = await self._door.sent_form(request)
        if not visitor.is_admin():
            raise Trouble(403, "Refused", "Only an admin may do this; nothing was changed.")
        known = await self._gathering.one(request.match_info["site"])
        if known is None:
            raise Trouble(404, "No such site", "No site with this id has been heard or enrolled.")
        return known.site, visitor.operator.name, fields

    async def _note(self, site: str, who: str, what: str, detail: str) -> None:
        await acts.note(self._documents, Act(site=site, at_ms=self._clock_ms(), who=who, what=what, detail=detail))


def _back_to(site: str, part: str = "") -> web.HTTPSeeOther:
    return web.HTTPSeeOther(f"{HOME}/sites/{quote(site, safe='')}" + (f"#{part}" if part else ""))
