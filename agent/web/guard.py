"""What keeps other people's web pages out of the status page.

Laws
- A request is answered only if its Host is a name that no stranger's DNS can point here: a loopback name, an IP address,
  or one that the configuration lists. (A name of the attacker's own that resolves to 127.0.0.1 is DNS rebinding.)
- What changes something (POST) is refused when another site asked for it (`uplink.pages.guard`). A client that is no browser
  is let in: it could as well read the ledger.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from agent.web.page import trouble
from uplink.pages.guard import harden, is_own

READING = ("GET", "HEAD", "OPTIONS")


def host_name(host: str) -> str:
    """The name of a Host header without its port: `[::1]:8042` -> `::1`."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_known_host(host: str, hosts: Collection[str]) -> bool:
    """True where no stranger can have chosen this name. The port does not matter: it may be that of an ssh tunnel."""
    name = host_name(host)
    if name == "localhost" or name in hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def guard(hosts: Collection[str]) -> Middleware:
    """The middleware that holds the laws above. `hosts` are names besides the loopback's and IP addresses."""
    known = frozenset(host.lower() for host in hosts)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            answer = _refusal(request, known) or await handler(request)
        except web.HTTPException as error:
            harden(error)
            raise
        harden(answer)
        return answer

    return middleware


def _refusal(request: web.Request, known: Collection[str]) -> web.Response | None:
    host = request.headers.get("Host", "")
    if not is_known_host(host, known):
        text = f'This page does not answer to the name "{host}". Use the address 127.0.0.1, or list the name under [web] hosts.'
        return _forbidden(text)
    if request.method in READING or is_own(request):
        return None
    return _forbidden("This request came from another web site and was not carried out.")


def _forbidden(text: str) -> web.Response:
    return web.Response(status=403, text=trouble("Refused", text), content_type="text/html")
