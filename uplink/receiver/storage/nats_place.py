"""Where a JetStream is, out of a URL, and a connection to it.

    nats://HOST[:PORT][,HOST[:PORT]...][/STREAM][?replicas=3&max_bytes=N&creds=FILE&ca=FILE]      tls:// for TLS

Law: a URL may hold a password; no message does.
"""

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import nats
from msgspec import Struct
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from uplink.receiver.storage import StoreUnavailable, in_words

log = logging.getLogger(__name__)

STREAM = "PEGCOUNT"
CONNECT_S = 10.0
RECONNECT_S = 1.0
PENDING_BYTES = 64 * 1024 * 1024
"""What may wait for the socket: as many batches as a receiver works on at once, each below 512 kB, twice over."""

OVERTAKEN = (10071, 10164)
"""Error codes: another message stands last in the subject (JSStreamWrongLastSequenceErrF and ...ConstantErr)."""

_STREAM = re.compile(r"[0-9A-Za-z_-]{1,64}\Z")
_OPTIONS = {"replicas", "max_bytes", "creds", "ca"}
_T = TypeVar("_T")


class NatsPlace(Struct, frozen=True, kw_only=True):
    """`replicas` and `max_bytes` (-1: no limit) are for a stream that is not there yet. `shown` is without passwords."""

    servers: list[str]
    stream: str
    replicas: int
    max_bytes: int
    credentials: str
    ca_file: str
    shown: str


def parse(url: str) -> NatsPlace:
    """Raises StoreUnavailable for a URL that is none of ours."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    stream = parts.path.strip("/") or STREAM
    login, _, hosts = parts.netloc.rpartition("@")
    unknown = sorted(options.keys() - _OPTIONS)
    try:
        if unknown or not hosts or not _STREAM.match(stream):
            raise ValueError(f"unknown option {unknown[0]}" if unknown else "not HOST/STREAM")
        return NatsPlace(
            servers=[f"{parts.scheme}://{f'{login}@' if login else ''}{host}" for host in hosts.split(",")],
            stream=stream,
            replicas=int(options.get("replicas", "1")),
            max_bytes=int(options.get("max_bytes", "-1")),
            credentials=options.get("creds", ""),
            ca_file=options.get("ca", ""),
            shown=f"{parts.scheme}://{hosts}/{stream}",
        )
    except ValueError as error:
        raise StoreUnavailable(f"{parts.scheme}://{hosts}{parts.path}: {error}") from None


async def connect(place: NatsPlace) -> Client:
    """A connection that comes back by itself for ever, once it was there. Raises StoreUnavailable."""
    client = Client()

    async def on_loss() -> None:
        if not client.is_closed:
            log.warning("the connection to NATS is lost")

    options: dict[str, Any] = {
        "name": "pegcount receiver",
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": RECONNECT_S,
        "pending_size": PENDING_BYTES,
        "error_cb": _on_error,
        "disconnected_cb": on_loss,
        "reconnected_cb": _on_return,
    }
    try:
        if place.credentials:
            options["user_credentials"] = place.credentials
        if place.ca_file:
            options["tls"] = ssl.create_default_context(cafile=place.ca_file)
        async with asyncio.timeout(CONNECT_S):
            await client.connect(place.servers, **options)
    except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
        await client.close()
        raise StoreUnavailable(f"{place.shown}: {in_words(error)}") from error
    return client


async def _on_error(error: Exception) -> None:
    log.debug("nats: %s", in_words(error))


async def _on_return() -> None:
    log.warning("the connection to NATS is back")


async def answered(work: Awaitable[_T], *passed: type[Exception]) -> _T:
    """What the server answers. Raises StoreUnavailable where it does not, and NotFoundError and those `passed` as they are."""
    try:
        return await work
    except (nats.errors.Error, OSError, TimeoutError) as error:
        if isinstance(error, (NotFoundError, *passed)):
            raise
        raise StoreUnavailable(in_words(error)) from error
