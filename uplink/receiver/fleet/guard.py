"""What keeps other people out of the fleet's pages: headers, forms that only our pages can send, troubles told as pages.

Laws
- What changes something is a POST with a form, and is refused when the browser says that another site asked for it
  (`Sec-Fetch-Site`, Fetch Metadata Request Headers; `Origin`, Fetch standard, for browsers without it). Once logged in, it must
  carry the session's form key as well.
- Every answer carries the policy below; nothing is ever loaded from anywhere else, and pages are kept by no cache.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from uplink.receiver.storage import StoreUnavailable

FORM_MAX_BYTES = 4096
FORM_FIELDS_MAX = 10
FORM_TIMEOUT_S = 10.0
# Not `no-referrer`: with that, a form's POST says `Origin: null`, and browsers without Fetch Metadata would be refused.
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Server": "pegcount",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Trouble(Exception):
    """A request that is answered with a page that says what is wrong."""

    def __init__(self, status: int, title: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.title = title
        self.headers = headers or {}


def guard(trouble_page: Callable[[str, str], str]) -> Middleware:
    """The middleware of all the fleet's routes."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            answer = await handler(request)
        except Trouble as trouble:
            page = trouble_page(trouble.title, str(trouble))
            answer = web.Response(status=trouble.status, text=page, content_type="text/html", headers=trouble.headers)
        except StoreUnavailable:
            page = trouble_page("No figures now", "The store cannot be read at the moment. Try again soon.")
            answer = web.Response(status=503, text=page, content_type="text/html", headers={"Retry-After": "60"})
        except web.HTTPNotFound:
            page = trouble_page("Nothing here", "There is no such page.")
            answer = web.Response(status=404, text=page, content_type="text/html")
        except web.HTTPException as error:
            _harden(error)
            raise
        _harden(answer)
        return answer

    return middleware


def _harden(answer: web.StreamResponse) -> None:
    answer.headers.update(SECURITY_HEADERS)
    answer.headers.setdefault("Cache-Control", "no-store")


async def form(request: web.Request) -> dict[str, str]:
    """The fields of a form that one of our pages sent. Raises Trouble."""
    if not _is_own(request):
        raise Trouble(403, "Refused", "This request came from another web site and was not carried out.")
    if request.content_type != "application/x-www-form-urlencoded":
        raise Trouble(415, "Refused", "This is no form.")
    if request.content_length is None or request.content_length > FORM_MAX_BYTES:
        raise Trouble(413, "Refused", "This form is too large.")
    try:
        async with asyncio.timeout(FORM_TIMEOUT_S):
            body = await request.content.readexactly(request.content_length)
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS_MAX)
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError, ValueError):
        raise Trouble(400, "Refused", "This form cannot be read.") from None
    return dict(pairs)


def _is_own(request: web.Request) -> bool:
    """True where the request came from our page itself, or from no browser at all."""
    fetch_site, origin = request.headers.get("Sec-Fetch-Site", ""), request.headers.get("Origin", "")
    if fetch_site:
        return fetch_site in ("same-origin", "none")
    return not origin or urlsplit(origin).netloc == request.host
