"""CGRateS: one CDR a request, by JSON-RPC over HTTP (`CDRsV1.ProcessExternalCDR` at `/jsonrpc`).

Laws
- The id goes as `OriginID`, the site's URN as `OriginHost`: CGRateS knows a CDR by these two, and its EXISTS is success.
- It claims a CDR in its cache before it stores it. So EXISTS after PARTIALLY_EXECUTED is no success: nobody but CGRateS can say
  whether it holds the CDR, and the event goes to quarantine (`partially_executed`), in sight.
- What is billed by time goes as `*voice`, GB as octets of `*data`, messages as `*sms`, all else as units of `*generic`. CGRateS
  counts in whole units, and its rating knows no negative usage: a correction downwards, or part of a unit, goes to quarantine.

Sources: cgrates/cgrates, engine/cdrs.go (processEvents), engine/cdr.go (ExternalCDR), utils/coreutils.go (durations).
"""

from base64 import b64encode
from collections.abc import Callable, Sequence
from decimal import Decimal

import msgspec
from msgspec import Struct

from uplink.destinations.settings import HttpTakerSettings
from uplink.line import HttpLine
from uplink.session import Answer
from uplink.taker import SAID_MAX_CHARS, Event, Failed, Limits, Outcome, Refused, Taken, judge, quantity_of
from uplink.uploader import wall_clock_ms

PATH = "/jsonrpc"
METHOD = "CDRsV1.ProcessExternalCDR"


class CgratesSettings(HttpTakerSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` without the path. `user`, with its password as `token` or `token_file`, where its HTTP server asks for one.
    `tenant` and `request_type` (`*postpaid`, `*rated` ...) are CGRateS's own defaults where they are empty."""

    user: str = ""
    tenant: str = ""
    request_type: str = ""

    def check_secret(self) -> None:
        if self.user:
            super().check_secret()
        elif self.token or self.token_file:
            raise ValueError("user must be given: token is its password")
        if ":" in self.user or not self.user.isascii() or not (self.user + "x").isprintable():
            raise ValueError("user must be printable ASCII without a colon")


class _Cdr(Struct, frozen=True, rename="pascal"):
    """An ExternalCDR, as far as we fill it."""

    origin_id: str = msgspec.field(name="OriginID")
    origin_host: str
    to_r: str = msgspec.field(name="ToR")
    account: str
    subject: str
    category: str
    destination: str
    setup_time: str
    answer_time: str
    usage: str
    extra_fields: dict[str, str]
    source: str = "pegcount"
    tenant: str = ""
    request_type: str = ""


class _Call(Struct, frozen=True):
    params: list[_Cdr]
    method: str = METHOD
    id: int = 1


class _Reply(Struct, frozen=True):
    """JSON-RPC 1.0, as Go's net/rpc speaks it: one of the two is null."""

    result: str | None = None
    error: str | None = None


class _Kind(Struct, frozen=True):
    """What a unit of ours is there: a type of record, and how many of what that counts in whole numbers, in steps of `step`."""

    type_of_record: str
    factor: int = 1
    step: int = 1


_KINDS = {
    "min": _Kind("*voice", 60 * 10**9, 10**6),
    "GB": _Kind("*data", 10**9),
    "message": _Kind("*sms"),
}
"""By unit. Voice is counted in nanoseconds; a second is stored as 0.016667 minutes, and milliseconds undo that rounding."""
_OTHER = _Kind("*generic")
USAGE_MAX = 2**63 - 1
"""A duration of Go's."""


class Cgrates:
    """Raises CredentialsUnreadable where a file that the settings name cannot be used."""

    limits = Limits(max_events=1)

    def __init__(self, settings: CgratesSettings, site: str) -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/") + PATH
        self._headers = {"Content-Type": "application/json"}
        if settings.user:
            basic = b64encode(f"{settings.user}:{settings.secret()}".encode()).decode()
            self._headers["Authorization"] = f"Basic {basic}"
        self._line = HttpLine(settings)
        self._doubtful = ""
        """The id of the event that was last executed in part."""

    async def send(self, events: Sequence[Event]) -> Outcome:
        event = events[0]
        cdr = cdr_of(event, self._settings)
        if isinstance(cdr, Refused):
            return cdr
        answer = await self._line.post(self._url, msgspec.json.encode(_Call([cdr])), self._headers)
        outcome = judge(answer, wall_clock_ms())
        if not isinstance(outcome, Taken) or not isinstance(answer, Answer):
            return outcome
        reply = _reply(answer)
        if reply is None:
            return Failed(code="answer_unusable", detail="this is no JSON-RPC reply", slow=True)
        doubtful = event.id == self._doubtful
        if (reply.error or "").startswith(PARTIAL):
            self._doubtful = event.id
        return _meaning(reply, doubtful=doubtful)

    async def close(self) -> None:
        await self._line.close()


def cdr_of(event: Event, settings: CgratesSettings) -> _Cdr | Refused:
    """The CDR that an event is there, or why it can be none."""
    quantity = quantity_of(event)
    if quantity is None:
        return Refused(code="no_quantity", message="its quantity is no number")
    if quantity < 0:
        return Refused(code="negative_quantity", message="a correction downwards, which CGRateS cannot rate")
    kind = _KINDS.get(str(event.data.get("unit", "")), _OTHER)
    usage = _usage(quantity, kind)
    if usage is None:
        return Refused(code="not_whole", message=f"{quantity} is no whole number of what {kind.type_of_record} counts")
    return _Cdr(
        origin_id=event.id,
        origin_host=event.source,
        to_r=kind.type_of_record,
        account=event.subject,
        subject=event.subject,
        category=event.type,
        destination=_destination(event),
        setup_time=event.time,
        answer_time=event.time,
        usage=str(usage),
        extra_fields={name: str(value) for name, value in event.data.items()},
        tenant=settings.tenant,
        request_type=settings.request_type,
    )


def _usage(quantity: Decimal, kind: _Kind) -> int | None:
    """In whole numbers of what the kind counts; None where it is none that can be said."""
    if quantity > USAGE_MAX or quantity * kind.factor > USAGE_MAX:
        return None
    steps = quantity * kind.factor / kind.step
    whole = steps.to_integral_value()
    return int(whole) * kind.step if kind.step > 1 or whole == steps else None


def _destination(event: Event) -> str:
    """What was dialled where the event tells it, else its class and country: `international:FR`."""
    told = event.data
    places = [str(told[name]) for name in ("class", "country") if told.get(name)]
    return str(told.get("dialled", "")) or ":".join(places) or event.type


EXISTS = "EXISTS"
PARTIAL = "PARTIALLY_EXECUTED"
_BY_ERROR: tuple[tuple[str, Callable[[str], Outcome]], ...] = (
    (EXISTS, lambda _: Taken(known=1)),
    (PARTIAL, lambda error: Failed(code="server_error", detail=error)),
    ("SERVER_ERROR", lambda error: Failed(code="server_error", detail=error)),
    ("UNAUTHORIZED", lambda error: Failed(code="forbidden", detail=error, slow=True)),
    ("rpc: ", lambda error: Failed(code="destination_misconfigured", detail=error, slow=True)),
    ("", lambda error: Refused(code="refused", message=error)),
)
"""By how the error begins; any other is about the CDR."""


def _reply(answer: Answer) -> _Reply | None:
    try:
        return msgspec.json.decode(answer.body, type=_Reply)
    except (msgspec.DecodeError, RecursionError):
        return None


def _meaning(reply: _Reply, *, doubtful: bool) -> Outcome:
    """`doubtful`: this event was executed in part before."""
    if reply.result == "OK":
        return Taken()
    if not reply.error:
        return Failed(code="answer_unusable", detail=f"the result is {reply.result}", slow=True)
    if doubtful and reply.error.startswith((EXISTS, PARTIAL)):
        return Refused(code="partially_executed", message="it was executed in part: look there whether it is stored")
    rule = next(rule for begin, rule in _BY_ERROR if reply.error.startswith(begin))
    return rule(reply.error[:SAID_MAX_CHARS])
