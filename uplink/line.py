"""HTTP to a platform, as all destinations use it: where it is, how it is trusted, and what comes back.

Laws
- `post` returns an Answer or a Failure for whatever happens on the line, and raises nothing but cancellation.
- Redirects are not followed: a token and a customer's numbers go to the configured host only.
- TLS is verified: by this machine's authorities, by `ca_file`, or by the one certificate that `pin` names. Without TLS a
  secret is sent to this machine itself only, unless `allow_http` says otherwise.
- A body goes out no faster than `max_kbit_s`, and the time that this takes is not counted as waiting for the answer.
- An answer is read up to ANSWER_MAX_BYTES, uncompressed, and no further.
- Checking settings opens no file; `HttpLine` opens those that they name, and raises CredentialsUnreadable. Certificates that
  were renewed are shown from the next connection on.
"""

import base64
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

import aiohttp
from msgspec import Meta, Struct

from uplink.failures import failure
from uplink.pacing import Bucket, bytes_s, paced
from uplink.renewed import CredentialsUnreadable as CredentialsUnreadable
from uplink.renewed import Renewed
from uplink.session import ANSWER_MAX_BYTES, Answer, Failure

CONNECT_TIMEOUT_S = 10.0
"""A TCP and TLS handshake over a satellite takes under 3 s; three SYNs are sent in the first 7."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PIN = re.compile(r"(?:[0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}")


class TimedSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When uploads start: either `interval_s` or `cron` (five fields, the site's time); with `stream` also as soon as there is
    something new. `jitter_s` spreads a fleet: each upload starts up to so much later, each site at its own place. `window`: the
    hours in which events are sent, such as `22:00-06:00`, the site's time."""

    interval_s: Annotated[int, Meta(ge=1, le=86_400)] = 900
    cron: str = ""
    stream: bool = False
    window: str = ""
    jitter_s: Annotated[int, Meta(ge=0, le=86_400)] = 60


class LineSettings(TimedSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`ca_file`: PEM of the authorities that may vouch for the platform, instead of this machine's. `pin`: the SHA-256 of its
    certificate, instead of any authority. `certificate` and `key_file`: what this machine shows of itself (mutual TLS).
    `proxy_auth_file`: `user:password` for the proxy, on its first line. `max_kbit_s`: the most that request bodies may take of
    the line; 0 for all of it."""

    url: Annotated[str, Meta(max_length=2000)]
    timeout_s: Annotated[float, Meta(gt=0, le=600)] = 60.0
    proxy: str = ""
    proxy_auth_file: str = ""
    ca_file: str = ""
    pin: str = ""
    certificate: str = ""
    key_file: str = ""
    allow_http: bool = False
    max_kbit_s: Annotated[int, Meta(ge=0, le=10_000_000)] = 0

    def __post_init__(self) -> None:
        self.check_line()

    def check_line(self) -> None:
        """Raises ValueError; a message begins with the key that it is about."""
        check_address(self.url, self.allow_http)
        if self.pin and not _PIN.fullmatch(self.pin):
            raise ValueError("pin must be the SHA-256 of a certificate: 64 hexadecimal digits")
        if self.pin and (self.ca_file or self.certificate):
            raise ValueError(
                "pin names the one certificate that is trusted: it goes with neither ca_file nor certificate"
            )
        if bool(self.certificate) != bool(self.key_file):
            raise ValueError("certificate and key_file go together")
        if self.proxy_auth_file and not self.proxy:
            raise ValueError("proxy_auth_file is for a proxy, and none is given")
        if self.proxy and urlsplit(self.proxy).scheme != "http":
            raise ValueError("proxy must be an address like http://proxy.example.net:3128")


def check_address(url: str, allow_http: bool, key: str = "url") -> None:
    """Raises ValueError where `url` is no address to send a secret to. `key` is what it is called in the settings."""
    parts = _parts(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{key} must be the platform's address, like https://meter.example.net")
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            f"{key} must hold no user or password: it is shown on the status page; token_file is for secrets"
        )
    if not _has_a_port(parts):
        raise ValueError(f"{key} must have a port from 1 to 65535, or none")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK and not allow_http:
        raise ValueError(f"{key} must be https: with http anyone on the way can read the token (allow_http permits it)")


def _parts(url: str) -> SplitResult | None:
    """None where a bracket of an IPv6 address is missing, or what is between them is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _has_a_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def first_line(path: str) -> str:
    """The first line of a file of secrets, without the mark that editors of Windows put before it. Raises
    CredentialsUnreadable."""
    try:
        text = Path(path).read_text("utf-8-sig").partition("\n")[0].strip()
    except OSError as error:
        raise CredentialsUnreadable(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CredentialsUnreadable(f"{path}: this is no text in UTF-8") from None
    if not text:
        raise CredentialsUnreadable(f"{path}: the first line is empty")
    if not text.isascii() or not text.isprintable():
        raise CredentialsUnreadable(f"{path}: the first line holds other characters than printable ASCII")
    return text


class HttpLine:
    """One platform's address, reached over connections that are kept open."""

    def __init__(self, settings: LineSettings) -> None:
        self.settings = settings
        files = (settings.ca_file, settings.certificate, settings.key_file)
        self._trust = Renewed(files, lambda: _trust(settings))
        self._for_proxy = _for_proxy(settings)
        self._bucket = Bucket(bytes_s(settings.max_kbit_s)) if settings.max_kbit_s else None
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | Failure:
        return await self.request("POST", url, body, headers)

    async def request(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | Failure:
        try:
            return await self._exchange(method, url, body, headers)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return failure(error)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | Failure:
        data: bytes | AsyncIterator[bytes] = body
        limit_s = self.settings.timeout_s
        if self._bucket is not None and body:
            data = paced(body, self._bucket)
            headers = {"Content-Length": str(len(body)), **headers}
            limit_s += len(body) / self._bucket.bytes_s
        request = self._opened().request(
            method,
            url,
            data=data,
            headers={"Accept-Encoding": "identity", **headers, **({} if url.startswith("https:") else self._for_proxy)},
            timeout=aiohttp.ClientTimeout(total=limit_s, connect=CONNECT_TIMEOUT_S),
            allow_redirects=False,
            proxy=self.settings.proxy or None,
            proxy_headers=self._for_proxy,
            ssl=self._trust.current(),
        )
        async with request as response:
            read = await _bounded(response.content)
            if read is None:
                return Failure(code="answer_unusable", detail=f"an answer of more than {ANSWER_MAX_BYTES} bytes")
            return Answer(
                status=response.status,
                body=read,
                content_type=response.headers.get("Content-Type", ""),
                retry_after=response.headers.get("Retry-After", ""),
                date=response.headers.get("Date", ""),
                location=response.headers.get("Location", ""),
                headers={name.lower(): value for name, value in response.headers.items()},
            )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


def _trust(settings: LineSettings) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
    """Whose word is taken for the platform's certificate."""
    if settings.pin:
        return aiohttp.Fingerprint(bytes.fromhex(settings.pin.replace(":", "")))
    if not (settings.ca_file or settings.certificate):
        return True
    return tls_context(settings.ca_file, settings.certificate, settings.key_file)


def tls_context(ca_file: str, certificate: str, key_file: str) -> ssl.SSLContext:
    """Out of PEM files: the authorities that are trusted, or else this machine's; what is shown of oneself, if anything. Raises
    CredentialsUnreadable."""
    with _of_files(ca_file):
        context = ssl.create_default_context(cafile=ca_file or None)
    if certificate:
        with _of_files(certificate, key_file):
            context.load_cert_chain(certificate, key_file)
    return context


@contextmanager
def _of_files(*files: str) -> Iterator[None]:
    """What OpenSSL says of them names none. Raises CredentialsUnreadable."""
    try:
        for file in filter(None, files):
            Path(file).open("rb").close()
        yield
    except ssl.SSLError as error:
        raise CredentialsUnreadable(
            f"{' and '.join(files)}: not the PEM it should be: {error.reason or error}"
        ) from None
    except OSError as error:
        raise CredentialsUnreadable(f"{error.filename or ' and '.join(files)}: {error.strerror}") from None


def _for_proxy(settings: LineSettings) -> dict[str, str]:
    """What is for the proxy alone: said with CONNECT; without a tunnel, with each request (RFC 9110 section 11.7.2)."""
    if not settings.proxy_auth_file:
        return {}
    user, colon, password = first_line(settings.proxy_auth_file).partition(":")
    if not colon:
        raise CredentialsUnreadable(f"{settings.proxy_auth_file}: the first line is not `user:password`")
    encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {encoded}"}


async def _bounded(stream: aiohttp.StreamReader) -> bytes | None:
    """The whole body, or None where it is longer than an answer can be."""
    parts, size = [], 0
    async for part in stream.iter_chunked(65536):
        parts.append(part)
        size += len(part)
        if size > ANSWER_MAX_BYTES:
            return None
    return b"".join(parts)
