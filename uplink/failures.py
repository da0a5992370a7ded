"""What an exception of an HTTP line stands for: a problem's code, and a detail that a technician can use. Pure.

Law: a detail says what happened to which host in words of the network's; nothing of the program's own objects is in it.
"""

import asyncio
import errno
import os
import ssl

import aiohttp

from uplink.session import Failure


def failure(error: Exception) -> Failure:
    """The problem that an exception of the line stands for."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _proxy_said(error)
    code = next((code for kinds, code in _BY_KIND if isinstance(error, kinds)), "") or _by_errno(error)
    return Failure(code=code, detail=_in_words(error))


def _proxy_said(error: aiohttp.ClientHttpProxyError) -> Failure:
    """The answer to CONNECT was the proxy's own word, and none of the platform's. tinyproxy says 401 for a wrong password; 5xx
    is what a proxy says that does not get through itself (RFC 9110 sections 15.6.3 and 15.6.5)."""
    auth = error.status in (401, 407)
    code = "proxy_auth" if auth else "unreachable" if error.status >= 500 else "proxy_refused"
    return Failure(code=code, detail=f"the proxy answered {error.status} {error.message}".rstrip())


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


def _in_words(error: Exception) -> str:
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return f"{error.host}:{error.port} showed a certificate with the SHA-256 {error.got.hex()}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{error.host}:{error.port}: {_reason(error.os_error)}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"{error.host}:{error.port}: {_reason(error.certificate_error)}"
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _reason(error: Exception) -> str:
    """OpenSSL's own reason of a certificate; the kernel's word for a number, where asyncio says which call failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or error}"
    number = getattr(error, "errno", None) or 0
    return os.strerror(number) if number > 0 else getattr(error, "strerror", None) or str(error)
