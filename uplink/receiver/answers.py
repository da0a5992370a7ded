"""How the receiver's handlers answer: JSON documents, refusals, and the checks that every route begins with.

Law: a refusal is raised as `Refused` with a code of `problems.CODES`, wherever it is found, and answered in one place.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import date

import msgspec
from aiohttp import web

from uplink.receiver.problems import problem
from uplink.receiver.storage import StoreUnavailable
from uplink.receiver.tokens import EVERY_SITE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SITE = re.compile(r"[0-9A-Za-z._-]{1,64}\Z")


class Refused(Exception):
    """A request that is answered with a problem document."""

    def __init__(self, code: str, detail: str, **members: int) -> None:
        super().__init__(detail)
        self.code = code
        self.members = members


def granted_site(request: web.Request, granted: str | None) -> str:
    """The site of the path, if what was `granted` (a site, `*`, or nothing) covers it. Raises Refused."""
    if granted is None:
        raise Refused("unauthorized", "the Authorization header holds no token that is known here")
    site = request.match_info["site"]
    if not _SITE.match(site):
        raise Refused("bad_site", "a site is 1 to 64 letters, digits, '.', '_' or '-'")
    if granted not in (EVERY_SITE, site):
        raise Refused("forbidden", "this token is for another site")
    return site


def json_answer(document: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


def is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def number(request: web.Request, name: str, default: int) -> int:
    """A query parameter. Raises Refused."""
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Refused("bad_query", f"{name} must be a number")
    return int(text)


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return problem(refused.code, str(refused), **refused.members)
    except StoreUnavailable:
        return problem("store_unavailable", "try again later")
