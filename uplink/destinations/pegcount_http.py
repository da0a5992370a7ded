"""A platform that speaks version 1 of the contract, over HTTPS.

Laws
- A batch is posted as it was built; what came back is not judged here (`uplink.session`). But where a receipt is by a key that
  is not known, the platform's keys are asked for before the answer is handed on: one of them may have been introduced by one
  that is (`uplink.succession`).
- A batch that was signed by a key which another one overtook while it was on its way is signed anew, and sent again.
- Who speaks is shown by what `auth` says: the token, a signature of the enrolled machine's key over every request, each with a
  nonce of its own, or the client certificate. `auto` takes the first of them that there is, in this order; but where half an
  enrolment is left, nothing else is taken in its place.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from uplink import identity
from uplink.batch import DIGEST_FIELD, EVENTS_MAX, RAW_MAX_BYTES, Batch, digest_field
from uplink.enrolment import PLATFORM_KEYS_PATH, PlatformKeysTold
from uplink.identity import signature
from uplink.line import CredentialsUnreadable, HttpLine, LineSettings, first_line
from uplink.receipts import Receipt
from uplink.renewed import Renewed
from uplink.session import Answer, Failure
from uplink.speaker import Speaker, as_site


class PegcountSettings(LineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[uplink]` table. `token` or `token_file`, or neither where the machine is enrolled or shows a certificate; `auth`
    says which of them it is."""

    kind: Literal["pegcount"] = "pegcount"
    auth: Literal["auto", "key", "token", "certificate"] = "auto"
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
        if self.auth in ("key", "certificate") and self.has_token:
            raise ValueError(f'auth is "{self.auth}", and there is a token besides: take one of them out')
        if self.auth == "token" and not self.has_token:
            raise ValueError('auth is "token", and there is neither token nor token_file')
        if self.auth == "certificate" and not self.certificate:
            raise ValueError('auth is "certificate", and there is none')

    @property
    def has_token(self) -> bool:
        return bool(self.token or self.token_file)

    def secret(self) -> str:
        """The token, or nothing. Raises CredentialsUnreadable."""
        return self.token or (first_line(self.token_file) if self.token_file else "")


class _Hints(Struct, frozen=True):
    new_key: bool = False


class _Beside(Struct, frozen=True):
    receipt: Receipt | None = None
    hints: _Hints = _Hints()


class PegcountHttp:
    """`site` is the id under which the platform knows this site, `folder` holds who this machine is, if it is enrolled
    (`uplink.identity`). The files that the settings name are read here, and again when they were renewed. Raises
    CredentialsUnreadable and EnrolledElsewhere."""

    def __init__(self, settings: PegcountSettings, site: str, folder: Path | None = None) -> None:
        self.settings = settings
        base = settings.url.rstrip("/")
        self.target = f"{base}/v1/sites/{site}/batches"
        self._policy = f"{base}/v1/sites/{site}/policy"
        self._keys = base + PLATFORM_KEYS_PATH
        self._token = Renewed([settings.token_file], settings.secret)
        self._speaker = _speaker(settings, site, folder)
        if not (self._token.current() or self._speaker or settings.certificate):
            raise CredentialsUnreadable("[uplink] has no token, and this machine is not enrolled: pegcount enrol")
        self.platform_keys: Mapping[str, bytes] = self._speaker.platform_keys if self._speaker else {}
        self._line = HttpLine(settings)

    async def post(self, batch: Batch) -> Answer | Failure:
        while True:
            headers = self._signed("POST", self.target, batch.headers)
            answer = await self._line.post(self.target, batch.body, headers)
            if self._speaker is None or isinstance(answer, Failure):
                return answer
            if not self._speaker.was_overtaken(headers, answer):
                await self._heed(self._speaker, answer)
                return answer

    async def policy(self, seen: str) -> Answer | Failure:
        """The site's policy, unless it is the one whose SHA-256 is `seen`."""
        headers = {DIGEST_FIELD: digest_field(b"")} | ({"If-None-Match": f'"{seen}"'} if seen else {})
        return await self._line.request("GET", self._policy, b"", self._signed("GET", self._policy, headers))

    async def close(self) -> None:
        await self._line.close()

    def _signed(self, method: str, url: str, headers: Mapping[str, str]) -> dict[str, str]:
        """By the key or with the token that is this machine's now, if it speaks by one."""
        if token := self._token.current():
            return {"Authorization": f"Bearer {token}", **headers}
        if self._speaker is None:
            return dict(headers)
        return {**headers, **signature(self._speaker.refresh().key, method, url, headers)}

    async def _heed(self, speaker: Speaker, answer: Answer) -> None:
        """What the platform says of keys, beside what became of the batch."""
        try:
            beside = msgspec.json.decode(answer.body, type=_Beside) if answer.status == 200 else _Beside()
        except (msgspec.DecodeError, RecursionError):
            return
        if beside.receipt and beside.receipt.key not in self.platform_keys:
            await self._learn(speaker)
        if beside.hints.new_key:
            await speaker.change_key(self._line)

    async def _learn(self, speaker: Speaker) -> None:
        """Ask for the platform's keys. What is no answer teaches nothing, and is asked for again with the next batch."""
        answer = await self._line.request("GET", self._keys, b"", {})
        if isinstance(answer, Answer) and answer.status == 200:
            try:
                told = msgspec.json.decode(answer.body, type=PlatformKeysTold)
            except (msgspec.DecodeError, RecursionError):
                return
            await speaker.learn(told.keys)


def _speaker(settings: PegcountSettings, site: str, folder: Path | None) -> Speaker | None:
    """The enrolled machine, where it is its key that speaks. Raises CredentialsUnreadable."""
    if settings.auth in ("token", "certificate"):
        return None
    if folder and settings.auth == "auto" and identity.is_half(folder):
        hint = "enrol this machine again (pegcount enrol), or say by auth what else shall speak"
        raise CredentialsUnreadable(f"{folder} holds a key and no enrolment: {hint}")
    speaker = as_site(folder, site) if folder and not settings.has_token else None
    if settings.auth == "key" and speaker is None:
        raise CredentialsUnreadable('[uplink] auth is "key", and this machine is not enrolled: pegcount enrol')
    return speaker
