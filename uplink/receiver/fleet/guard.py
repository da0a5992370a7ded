"""What keeps other people out of the fleet's pages: forms that only our pages can send, troubles told as pages.

Law: what changes something is a POST with a form, and is refused when another site asked for it (`uplink.pages.guard`). Once
logged in, it must carry the session's form key as well.
"""

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from uplink.pages.guard import harden, is_own
from uplink.receiver.storage import StoreUnavailable

FORM_MAX_BYTES = 4096
FORM_FIELDS_MAX = 10
FORM_TIMEOUT_S = 10.0


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
            harden(error)
            raise
        harden(answer)
        return answer

    return middleware


async def form(request: web.Request) -> dict[str, str]:
    """The fields of a form that one of our pages sent. Raises Trouble."""
    if not is_own(request):
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
