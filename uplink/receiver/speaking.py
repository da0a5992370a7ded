"""HTTP itself: within which limits a request's line and headers are read, and what is answered to what is none.

Law: what is no HTTP gets a problem document, as every refusal does, and is not logged: whoever likes could fill the log.
"""

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from uplink.receiver.problems import problem

HEADER_MAX_BYTES = 4096
"""One header line, and the request's own. A head is about 330 bytes, a token at most 512."""
HEADERS_MAX = 64
LINGER_S = 2.0
"""How long the rest of a refused body is taken in, so that the client comes to read the refusal."""
KEEPALIVE_S = 75.0
SERVER = "pegcount"
"""Said of every answer, instead of the names and versions of what it is made with."""

log = logging.getLogger(__name__)


class Speaking(RequestHandler):
    """A connection's protocol, of the server that `runner` made."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status != 400:
            return super().handle_error(request, status, exc, message)
        refusal = problem(
            "bad_http", "this is no HTTP/1.1, or a header or the path is too long, or there are too many headers"
        )
        refusal.headers["Server"] = SERVER
        refusal.force_close()
        return refusal


def speaking(runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
    """What makes a protocol for each connection. `runner` is set up."""
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None
    return lambda: Speaking(
        server,
        loop=loop,
        logger=log,
        access_log=None,  # type: ignore[arg-type]  # as AppRunner passes it on
        keepalive_timeout=KEEPALIVE_S,
        max_line_size=HEADER_MAX_BYTES,
        max_field_size=HEADER_MAX_BYTES,
        max_headers=HEADERS_MAX,
        lingering_time=LINGER_S,
        auto_decompress=False,  # the digest is over the encoded body
    )
