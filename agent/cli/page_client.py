"""Asking the running agent through its own status page, as a browser on this machine would."""

import http.client
import ipaddress

from agent.config import Web, split_listen

ANSWER_MAX_BYTES = 32 << 20
"""A snapshot of 500 seats is about 100 kB; more than this is no page of ours."""


class NoAnswer(Exception):
    """No agent answers at the page's address, or not as an agent does. The message says which."""


def ask(web: Web, method: str, path: str, timeout_s: float) -> bytes:
    """The body of a 200 answer. Raises NoAnswer."""
    host, port = split_listen(web.listen)
    connection = http.client.HTTPConnection(_reachable(host), port, timeout=timeout_s)
    try:
        connection.request(method, path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        body = answer.read(ANSWER_MAX_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswer(f"no agent answers at {web.listen}: {error}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise NoAnswer(f"what answers at {web.listen} says {answer.status} {answer.reason}")
    return body


def _reachable(host: str) -> str:
    """An address to connect to: a page that listens everywhere is reached on loopback."""
    if host == "localhost" or not ipaddress.ip_address(host).is_unspecified:
        return host
    return "::1" if ":" in host else "127.0.0.1"
