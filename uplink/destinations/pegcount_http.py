"""A platform that speaks version 1 of the contract, over HTTPS.

Laws
- A batch is posted as it was built; what came back is not judged here (`uplink.session`).
- Who speaks is shown by the token where the settings have one, else by a signature of the enrolled machine's key over every
  request, each with a nonce of its own, else by the client certificate.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from uplink.batch import DIGEST_FIELD, EVENTS_MAX, RAW_MAX_BYTES, Batch, digest_field
from uplink.identity import Identity, load, signature
from uplink.line import CredentialsUnreadable, HttpLine, LineSettings, first_line
from uplink.session import Answer, Failure


class PegcountSettings(LineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[uplink]` table. `token` or `token_file`, or neither where the machine is enrolled or shows a certificate."""

    kind: Literal["pegcount"] = "pegcount"
    token: str = ""
    token_file: str = ""
    max_events: Annotated[int, Meta(ge=1, le=EVENTS_MAX)] = EVENTS_MAX
    max_bytes: Annotated[int, Meta(ge=1024, le=RAW_MAX_BYTES)] = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        self.check_line()
        if self.token and self.token_file:
            raise ValueError("token and token_file exclude each other")
        if not self.token.isascii() or not self.token.isprintable():
            raise ValueError("token must be printable ASCII")


class EnrolledElsewhere(Exception):
    """The configuration names another site than this machine is enrolled as."""


class PegcountHttp:
    """`site` is the id under which the platform knows this site, `identity` who this machine is if it is enrolled. The files
    that the settings name are read here, so that a token that was renewed is taken at the next start. Raises
    CredentialsUnreadable."""

    def __init__(self, settings: PegcountSettings, site: str, identity: Identity | None = None) -> None:
        self.settings = settings
        self.target = f"{settings.url.rstrip('/')}/v1/sites/{site}/batches"
        self._policy = f"{settings.url.rstrip('/')}/v1/sites/{site}/policy"
        token = settings.token or (first_line(settings.token_file) if settings.token_file else "")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        enrolled = None if token else _as_site(identity, site)
        self._key = enrolled.key if enrolled else None
        self.platform_keys: Mapping[str, bytes] = enrolled.platform_keys if enrolled else {}
        if not (token or self._key or settings.certificate):
            raise CredentialsUnreadable("[uplink] has no token, and this machine is not enrolled: pegcount enrol")
        self._line = HttpLine(settings)

    async def post(self, batch: Batch) -> Answer | Failure:
        headers = self._headers | batch.headers
        if self._key:
            headers |= signature(self._key, "POST", self.target, headers)
        return await self._line.post(self.target, batch.body, headers)

    async def policy(self, seen: str) -> Answer | Failure:
        """The site's policy, unless it is the one whose SHA-256 is `seen`."""
        headers = self._headers | {DIGEST_FIELD: digest_field(b"")} | ({"If-None-Match": f'"{seen}"'} if seen else {})
        if self._key:
            headers |= signature(self._key, "GET", self._policy, headers)
        return await self._line.request("GET", self._policy, b"", headers)

    async def close(self) -> None:
        await self._line.close()


def _as_site(identity: Identity | None, site: str) -> Identity | None:
    """Raises EnrolledElsewhere where the machine is another site."""
    if identity is not None and identity.site != site:
        raise EnrolledElsewhere(f"[site] id is {site}, but this machine is enrolled as {identity.site}")
    return identity


def open_enrolled(settings: PegcountSettings, site: str, folder: Path) -> PegcountHttp:
    """With the identity that `folder` holds, if any. Raises CredentialsUnreadable."""
    return PegcountHttp(settings, site, load(folder))
