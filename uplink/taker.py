"""What a destination that is not our own platform is to the forwarder: it takes events, or says why not.

Laws
- The event's id is the identity at every destination; whoever answers "I have that one" has taken it.
- `send` returns one of exactly four things for whatever happens, and raises nothing but cancellation.
- Nothing is `Refused` that any other request would meet as well: a wrong password, a wrong address, a web page are
  `Failed`, and everything is kept.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from uplink import backoff
from uplink.events import EventHead, decode_head
from uplink.events import time_ms as instant_ms
from uplink.outbox import Refusal
from uplink.session import Answer, Failure, is_page


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """A stored event, and what the destination is to call it: `type` and `subject` are mapped names, `body` the bytes as
    they are stored (with our own names)."""

    position: int
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: dict[str, Any]
    body: bytes

    @property
    def time_ms(self) -> int:
        return instant_ms(self.time)


class Taken(Struct, frozen=True, kw_only=True):
    """The destination has them all, but for `refused` (by position), which it will never take. `known`: how many it had."""

    refused: tuple[Refusal, ...] = ()
    known: int = 0


class Refused(Struct, frozen=True, kw_only=True):
    """Some event among those sent is not acceptable, and none or not all of them were taken: the forwarder finds which."""

    code: str
    message: str = ""


class TooLarge(Struct, frozen=True, kw_only=True):
    """The request was too large."""

    message: str = ""


class Failed(Struct, frozen=True, kw_only=True):
    """Nothing can be said of the events; `code` is one of `problems.CATALOGUE`. `retry_after_ms`: when to come again, where
    the destination said so. `slow`: a person has to mend it."""

    code: str
    detail: str = ""
    retry_after_ms: int | None = None
    slow: bool = False


Outcome = Taken | Refused | TooLarge | Failed


class Limits(Struct, frozen=True, kw_only=True):
    """Of one request: `max_bytes` counts the stored bytes."""

    max_events: int = 100
    max_bytes: int = 4 * 1024 * 1024


class Taker(Protocol):
    limits: Limits

    async def send(self, events: Sequence[Event]) -> Outcome: ...

    async def close(self) -> None: ...


def quantity_of(event: Event) -> Decimal | None:
    """Its exact quantity; None where it has none."""
    try:
        quantity = Decimal(str(event.data.get("quantity")))
    except InvalidOperation:
        return None
    return quantity if quantity.is_finite() else None


class Names(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[destination.names]`: what things are called there. `meters`: our meter -> its name; one that maps to nothing is not
    sent. `unlisted`: whether meters that `meters` does not list are sent under their own names; `risk.*` are sent only
    where they are listed, for they are not billed. `subjects`: our subject -> the customer's name there; `subject` is a
    template for all others, with `{subject}` and `{site}`."""

    meters: dict[str, str] = {}
    unlisted: bool = True
    subjects: dict[str, str] = {}
    subject: str = "{subject}"

    def __post_init__(self) -> None:
        try:
            self.subject.format(subject="101", site="site")
        except (KeyError, IndexError, ValueError):
            raise ValueError("subject may hold {subject} and {site}, and no other braces") from None

    def meter(self, meter: str) -> str:
        """Its name there; empty where it is not sent."""
        own = meter if self.unlisted and not meter.startswith("risk.") else ""
        return self.meters.get(meter, own)

    def named(self, subject: str, source: str) -> str:
        site = source.rpartition(":")[2]
        return self.subjects.get(subject) or self.subject.format(subject=subject, site=site)


def event_of(position: int, body: bytes, names: Names) -> Event | None:
    """The event under its names there, None where it is not to be sent. Raises msgspec.DecodeError, and ValueError where its
    time is none: whoever holds an event can ask for `time_ms`."""
    head: EventHead = decode_head(body)
    instant_ms(head.time)
    meter = names.meter(head.type)
    if not meter:
        return None
    return Event(
        position=position,
        id=head.id,
        source=head.source,
        type=meter,
        subject=names.named(head.subject, head.source),
        time=head.time,
        data=head.data,
        body=body,
    )


def form(event: Event) -> bytes:
    """The CloudEvent as it is stored, under its names there."""
    stored = msgspec.json.decode(event.body)
    named = {**stored, "type": event.type} | ({"subject": event.subject} if event.subject else {})
    return event.body if named == stored else msgspec.json.encode(named)


# --- HTTP answers

Rule = Callable[[Answer, int], Outcome]
"""What an answer at a time (`now_ms`) means."""


def _failed(code: str, *, slow: bool) -> Rule:
    return lambda answer, _: Failed(code=code, detail=said(answer), slow=slow)


def _asked(code: str) -> Rule:
    def rule(answer: Answer, now_ms: int) -> Outcome:
        wait_ms = backoff.retry_after_ms(answer.retry_after, answer.date, now_ms)
        return Failed(code=code, detail=said(answer), retry_after_ms=wait_ms)

    return rule


def _accepted(answer: Answer, _: int) -> Outcome:
    if is_page(answer):
        return Failed(code="captive_portal", detail=said(answer), slow=True)
    return Taken()


def refused(answer: Answer, _: int = 0) -> Outcome:
    return Refused(code=f"refused_{answer.status}", message=said(answer))


_BY_STATUS: dict[int, Rule] = {
    400: refused,
    401: _failed("unauthorized", slow=True),
    403: _failed("forbidden", slow=True),
    404: _failed("not_found", slow=True),
    407: _failed("proxy_auth", slow=True),
    408: _failed("timeout", slow=False),
    413: lambda answer, _: TooLarge(message=said(answer)),
    415: refused,
    422: refused,
    425: _failed("unavailable", slow=False),
    429: _asked("throttled"),
    503: _asked("unavailable"),
    511: _failed("captive_portal", slow=True),
}
_BY_CLASS: dict[int, Rule] = {
    2: _accepted,
    3: _failed("redirected", slow=True),
    5: _failed("server_error", slow=False),
}
_SLOW_FAILURES = frozenset({"dns", "tls", "transport", "proxy_auth", "proxy_refused"})


def judge(outcome: Answer | Failure, now_ms: int, special: Mapping[int, Rule] | None = None) -> Outcome:
    """What an answer means by HTTP's own rules; `special`: the rules of one platform, by status."""
    if isinstance(outcome, Failure):
        return Failed(code=outcome.code, detail=outcome.detail, slow=outcome.code in _SLOW_FAILURES)
    rule = (special or {}).get(outcome.status) or _BY_STATUS.get(outcome.status)
    rule = rule or _BY_CLASS.get(outcome.status // 100) or _failed("answer_unusable", slow=True)
    return rule(outcome, now_ms)


SAID_MAX_CHARS = 300


class _Document(Struct, frozen=True):
    """What error documents have in common: RFC 9457's members, and the two that older APIs use."""

    title: str = ""
    detail: str = ""
    message: str = ""


def said(answer: Answer) -> str:
    """What the far end said, for a technician."""
    try:
        document = msgspec.json.decode(answer.body, type=_Document, strict=False)
        words = document.detail or document.message or document.title
    except (msgspec.DecodeError, RecursionError):
        words = "" if is_page(answer) else answer.body[:SAID_MAX_CHARS].decode("utf-8", "replace").strip()
    words = words or answer.location
    return (f"HTTP {answer.status}" + (f": {words}" if words else ""))[:SAID_MAX_CHARS]
