"""Logging in and out: the form, the attempts, the cookie.

Laws
- Why an attempt failed is not told apart: no such operator, a wrong password.
- Only so many passwords are worked on at once, each in a thread; more are asked to come again. A flood of attempts costs no
  more than that.
- The cookie is for this host alone, not for scripts, not for requests from other sites, and only over TLS where there is TLS.
"""

import asyncio
import hmac
import logging
import math
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from uplink.receiver.fleet import operators
from uplink.receiver.fleet.asked import HOME
from uplink.receiver.fleet.attempts import PER_ADDRESS, PER_NAME, Attempts
from uplink.receiver.fleet.guard import Trouble, form
from uplink.receiver.fleet.sessions import LASTS_MS, Sessions, Visitor
from uplink.receiver.guard import asked_by
from uplink.receiver.proxies import Proxies
from uplink.receiver.rates import address_key
from uplink.receiver.storage import Documents

log = logging.getLogger(__name__)

WORKED_AT_ONCE = 2
WAITING_MAX = 8
"""They wait about three seconds; a ninth person who logs in at the same time is rare, a flood is not."""
NAME_SHOWN_CHARS = 32


class Door:
    """`secure`: browsers reach the receiver by TLS. `proxies`: they say who asks."""

    def __init__(self, documents: Documents, clock_ms: Callable[[], int], secure: bool, proxies: Proxies) -> None:
        self.sessions = Sessions(documents, clock_ms)
        self.logins: Counter[str] = Counter()
        self._documents = documents
        self._clock_ms = clock_ms
        self._secure, self._proxies = secure, proxies
        self._cookie = "__Host-pegcount" if secure else "pegcount"
        self._by_address, self._by_name = Attempts(PER_ADDRESS), Attempts(PER_NAME)
        self._working = asyncio.Semaphore(WORKED_AT_ONCE)
        self._waiting = 0

    async def visitor(self, request: web.Request) -> Visitor | None:
        """Who is logged in here. Raises StoreUnavailable."""
        return await self.sessions.visitor(request.cookies.get(self._cookie, ""))

    async def sent_form(self, request: web.Request) -> tuple[Visitor, dict[str, str]]:
        """Who sent this form, and its fields. Raises Trouble."""
        fields, visitor = await form(request), await self.visitor(request)
        if visitor is None:
            raise Trouble(403, "Not logged in", "The session has ended; nothing was changed.")
        if not hmac.compare_digest(fields.get("form_key", "").encode(), visitor.form_key.encode()):
            raise Trouble(403, "Refused", "This form is not of this session; nothing was changed.")
        return visitor, fields

    async def log_in(self, request: web.Request, name: str, password: str) -> web.Response | None:
        """What leads onward, with its cookie; None where name or password is wrong. Raises Trouble."""
        name, address = name.strip().lower(), address_key(asked_by(request, self._proxies))
        self._begin(address, name)
        found = await operators.find(self._documents, name)
        if not await self._is_password(found[0].password if found else None, password) or found is None:
            log.warning("a login as %s from %s failed", ascii(name[:NAME_SHOWN_CHARS]), ascii(address))
            self.logins["wrong"] += 1
            return None
        self.logins["in"] += 1
        log.info("operator %s logged in from %s", name, ascii(address))
        self._by_address.succeed(address)
        self._by_name.succeed(name)
        await self.sessions.end(request.cookies.get(self._cookie, ""))
        answer = web.Response(status=303)
        answer.set_cookie(
            self._cookie,
            await self.sessions.begin(*found),
            max_age=LASTS_MS // 1000,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="Strict",
        )
        return answer

    async def log_out(self, request: web.Request) -> web.Response:
        await self.sessions.end(request.cookies.get(self._cookie, ""))
        answer = web.Response(status=303, headers={"Location": f"{HOME}/login"})
        answer.del_cookie(self._cookie, path="/", secure=self._secure, httponly=True, samesite="Strict")
        return answer

    def _begin(self, address: str, name: str) -> None:
        now_ms = self._clock_ms()
        wait_ms = max(self._by_address.wait_ms(address, now_ms), self._by_name.wait_ms(name, now_ms))
        if wait_ms:
            self.logins["throttled"] += 1
            minutes = math.ceil(wait_ms / 60_000)
            text = f"Too many attempts. Try again in {minutes} {'minute' if minutes == 1 else 'minutes'}."
            raise Trouble(429, "Too many attempts", text, {"Retry-After": str(math.ceil(wait_ms / 1000))})
        self._by_address.begin(address, now_ms)
        self._by_name.begin(name, now_ms)

    async def _is_password(self, kept: operators.Password | None, password: str) -> bool:
        if self._waiting >= WAITING_MAX:
            self.logins["busy"] += 1
            raise Trouble(503, "Busy", "Many log in at this moment. Try again soon.", {"Retry-After": "5"})
        self._waiting += 1
        try:
            async with self._working:
                return await asyncio.to_thread(operators.is_password, kept, password)
        finally:
            self._waiting -= 1


def onward(text: str) -> str:
    """Where a login leads: a page of the fleet, nowhere else."""
    return text if text == HOME or text.startswith((f"{HOME}/sites/", f"{HOME}?")) else HOME
