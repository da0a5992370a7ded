"""Stripe's meter events of API version 2: one by one (`POST /v2/billing/meter_events`), or up to 100 at once by its stream.

Laws
- The id goes as `identifier`, which Stripe knows again for 24 hours. One by one, a second time is an error 400 that says so,
  and is success here, where it names this identifier. (By the stream nothing is said of it.)
- An event may be 35 days old and 5 minutes ahead, by Stripe's clock, not the site's: of its answer, or of its session. One that
  is older will never be taken, so it goes to quarantine (`too_old`) and no brake stops those behind it; one that is ahead is
  refused like any other.
- What the stream would refuse later and elsewhere is refused here: values of more than 15 digits, names that are too long.
- The stream's tokens hold for 15 minutes: one that is not accepted (401) is replaced once.
- A correction is an event with a negative value; Stripe adds them up.

Sources, under docs.stripe.com: api/v2/billing/meter-event, api/v2/billing-meter-stream, the guide "Configure meters" (negative
values), changelog of 2026-04-22 (15 digits).
"""

import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from uplink import backoff
from uplink.destinations.settings import HttpTakerSettings
from uplink.events import instant
from uplink.events import time_ms as instant_ms
from uplink.line import HttpLine, check_address
from uplink.outbox import Refusal
from uplink.session import Answer
from uplink.taker import SAID_MAX_CHARS, Event, Failed, Limits, Outcome, Refused, Taken, judge, quantity_of, said
from uplink.uploader import wall_clock_ms

EVENTS_PATH = "/v2/billing/meter_events"
SESSION_PATH = "/v2/billing/meter_event_session"
STREAM_PATH = "/v2/billing/meter_event_stream"
VERSION = "2024-09-30.acacia"
"""Requests of version 2 must name a version; this is the first that has meter events and the stream."""
OLDEST_MS = 35 * 86_400_000
AHEAD_MS = 5 * 60_000
NAME_MAX_CHARS = 100
"""Of `event_name` and `identifier`."""
VALUE_MAX_DIGITS = 15
DUPLICATE = "An event already exists with identifier "


class StripeSettings(HttpTakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`token` is a secret or restricted key. `api`: whether events go one by one, or by the stream, at `stream_url`."""

    url: str = "https://api.stripe.com"
    api: Literal["meter_events", "meter_event_stream"] = "meter_events"
    stream_url: str = "https://meter-events.stripe.com"

    def check_line(self) -> None:
        super().check_line()
        check_address(self.stream_url, self.allow_http, "stream_url")
        if self.api == "meter_event_stream" and self.pin:
            raise ValueError("pin names one certificate, and the stream is another host")


class _Payload(Struct, frozen=True):
    """Texts, both: under the keys that a meter has unless it is told otherwise."""

    stripe_customer_id: str
    value: str


class _Wire(Struct, frozen=True):
    event_name: str
    identifier: str
    timestamp: str
    payload: _Payload


class _Words(Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Error(Struct, frozen=True):
    error: _Words = _Words()


class _SessionAnswer(Struct, frozen=True):
    authentication_token: str
    created: str


class _Session(Struct, frozen=True):
    """A token, and Stripe's clock: `created_ms` there was `began_s` on this machine's steady clock."""

    token: str
    created_ms: int
    began_s: float

    def now_ms(self) -> int:
        return self.created_ms + int((time.monotonic() - self.began_s) * 1000)


class Way(Protocol):
    """How events go to Stripe."""

    limits: Limits

    async def send(self, events: Sequence[Event]) -> Outcome: ...


class Stripe:
    """Raises CredentialsUnreadable where a file that the settings name cannot be used."""

    def __init__(self, settings: StripeSettings, site: str) -> None:
        self._line = HttpLine(settings)
        self._way = WAYS[settings.api](settings, self._line)
        self.limits = self._way.limits

    async def send(self, events: Sequence[Event]) -> Outcome:
        misfit = next(filter(None, map(_misfit, events)), None)
        return misfit or await self._way.send(events)

    async def close(self) -> None:
        await self._line.close()


class _OneByOne:
    """Checked by Stripe before it answers."""

    limits = Limits(max_events=1)

    def __init__(self, settings: StripeSettings, line: HttpLine) -> None:
        self._url = settings.url.rstrip("/") + EVENTS_PATH
        self._headers = _headers(settings.secret())
        self._line = line

    async def send(self, events: Sequence[Event]) -> Outcome:
        event = events[0]
        answer = await self._line.post(self._url, msgspec.json.encode(_wire(event)), self._headers)
        return judge(answer, wall_clock_ms(), {400: lambda answer, now_ms: _bad_request(event, answer, now_ms)})


class _Stream:
    """Checked by Stripe after it answered; what fails then is told by an event of Stripe's own."""

    limits = Limits(max_events=100)

    def __init__(self, settings: StripeSettings, line: HttpLine) -> None:
        self._session_url = settings.url.rstrip("/") + SESSION_PATH
        self._url = settings.stream_url.rstrip("/") + STREAM_PATH
        self._headers = _headers(settings.secret())
        self._line = line
        self._session: _Session | None = None

    async def send(self, events: Sequence[Event]) -> Outcome:
        outcome, expired = await self._try(events)
        if expired:
            outcome, _ = await self._try(events)
        return outcome

    async def _try(self, events: Sequence[Event]) -> tuple[Outcome, bool]:
        """What came of it, and whether that was because the token was not accepted."""
        session = self._session or await self._begin()
        if isinstance(session, Failed):
            return session, False
        self._session = session
        now_ms = session.now_ms()
        if ahead := next((event for event in events if event.time_ms > now_ms + AHEAD_MS), None):
            return Refused(code="too_new", message=_told_at(ahead, now_ms)), False
        old = tuple(_too_old(event, now_ms) for event in events if event.time_ms < now_ms - OLDEST_MS)
        wires = [_wire(event) for event in events if event.time_ms >= now_ms - OLDEST_MS]
        if not wires:
            return Taken(refused=old), False
        body = msgspec.json.encode({"events": wires})
        answer = await self._line.post(self._url, body, _headers(session.token))
        expired = isinstance(answer, Answer) and answer.status == 401
        if expired:
            self._session = None
        outcome = judge(answer, wall_clock_ms())
        return (Taken(refused=old) if isinstance(outcome, Taken) else outcome), expired

    async def _begin(self) -> _Session | Failed:
        began_s = time.monotonic()
        answer = await self._line.post(self._session_url, b"", self._headers)
        outcome = judge(answer, wall_clock_ms())
        if isinstance(outcome, Failed):
            return outcome
        if not isinstance(answer, Answer) or not isinstance(outcome, Taken):
            return Failed(code="destination_misconfigured", detail=getattr(outcome, "message", ""), slow=True)
        try:
            made = msgspec.json.decode(answer.body, type=_SessionAnswer)
            return _Session(made.authentication_token, instant_ms(made.created), began_s)
        except (ValueError, RecursionError):
            return Failed(code="answer_unusable", detail="no session in the answer", slow=True)


WAYS: dict[str, Callable[[StripeSettings, HttpLine], Way]] = {
    "meter_events": _OneByOne,
    "meter_event_stream": _Stream,
}


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json", "Stripe-Version": VERSION}


def _wire(event: Event) -> _Wire:
    payload = _Payload(event.subject, str(event.data["quantity"]))
    return _Wire(event.type, event.id, instant(event.time_ms), payload)


def _misfit(event: Event) -> Refused | None:
    """Why it can never be taken."""
    quantity = quantity_of(event)
    if quantity is None:
        return Refused(code="no_quantity", message="its quantity is no number")
    if len(quantity.as_tuple().digits) > VALUE_MAX_DIGITS:
        return Refused(code="too_many_digits", message=f"its quantity has more than {VALUE_MAX_DIGITS} digits")
    if max(len(event.id), len(event.type)) > NAME_MAX_CHARS:
        return Refused(code="name_too_long", message=f"its id or name has more than {NAME_MAX_CHARS} characters")
    return None


def _bad_request(event: Event, answer: Answer, now_ms: int) -> Outcome:
    words = _words(answer)
    known = words.message.partition(DUPLICATE)[2].split(maxsplit=1)
    if known and known[0].strip("`'\".,") == event.id:
        return Taken(known=1)
    there_ms = backoff.date_ms(answer.date) or now_ms
    if event.time_ms < there_ms - OLDEST_MS:
        return Taken(refused=(_too_old(event, there_ms),))
    return Refused(code=words.code or "refused_400", message=words.message[:SAID_MAX_CHARS] or said(answer))


def _words(answer: Answer) -> _Words:
    try:
        return msgspec.json.decode(answer.body, type=_Error).error
    except (msgspec.DecodeError, RecursionError):
        return _Words()


def _too_old(event: Event, now_ms: int) -> Refusal:
    return Refusal(seq=event.position, code="too_old", message=_told_at(event, now_ms))


def _told_at(event: Event, now_ms: int) -> str:
    return f"of {event.time}; it is {instant(now_ms)} there, and 35 days back and 5 minutes ahead are taken"
