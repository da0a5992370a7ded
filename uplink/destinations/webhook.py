"""Any receiver of CloudEvents: `POST` to one address, as batches or one by one (CloudEvents' HTTP 1.1 Web Hooks 1.0.2).

Laws
- An event goes as it is stored, extension attributes and all; only type and subject change where `names` maps them.
- Taken is what 200, 201, 202 and 204 say, and nothing else: other answers of success (207 above all) may mean a part.
- 429 is obeyed. A receiver that says 410 is asked once a day, for a person has to say where it went; nothing is dropped.
- With `validate` nothing is sent before the receiver has agreed to this sender (section 4), and no faster than it agreed to.
- With a signing secret each request is signed as Standard Webhooks has it (HMAC-SHA256); `webhook-id` follows from the ids of
  the events, so that a request that is made again has the same one.

Sources: cloudevents/spec, cloudevents/http-webhook.md; standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

import asyncio
import binascii
import hmac
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated

from msgspec import Meta

from uplink import backoff
from uplink.destinations.settings import HttpTakerSettings
from uplink.line import CredentialsUnreadable, HttpLine, first_line
from uplink.session import Answer
from uplink.taker import Event, Failed, Limits, Outcome, Rule, form, judge, said
from uplink.uploader import wall_clock_ms

BATCH_TYPE = "application/cloudevents-batch+json"
SINGLE_TYPE = "application/cloudevents+json"
TAKEN = {200, 201, 202, 204}
SECRET_BEGINS = "whsec_"
SECRET_MIN_BYTES, SECRET_MAX_BYTES = 24, 64
"""Standard Webhooks, "Signature scheme"."""
_RATE = re.compile(r"[1-9][0-9]{0,8}")
_DNS = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")


class WebhookSettings(HttpTakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is the whole address. `token` or `token_file`: a bearer token, if any. `max_events`: of one batch; 1 sends events
    one by one. `validate`: ask for permission first, as `origin`, a DNS name that stands for this sender.
    `signing_secret_file`: its first line is a secret of Standard Webhooks (`whsec_...`)."""

    max_events: Annotated[int, Meta(ge=1, le=1000)] = 100
    validate: bool = False
    origin: str = ""
    signing_secret_file: str = ""

    def check_secret(self) -> None:
        if self.token or self.token_file:
            super().check_secret()
        if self.validate and not self.origin:
            raise ValueError(
                "origin must be given: with validate the receiver is asked whether it takes events from it"
            )
        if self.origin and not _DNS.fullmatch(self.origin):
            raise ValueError("origin must be a DNS name, like meter.example.net")


def _failed(code: str, hint: str) -> Rule:
    return lambda answer, _: Failed(code=code, detail=f"{said(answer)}{hint}", slow=True)


def _gone(answer: Answer, _: int) -> Outcome:
    return Failed(code="gone", detail=said(answer), retry_after_ms=backoff.RETRY_AFTER_MAX_MS)


_SPECIAL: dict[int, Rule] = {
    **dict.fromkeys({*range(200, 300)} - TAKEN, _failed("answer_unusable", ": whether all were taken is not said")),
    410: _gone,
    415: _failed("destination_misconfigured", f": it does not take {BATCH_TYPE} (max_events = 1: {SINGLE_TYPE})"),
}


class Webhook:
    """Raises CredentialsUnreadable where a file that the settings name cannot be used."""

    def __init__(self, settings: WebhookSettings, site: str) -> None:
        self.limits = Limits(max_events=settings.max_events, max_bytes=1024 * 1024)
        self._settings = settings
        self._single = settings.max_events == 1
        self._authority = _authority(settings)
        self._headers = {"Content-Type": SINGLE_TYPE if self._single else BATCH_TYPE} | self._authority
        self._secret = _secret(settings.signing_secret_file) if settings.signing_secret_file else b""
        self._line = HttpLine(settings)
        self._origin = settings.origin
        self._permitted = not settings.validate
        self._gap_s = 0.0
        """Between two requests, as the receiver agreed to."""
        self._next_s = 0.0

    async def send(self, events: Sequence[Event]) -> Outcome:
        if not self._permitted and (denied := await self._ask()):
            return denied
        await self._turn()
        bodies = [form(event) for event in events]
        body = bodies[0] if self._single else b"[" + b",".join(bodies) + b"]"
        signed = signature(self._secret, message_id(events), wall_clock_ms() // 1000, body) if self._secret else {}
        answer = await self._line.post(self._settings.url, body, self._headers | signed)
        return judge(answer, wall_clock_ms(), _SPECIAL)

    async def close(self) -> None:
        await self._line.close()

    async def _ask(self) -> Failed | None:
        """Section 4.1: whether events from this sender are welcome. None: they are."""
        answer = await self._line.request("OPTIONS", self._settings.url, b"", self._authority)
        if not isinstance(answer, Answer) or answer.headers.get("webhook-allowed-origin") not in ("*", self._origin):
            no = Failed(code="forbidden", detail=f"it permits no events from {self._origin}", slow=True)
            outcome = judge(answer, wall_clock_ms(), {405: lambda *_: no})
            return outcome if isinstance(outcome, Failed) else no
        rate = answer.headers.get("webhook-allowed-rate", "")
        if _RATE.fullmatch(rate):
            self._gap_s = 60 / int(rate)
        self._permitted = True
        return None

    async def _turn(self) -> None:
        """Wait until the next request may be made."""
        await asyncio.sleep(max(0.0, self._next_s - time.monotonic()))
        self._next_s = time.monotonic() + self._gap_s


def _authority(settings: WebhookSettings) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {settings.secret()}"} if settings.token or settings.token_file else {}
    return headers | ({"WebHook-Request-Origin": settings.origin} if settings.origin else {})


def _secret(path: str) -> bytes:
    """Raises CredentialsUnreadable."""
    text = first_line(path)
    try:
        secret = b64decode(text.removeprefix(SECRET_BEGINS), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(SECRET_BEGINS) or not SECRET_MIN_BYTES <= len(secret) <= SECRET_MAX_BYTES:
        raise CredentialsUnreadable(
            f"{path}: the first line is no signing secret: {SECRET_BEGINS} and base64 of 24 to 64 bytes"
        )
    return secret


def message_id(events: Sequence[Event]) -> str:
    return sha256("\n".join(event.id for event in events).encode()).hexdigest()[:32]


def signature(secret: bytes, message: str, at_s: int, body: bytes) -> dict[str, str]:
    """The headers of Standard Webhooks; `message` is the webhook-id."""
    mac = hmac.digest(secret, f"{message}.{at_s}.".encode() + body, "sha256")
    return {
        "webhook-id": message,
        "webhook-timestamp": str(at_s),
        "webhook-signature": f"v1,{b64encode(mac).decode()}",
    }
