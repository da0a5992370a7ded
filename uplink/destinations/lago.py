"""Lago: `POST /api/v1/events/batch`, up to 100 events.

Laws
- The id goes as `transaction_id`. With Lago's PostgreSQL pipeline it is unique for a subscription, and the second one is an
  error of the request, which here is success; with its ClickHouse pipeline the same id and timestamp overwrite each other. So
  a timestamp is a text made of the stored event alone, with its milliseconds, the same at every attempt.
- A request is all or nothing. A 422 names its events by their index: those that Lago has count as taken, those that it cannot
  take are refused, the rest goes again at once. Where nothing would be left, the whole request counts as refused, so that the
  forwarder's brake holds.
- Values of `properties` are texts: quantities are exact, and the published schema rejects integers (they match two of its
  branches). `precise_total_amount_cents` is not sent: rating is Lago's.

Sources: getlago/lago-openapi, openapi.yaml 1.51.0; getlago/lago-api, app/services/events/create_batch_service.rb.
"""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from uplink.destinations.settings import HttpTakerSettings
from uplink.line import HttpLine
from uplink.outbox import Refusal
from uplink.session import Answer, Failure
from uplink.taker import SAID_MAX_CHARS, Event, Limits, Outcome, Refused, Taken, TooLarge, judge, said
from uplink.uploader import wall_clock_ms

PATH = "/api/v1/events/batch"
LIMITS = Limits(max_events=100, max_bytes=1024 * 1024)
"""LAGO_EVENTS_BATCH_MAX_LENGTH is 100 unless an installation says otherwise."""
KNOWN = "value_already_exist"
TOO_MANY = "too_many_events"


class LagoSettings(HttpTakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` without the path."""


class _Wire(Struct, frozen=True):
    transaction_id: str
    external_subscription_id: str
    code: str
    timestamp: str
    properties: dict[str, str]


class _Batch(Struct, frozen=True):
    events: list[_Wire]


class _Errors(Struct, frozen=True):
    """The error document of a 422: by the index of an event, what is wrong with which field."""

    error_details: dict[str, dict[str, list[str]]] = {}


class _TooMany(Struct, frozen=True):
    """The error document of a 422 that is about the request."""

    error_details: dict[str, list[str]] = {}


class Lago:
    """Raises CredentialsUnreadable where a file that the settings name cannot be used."""

    limits = LIMITS

    def __init__(self, settings: LagoSettings, site: str) -> None:
        self._url = settings.url.rstrip("/") + PATH
        self._headers = {"Authorization": f"Bearer {settings.secret()}", "Content-Type": "application/json"}
        self._line = HttpLine(settings)

    async def send(self, events: Sequence[Event]) -> Outcome:
        left, refused, known = list(events), list[Refusal](), 0
        while left:
            answer = await self._line.post(self._url, body_of(left), self._headers)
            wrong = faults(answer, len(left))
            if not wrong:
                outcome = _judged(answer)
                if not isinstance(outcome, Taken):
                    return outcome
                break
            fresh = {index: fault for index, fault in wrong.items() if not _is_known(fault)}
            known += len(wrong) - len(fresh)
            refused += (_refusal(left[index], fault) for index, fault in fresh.items())
            left = [event for index, event in enumerate(left) if index not in wrong]
        if len(refused) == len(events):
            return Refused(code=refused[0].code, message=refused[0].message)
        return Taken(refused=tuple(refused), known=known)

    async def close(self) -> None:
        await self._line.close()


def body_of(events: Sequence[Event]) -> bytes:
    return msgspec.json.encode(_Batch([_wire(event) for event in events]))


def _wire(event: Event) -> _Wire:
    seconds, ms = divmod(event.time_ms, 1000)
    properties = {name: str(value) for name, value in event.data.items()}
    return _Wire(event.id, event.subject, event.type, f"{seconds}.{ms:03d}", properties)


def faults(answer: Answer | Failure, sent: int) -> dict[int, dict[str, list[str]]]:
    """What is wrong with which of the `sent` events; empty where the answer does not say that of any."""
    if not isinstance(answer, Answer) or answer.status != 422:
        return {}
    try:
        details = msgspec.json.decode(answer.body, type=_Errors).error_details
        found = {int(index): fault for index, fault in details.items()}
    except (ValueError, RecursionError):
        return {}
    return found if all(0 <= index < sent for index in found) else {}


def _is_known(fault: dict[str, list[str]]) -> bool:
    return KNOWN in fault.get("transaction_id", [])


def _refusal(event: Event, fault: dict[str, list[str]]) -> Refusal:
    words = "; ".join(f"{field}: {', '.join(what)}" for field, what in fault.items())
    return Refusal(seq=event.position, code="refused_422", message=words[:SAID_MAX_CHARS])


def _judged(answer: Answer | Failure) -> Outcome:
    if isinstance(answer, Answer) and answer.status == 422 and _is_too_many(answer):
        return TooLarge(message=said(answer))
    return judge(answer, wall_clock_ms())


def _is_too_many(answer: Answer) -> bool:
    try:
        details = msgspec.json.decode(answer.body, type=_TooMany).error_details
    except (msgspec.DecodeError, RecursionError):
        return False
    return TOO_MANY in details.get("events", [])
