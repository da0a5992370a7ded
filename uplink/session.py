"""What to do after an answer. Pure: what was sent, what came back, the time and a random number -> one action.

Laws
- Only a whole, well-formed answer 200 that speaks of this epoch and of numbers that were sent acknowledges anything.
- Nothing is ever dropped for an answer's sake. A single event that the platform cannot take is withheld: its place in the
  chain is stated, and only the acknowledgement of that statement puts it in quarantine. A far end that refuses
  everything therefore refuses this too, and nothing moves.
- Every status has an action; what the contract does not name is "not acknowledged".
"""

from collections.abc import Callable

import msgspec
from msgspec import Struct

from uplink import backoff
from uplink.backoff import Backoff
from uplink.batch import EVENTS_MAX, Head
from uplink.outbox import Refusal

ANSWER_MAX_BYTES = 512 * 1024
"""1,000 exceptions of 500 bytes."""
RENEWAL_MIN_MS = 3_600_000
"""Between two epochs begun because of conflicts: a far end that calls everything a conflict must not make one a minute."""
DETAIL_MAX_CHARS = 300


class Answer(Struct, frozen=True, kw_only=True):
    """An HTTP answer, whole. `retry_after`, `date`, `location`, `content_type` are its headers as they came, or empty;
    `headers` are all of them, by their names in lower case."""

    status: int
    body: bytes = b""
    content_type: str = ""
    retry_after: str = ""
    date: str = ""
    location: str = ""
    headers: dict[str, str] = {}


class Failure(Struct, frozen=True, kw_only=True):
    """No whole answer came. `code` is one of the problems of the transport."""

    code: str
    detail: str = ""


class Moment(Struct, frozen=True, kw_only=True):
    """Everything around an answer that the decision depends on. `random` is in [0, 1)."""

    now_ms: int
    random: float
    interval_ms: int
    backoff: Backoff = Backoff()


class Acknowledge(Struct, frozen=True, kw_only=True):
    """The platform holds everything up to `through`; of these it did not count `refused`, and counted `known` before.
    `max_events` is the batch size it asks for, or 0; `replay_from` the number from which it wants to have all again, or 0."""

    through: int
    refused: list[Refusal] = []
    known: int = 0
    duplicate: bool = False
    max_events: int = 0
    replay_from: int = 0


class Rewind(Struct, frozen=True, kw_only=True):
    """The platform lacks what comes before: go on from number `expected`."""

    expected: int


class BeginEpoch(Struct, frozen=True, kw_only=True):
    """The platform holds other content under these numbers: this ledger must number anew."""

    backoff: Backoff
    detail: str


class Cut(Struct, frozen=True, kw_only=True):
    """Send `events` at most. `lasting`: it was the size, so the next ones as well; else only what is in doubt."""

    events: int
    lasting: bool


class Withhold(Struct, frozen=True, kw_only=True):
    """State that this one event stays at the site."""

    code: str
    message: str


class Wait(Struct, frozen=True, kw_only=True):
    """Keep everything and try again at `backoff.retry_at_ms`; `backoff.problem` says why."""

    backoff: Backoff


Action = Acknowledge | Rewind | BeginEpoch | Cut | Withhold | Wait


class _Result(Struct, frozen=True):
    seq: int
    status: str
    code: str = ""
    message: str = ""


class _Hints(Struct, frozen=True):
    max_batch: int = 0
    replay_from: int = 0


class _Acknowledgement(Struct, frozen=True):
    acked_through: int
    epoch: str
    results: list[_Result] = []
    duplicate: bool = False
    hints: _Hints = _Hints()


class _Refused(Struct, frozen=True):
    """A problem document (RFC 9457) with the contract's members `code` and `expected`."""

    code: str = ""
    detail: str = ""
    expected: int = 0


_acknowledgement = msgspec.json.Decoder(_Acknowledgement).decode
_refused = msgspec.json.Decoder(_Refused).decode


def _wait(head: Head, moment: Moment, problem: str, detail: str, delay_ms: int) -> Wait:
    before = moment.backoff
    return Wait(
        backoff=Backoff(
            failures=before.failures + 1,
            retry_at_ms=moment.now_ms + delay_ms,
            last=head.last,
            problem=problem,
            detail=detail[:DETAIL_MAX_CHARS],
            since_ms=before.since_ms if before.problem == problem else moment.now_ms,
            renewed_at_ms=before.renewed_at_ms,
        )
    )


def wait_fast(head: Head, moment: Moment, problem: str, detail: str = "") -> Wait:
    """For what mends itself: full jitter, doubling, up to the upload interval."""
    return _wait(
        head, moment, problem, detail, backoff.fast_ms(moment.backoff.failures, moment.interval_ms, moment.random)
    )


def wait_slow(head: Head, moment: Moment, problem: str, detail: str = "") -> Wait:
    """For what a person has to mend."""
    return _wait(
        head, moment, problem, detail, backoff.slow_ms(moment.backoff.failures, moment.interval_ms, moment.random)
    )


Rule = Callable[[Head, Answer, Moment], Action]


def _slow(problem: str) -> Rule:
    return lambda head, answer, moment: wait_slow(head, moment, problem, _said(answer))


def _fast(problem: str) -> Rule:
    return lambda head, answer, moment: wait_fast(head, moment, problem, _said(answer))


def _asked(problem: str) -> Rule:
    def rule(head: Head, answer: Answer, moment: Moment) -> Action:
        asked = backoff.retry_after_ms(answer.retry_after, answer.date, moment.now_ms)
        if asked is None:
            return wait_fast(head, moment, problem, _said(answer))
        return _wait(head, moment, problem, _said(answer), backoff.asked_ms(asked, moment.random))

    return rule


def _said(answer: Answer) -> str:
    """What the far end said, for a technician."""
    words = _document(answer).detail or answer.location
    return f"HTTP {answer.status}" + (f": {words}" if words else "")


def refusal_of(answer: Answer) -> tuple[str, str]:
    """What a refusal says: its code and detail, or empty where it is no problem document."""
    document = _document(answer)
    return document.code, document.detail


def _document(answer: Answer) -> _Refused:
    try:
        return _refused(answer.body)
    except (msgspec.DecodeError, RecursionError):
        return _Refused()


def is_page(answer: Answer) -> bool:
    """A portal, or something else on the way, answered a browser."""
    return "html" in answer.content_type.lower() or answer.body.lstrip()[:1] == b"<"


def _accepted(head: Head, answer: Answer, moment: Moment) -> Action:
    if is_page(answer):
        return wait_slow(head, moment, "captive_portal", _said(answer))
    try:
        given = _acknowledgement(answer.body)
    except (msgspec.DecodeError, RecursionError) as error:
        return wait_fast(head, moment, "answer_unusable", f"HTTP 200: {error}")
    if fault := _fault(head, given):
        return wait_slow(head, moment, "answer_unusable", f"HTTP 200: {fault}")
    if given.acked_through < head.first - 1:
        return Rewind(expected=given.acked_through + 1)
    if given.acked_through < head.first <= head.last:
        return wait_fast(head, moment, "no_progress", f"HTTP 200: acknowledged through {given.acked_through}")
    return _acknowledge(head, given)


def _fault(head: Head, given: _Acknowledgement) -> str:
    """What makes an acknowledgement worthless, or nothing."""
    rules = (
        (given.epoch == head.epoch, f"epoch {given.epoch!r} is not the one that was sent"),
        (0 <= given.acked_through <= head.last, f"acked_through {given.acked_through} was not sent"),
        (
            all(head.first <= each.seq <= given.acked_through for each in given.results),
            "a result for what was not sent",
        ),
    )
    return next((fault for holds, fault in rules if not holds), "")


def _acknowledge(head: Head, given: _Acknowledgement) -> Acknowledge:
    refused = {each.seq: each for each in given.results if each.status == "rejected"}
    if head.withheld:
        refused.setdefault(head.first, _Result(head.first, "rejected", head.withheld))
    return Acknowledge(
        through=given.acked_through,
        refused=[Refusal(seq=each.seq, code=each.code, message=each.message) for each in refused.values()],
        known=sum(each.status == "known" for each in given.results),
        duplicate=given.duplicate,
        max_events=max(0, min(given.hints.max_batch, EVENTS_MAX)),
        replay_from=given.hints.replay_from if 1 <= given.hints.replay_from <= given.acked_through else 0,
    )


def _contradicted(head: Head, answer: Answer, moment: Moment) -> Action:
    """409: the numbers do not fit the platform's."""
    document = _document(answer)
    if document.code == "gap" and 1 <= document.expected < head.first:
        return Rewind(expected=document.expected)
    if document.code == "replayed":
        return wait_fast(head, moment, "replayed", _said(answer))
    if document.code == "conflict":
        return _renew(head, answer, moment)
    return wait_slow(head, moment, "answer_unusable", _said(answer))


def _renew(head: Head, answer: Answer, moment: Moment) -> Action:
    since_last_ms = moment.now_ms - moment.backoff.renewed_at_ms
    if moment.backoff.renewed_at_ms and 0 <= since_last_ms < RENEWAL_MIN_MS:
        return wait_slow(head, moment, "conflict", _said(answer))
    return BeginEpoch(backoff=Backoff(renewed_at_ms=moment.now_ms), detail=_said(answer))


def _too_large(head: Head, answer: Answer, moment: Moment) -> Action:
    return _smaller(head, answer, moment, "too_large", lasting=True)


def _smaller(head: Head, answer: Answer, moment: Moment, code: str, *, lasting: bool) -> Action:
    if head.count > 1:
        return Cut(events=head.count // 2, lasting=lasting)
    if head.count == 1:
        return Withhold(code=code, message=_said(answer)[:DETAIL_MAX_CHARS])
    return wait_slow(head, moment, "batch_refused", _said(answer))


_WHOLE: dict[str, Rule] = {
    "digest_mismatch": _fast("damaged_in_transit"),
    "chain_mismatch": _fast("damaged_in_transit"),
    "cut_body": _fast("damaged_in_transit"),
    "bad_http": _slow("batch_refused"),
    "bad_head": _slow("batch_refused"),
    "unsupported_type": _slow("batch_refused"),
    "unsupported_encoding": _slow("batch_refused"),
}
"""Refusals that no single event can be the cause of."""


def _unprocessable(head: Head, answer: Answer, moment: Moment) -> Action:
    """400, 415, 422: find the event that is the cause."""
    code = _document(answer).code
    if rule := _WHOLE.get(code):
        return rule(head, answer, moment)
    return _smaller(head, answer, moment, code or f"refused_{answer.status}", lasting=False)


_FORBIDDEN: dict[str, Rule] = {"too_large": _too_large, "revoked": _slow("revoked"), "retired": _slow("revoked")}
"""403 is m3ter's word for a body that is too large, too."""


def _forbidden(head: Head, answer: Answer, moment: Moment) -> Action:
    return _FORBIDDEN.get(_document(answer).code, _slow("forbidden"))(head, answer, moment)


_BY_STATUS: dict[int, Rule] = {
    200: _accepted,
    400: _unprocessable,
    401: _slow("unauthorized"),
    403: _forbidden,
    404: _slow("not_found"),
    407: _slow("proxy_auth"),
    408: _fast("timeout"),
    409: _contradicted,
    413: _too_large,
    415: _unprocessable,
    422: _unprocessable,
    425: _fast("unavailable"),
    429: _asked("throttled"),
    503: _asked("unavailable"),
    511: _slow("captive_portal"),
}
_BY_CLASS: dict[int, Rule] = {3: _slow("redirected"), 5: _fast("server_error")}
_OTHERWISE: Rule = _slow("answer_unusable")

_SLOW_FAILURES = frozenset({"dns", "tls", "transport", "proxy_auth", "proxy_refused"})
"""Failures that a person mends; the others (refused, reset, timeout, unreachable) mostly mend themselves."""


def decide(head: Head, outcome: Answer | Failure, moment: Moment) -> Action:
    """What to do now that `outcome` came back for the batch of `head`."""
    if isinstance(outcome, Failure):
        wait = wait_slow if outcome.code in _SLOW_FAILURES else wait_fast
        return wait(head, moment, outcome.code, outcome.detail)
    rule = _BY_STATUS.get(outcome.status) or _BY_CLASS.get(outcome.status // 100, _OTHERWISE)
    return rule(head, outcome, moment)
