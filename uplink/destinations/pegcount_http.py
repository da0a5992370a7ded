"""A platform that speaks version 1 of the contract, over HTTPS.

Laws
- `post` returns an Answer or a Failure for whatever happens on the line, and raises nothing but cancellation.
- Redirects are not followed: a token and a customer's numbers go to the configured host only.
- TLS is verified. Without TLS a token is sent to this machine itself only, unless `allow_http` says otherwise.
- An answer is read up to ANSWER_MAX_BYTES, uncompressed, and no further.
"""

import asyncio
import errno
import ssl
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

import aiohttp
from msgspec import Meta, Struct

from uplink.batch import EVENTS_MAX, RAW_MAX_BYTES, Batch
from uplink.session import ANSWER_MAX_BYTES, Answer, Failure

CONNECT_TIMEOUT_S = 10.0
"""A TCP and TLS handshake over a satellite takes under 3 s; three SYNs are sent in the first 7."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class PegcountSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[uplink]` table. Either `token` or `token_file`; either `interval_s` or `cron` (five fields, the site's time).
    `jitter_s` spreads a fleet: each upload starts up to so much later, by chance."""

    url: Annotated[str, Meta(max_length=2000)]
    kind: Literal["pegcount"] = "pegcount"
    token: str = ""
    token_file: str = ""
    interval_s: Annotated[int, Meta(ge=1, le=86_400)] = 900
    cron: str = ""
    jitter_s: Annotated[int, Meta(ge=0, le=86_400)] = 60
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 60.0
    max_events: Annotated[int, Meta(ge=1, le=EVENTS_MAX)] = EVENTS_MAX
    max_bytes: Annotated[int, Meta(ge=1024, le=RAW_MAX_BYTES)] = 4 * 1024 * 1024
    proxy: str = ""
    allow_http: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("url must be the platform's address, like https://meter.example.net")
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                "url must hold no user or password: it is shown on the status page; token_file is for secrets"
            )
        if not _has_a_port(parts):
            raise ValueError("url must have a port from 1 to 65535, or none")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not self.allow_http:
            raise ValueError(
                "url must be https: with http anyone on the way can read the token (allow_http permits it)"
            )
        if bool(self.token) == bool(self.token_file):
            raise ValueError("exactly one of token and token_file must be given")
        if not self.token.isascii() or not self.token.isprintable():
            raise ValueError("token must be printable ASCII")


def _has_a_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


class TokenUnreadable(Exception):
    """`token_file` cannot be read, or holds no token. The message says why."""


def read_token(settings: PegcountSettings) -> str:
    """The token, from the settings or the first line of `token_file`. Raises TokenUnreadable."""
    if settings.token:
        return settings.token
    try:
        token = Path(settings.token_file).read_text("utf-8").partition("\n")[0].strip()
    except OSError as error:
        raise TokenUnreadable(f"{settings.token_file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise TokenUnreadable(f"{settings.token_file}: this is no text") from None
    if not token or not token.isascii() or not token.isprintable():
        raise TokenUnreadable(f"{settings.token_file}: the first line is no token")
    return token


class PegcountHttp:
    """`site` is the id under which the platform knows this site. `token_file` is read here, so that a token that was
    renewed is taken at the next start."""

    def __init__(self, settings: PegcountSettings, site: str) -> None:
        self.settings = settings
        self.target = f"{settings.url.rstrip('/')}/v1/sites/{site}/batches"
        self._headers = {"Authorization": f"Bearer {read_token(settings)}", "Accept-Encoding": "identity"}
        self._session: aiohttp.ClientSession | None = None

    async def post(self, batch: Batch) -> Answer | Failure:
        try:
            return await self._exchange(batch)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return failure(error)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(self, batch: Batch) -> Answer | Failure:
        request = self._opened().post(
            self.target,
            data=batch.body,
            headers=self._headers | batch.headers,
            allow_redirects=False,
            proxy=self.settings.proxy or None,
        )
        async with request as response:
            body = await _bounded(response.content)
            if body is None:
                return Failure(code="answer_unusable", detail=f"an answer of more than {ANSWER_MAX_BYTES} bytes")
            return Answer(
                status=response.status,
                body=body,
                content_type=response.headers.get("Content-Type", ""),
                retry_after=response.headers.get("Retry-After", ""),
                date=response.headers.get("Date", ""),
                location=response.headers.get("Location", ""),
            )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self.settings.timeout_s, connect=CONNECT_TIMEOUT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


async def _bounded(stream: aiohttp.StreamReader) -> bytes | None:
    """The whole body, or None where it is longer than an answer can be."""
    parts, size = [], 0
    async for part in stream.iter_chunked(65536):
        parts.append(part)
        size += len(part)
        if size > ANSWER_MAX_BYTES:
            return None
    return b"".join(parts)


def failure(error: Exception) -> Failure | Answer:
    """The problem that an exception of the line stands for."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return Answer(status=error.status)
    code = next((code for kinds, code in _BY_KIND if isinstance(error, kinds)), "") or _by_errno(error)
    return Failure(code=code, detail=f"{type(error).__name__}: {error}".removesuffix(": "))


_BY_KIND: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    ((aiohttp.ClientConnectorDNSError,), "dns"),
    ((aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch, ssl.SSLError), "tls"),
    ((TimeoutError, asyncio.TimeoutError), "timeout"),
    ((aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError), "reset"),
)
"""The first that fits: a TLS error is an OSError as well, and a time-out a ServerConnectionError."""

_BY_ERRNO = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.ECONNABORTED: "reset",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ENETDOWN: "unreachable",
    errno.ETIMEDOUT: "timeout",
}


def _by_errno(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number is None and isinstance(error, (aiohttp.ClientOSError, ConnectionResetError)):
        return "reset"
    return _BY_ERRNO.get(number or 0, "transport")
