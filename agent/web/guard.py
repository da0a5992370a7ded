"""What keeps other people's web pages out of the status page.

Laws
- A request is answered only if its Host is a name that no stranger's DNS can point here: a loopback name, an IP address,
  or one that the configuration lists. (A name of the attacker's own that resolves to 127.0.0.1 is DNS rebinding.)
- What changes something (POST) is refused when the browser says that another site asked for it (`Sec-Fetch-Site`,
  Fetch Metadata Request Headers; `Origin`, Fetch standard, for browsers without it). A client that is no browser sends
  neither and is let in: it could as well read the ledger.
- Every answer carries the policy below; nothing is ever loaded from anywhere else.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from agent.web.page import trouble

# Not `no-referrer`: with that, a form's POST says `Origin: null`, and browsers without Fetch Metadata would be refused.
SECURITY_HEADERS = {
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
    "Cross-Origin-Embedder-Policy": "require-corp",
}
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


def is_own_request(fetch_site: str, origin: str, host: str) -> bool:
    """True where a request that changes something came from this page itself, or from no browser at all."""
    if fetch_site:
        return fetch_site in ("same-origin", "none")
    return not origin or urlsplit(origin).netloc == host


def guard(hosts: Collection[str]) -> Middleware:
    """The middleware that holds the laws above. `hosts` are names besides the loopback's and IP addresses."""
    known = frozenset(host.lower() for host in hosts)

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            answer = _refusal(request, known) or await handler(request)
        except web.HTTPException as error:
            error.headers.update(SECURITY_HEADERS)
            raise
        answer.headers.update(SECURITY_HEADERS)
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer

    return middleware


def _refusal(request: web.Request, known: Collection[str]) -> web.Response | None:
    host, headers = request.headers.get("Host", ""), request.headers
    if not is_known_host(host, known):
        text = f'This page does not answer to the name "{host}". Use the address 127.0.0.1, or list the name under [web] hosts.'
        return _forbidden(text)
    if request.method in READING or is_own_request(headers.get("Sec-Fetch-Site", ""), headers.get("Origin", ""), host):
        return None
    return _forbidden("This request came from another web site and was not carried out.")


def _forbidden(text: str) -> web.Response:
    return web.Response(status=403, text=trouble("Refused", text), content_type="text/html")
