"""How the receiver's handlers answer: JSON documents, refusals, and the checks that every route begins with.

Law: a refusal is raised as `Refused` with a code of `problems.CODES`, wherever it is found, and answered in one place.
"""

import asyncio
import re
from datetime import date

import msgspec
from aiohttp import web

from uplink.receiver.tokens import EVERY_SITE

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_SITE = re.compile(r"[0-9A-Za-z._-]{1,64}\Z")


class Refused(Exception):
    """A request that is answered with a problem document."""

    def __init__(self, code: str, detail: str, **members: int) -> None:
        super().__init__(detail)
        self.code = code
        self.members = members


def granted_all(granted: str | None) -> None:
    """Raises Refused unless what was `granted` covers every site."""
    if granted is None:
        raise Refused("unauthorized", "the Authorization header holds no token that is known here")
    if granted != EVERY_SITE:
        raise Refused("forbidden", "this token is for one site")


def granted_site(request: web.Request, granted: str | None) -> str:
    """The site of the path, if what was `granted` (a site, `*`, or nothing) covers it. Raises Refused."""
    if granted is None:
        raise Refused("unauthorized", "the Authorization header holds no token that is known here")
    site = request.match_info["site"]
    if not is_site(site):
        raise Refused("bad_site", "a site is 1 to 64 letters, digits, '.', '_' or '-'")
    if granted not in (EVERY_SITE, site):
        raise Refused("forbidden", "this token is for another site")
    return site


def is_site(text: str) -> bool:
    return _SITE.match(text) is not None


def json_answer(document: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


def check_length(request: web.Request, max_bytes: int) -> int:
    """Raises Refused."""
    if request.content_length is None:
        raise Refused("length_required", "Content-Length must be given")
    if request.content_length > max_bytes:
        raise Refused("too_large", f"{request.content_length} bytes are more than {max_bytes}")
    return request.content_length


async def whole_body(request: web.Request, max_bytes: int, timeout_s: float) -> bytes:
    """Raises Refused."""
    length = check_length(request, max_bytes)
    try:
        async with asyncio.timeout(timeout_s):
            return await request.content.readexactly(length) if length else b""
    except TimeoutError:
        raise Refused("too_slow", f"not whole after {timeout_s:g} s") from None
    except asyncio.IncompleteReadError as error:
        raise Refused("cut_body", f"{len(error.partial)} bytes of {request.content_length} came") from None
    except ConnectionError:  # a client that was stopped in the middle; there is nobody left to be told
        raise Refused("cut_body", "the connection broke") from None


def only(request: web.Request, *names: str) -> None:
    """Each query parameter is one of `names`, given once: a filter that is misspelt must not answer for everything. Raises
    Refused."""
    for name in request.query:
        if name not in names:
            raise Refused("bad_query", f"there is no parameter {name[:64]!r} here")
        if len(request.query.getall(name)) > 1:
            raise Refused("bad_query", f"{name} is given twice")


def number(request: web.Request, name: str, default: int) -> int:
    """A query parameter. Raises Refused."""
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Refused("bad_query", f"{name} must be a number")
    return int(text)


def page(request: web.Request, default: int, most: int) -> int:
    """The parameter `limit`. Raises Refused."""
    limit = number(request, "limit", default)
    if not 1 <= limit <= most:
        raise Refused("bad_query", f"limit must be a number from 1 to {most}")
    return limit


def text(request: web.Request, name: str) -> str:
    """A query parameter: a site, a meter, an epoch, or a part of one. Raises Refused."""
    given = request.query.get(name, "")
    if name in request.query and not _SITE.match(given):
        raise Refused("bad_query", f"{name} must be 1 to 64 letters, digits, '.', '_' or '-'")
    return given


def choice(request: web.Request, name: str, *allowed: str) -> str:
    """A query parameter that is one of `allowed`, or not given. Raises Refused."""
    given = request.query.get(name)
    if given is not None and given not in allowed:
        raise Refused("bad_query", f"{name} must be {' or '.join(allowed)}")
    return given or ""


def day(request: web.Request, name: str) -> str:
    """A query parameter: a UTC day, or nothing. Raises Refused."""
    given = request.query.get(name)
    if given is None:
        return ""
    if not _DAY.match(given) or not _is_date(given):
        raise Refused("bad_query", f"{name} must be a UTC day like 2026-11-20")
    return given


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
