"""What keeps other people's web pages out of ours: the headers of every answer, and whose request it is.

Laws
- Every answer carries the policy below; nothing is ever loaded from anywhere else, and nothing is kept unless it says so.
- What changes something is refused when the browser says that another site asked for it (`Sec-Fetch-Site`, Fetch Metadata
  Request Headers; `Origin`, Fetch standard, for browsers without it).
"""

from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

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
    "Cross-Origin-Embedder-Policy": "require-corp",
}


def harden(answer: web.StreamResponse) -> None:
    answer.headers.update(SECURITY_HEADERS)
    answer.headers.setdefault("Cache-Control", "no-store")


def is_own(request: web.Request) -> bool:
    """True where the request came from our page itself, or from no browser at all."""
    fetch_site, origin = request.headers.get("Sec-Fetch-Site", ""), request.headers.get("Origin", "")
    if fetch_site:
        return fetch_site in ("same-origin", "none")
    return not origin or urlsplit(origin).netloc == request.headers.get("Host", "")
