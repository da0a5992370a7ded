"""The answer table of the contract, row by row."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uplink.backoff import Backoff
from uplink.batch import Head
from uplink.problems import CATALOGUE
from uplink.session import (
    RENEWAL_MIN_MS,
    Acknowledge,
    Action,
    Answer,
    BeginEpoch,
    Cut,
    Failure,
    Moment,
    Rewind,
    Wait,
    Withhold,
    decide,
)

NOW_MS = 1_795_000_000_000
INTERVAL_MS = 900_000
ZERO, OTHER = bytes(32), bytes([1]) * 32


def head(first: int = 1001, count: int = 500, withheld: str = "") -> Head:
    last = first if withheld else first + count - 1
    return Head(
        epoch="e-1",
        first=first,
        last=last,
        count=0 if withheld else count,
        prev=ZERO,
        chain=OTHER if count or withheld else ZERO,
        head_time_s=1,
        withheld=withheld,
    )


SENT = head()
ONE = head(count=1)
HEARTBEAT = head(count=0)
WITHHELD = head(withheld="too_large")


FRESH = Backoff()


def moment(random: float = 0.5, backoff: Backoff = FRESH) -> Moment:
    return Moment(now_ms=NOW_MS, random=random, interval_ms=INTERVAL_MS, backoff=backoff)


def answer(status: int, document: object = None, **headers: str) -> Answer:
    body = document if isinstance(document, bytes) else json.dumps(document).encode() if document is not None else b""
    return Answer(status=status, body=body, **headers)


def acknowledged(through: int, **more: object) -> Answer:
    return answer(200, {"acked_through": through, "epoch": "e-1", **more}, content_type="application/json")


def waited(action: Action) -> tuple[str, int]:
    assert isinstance(action, Wait)
    return action.backoff.problem, action.backoff.retry_at_ms - NOW_MS


# --- 200


def test_200_acknowledges_what_was_sent() -> None:
    assert decide(SENT, acknowledged(1500), moment()) == Acknowledge(through=1500)


def test_200_duplicate_is_a_success() -> None:
    assert decide(SENT, acknowledged(1500, duplicate=True), moment()) == Acknowledge(through=1500, duplicate=True)


def test_200_with_less_than_the_last_goes_on_from_there() -> None:
    assert decide(SENT, acknowledged(1200), moment()) == Acknowledge(through=1200)


def test_200_with_less_than_was_acknowledged_before_goes_back() -> None:
    assert decide(SENT, acknowledged(700), moment()) == Rewind(expected=701)


def test_200_lists_what_was_refused_and_what_was_known() -> None:
    results = [
        {"seq": 1207, "status": "rejected", "code": "unknown_type", "message": "no meter", "retry": False},
        {"seq": 1208, "status": "known"},
        {"seq": 1209, "status": "of a later version"},
    ]
    action = decide(SENT, acknowledged(1500, results=results), moment())
    assert isinstance(action, Acknowledge)
    assert [(each.seq, each.code, each.message) for each in action.refused] == [(1207, "unknown_type", "no meter")]
    assert action.known == 1


def test_200_may_ask_for_smaller_batches() -> None:
    action = decide(SENT, acknowledged(1500, hints={"max_batch": 100, "next_upload_s": 60}), moment())
    assert action == Acknowledge(through=1500, max_events=100)


def test_200_to_a_heartbeat_acknowledges_nothing_new() -> None:
    assert decide(HEARTBEAT, acknowledged(1000), moment()) == Acknowledge(through=1000)


def test_200_to_a_withheld_event_puts_it_in_quarantine() -> None:
    action = decide(WITHHELD, acknowledged(1001), moment())
    assert isinstance(action, Acknowledge)
    assert [(each.seq, each.code) for each in action.refused] == [(1001, "too_large")]


NOT_ACKNOWLEDGED = {
    "html of a captive portal": (
        answer(200, b"<html>Welcome! Sign in</html>", content_type="text/html"),
        "captive_portal",
    ),
    "html without its type": (answer(200, b"\n <!DOCTYPE html><title>Wi-Fi</title>"), "captive_portal"),
    "json called html": (
        answer(200, {"acked_through": 1500, "epoch": "e-1"}, content_type="text/HTML"),
        "captive_portal",
    ),
    "nothing": (answer(200), "answer_unusable"),
    "a cut answer": (answer(200, b'{"acked_through": 1500, "epo'), "answer_unusable"),
    "another JSON": (answer(200, {"ok": True}), "answer_unusable"),
    "a number as text": (answer(200, {"acked_through": "1500", "epoch": "e-1"}), "answer_unusable"),
    "a fraction": (answer(200, {"acked_through": 1500.5, "epoch": "e-1"}), "answer_unusable"),
    "deep nesting": (answer(200, b'{"x":' + b"[" * 100_000), "answer_unusable"),
    "bytes": (answer(200, b"\x00\xff\x1f\x8b"), "answer_unusable"),
    "more than was sent": (acknowledged(1501), "answer_unusable"),
    "a negative number": (acknowledged(-1), "answer_unusable"),
    "another epoch": (answer(200, {"acked_through": 1500, "epoch": "e-2"}), "answer_unusable"),
    "a result beyond what is acknowledged": (
        acknowledged(1200, results=[{"seq": 1300, "status": "rejected"}]),
        "answer_unusable",
    ),
    "a result before what was sent": (
        acknowledged(1500, results=[{"seq": 1, "status": "rejected"}]),
        "answer_unusable",
    ),
    "nothing new": (acknowledged(1000), "no_progress"),
}


@pytest.mark.parametrize("case", NOT_ACKNOWLEDGED)
def test_200_that_is_not_the_contracts_acknowledges_nothing(case: str) -> None:
    given_answer, problem = NOT_ACKNOWLEDGED[case]
    assert waited(decide(SENT, given_answer, moment()))[0] == problem


# --- 409


def test_409_gap_goes_back_to_what_is_expected() -> None:
    assert decide(SENT, answer(409, {"code": "gap", "expected": 501}), moment()) == Rewind(expected=501)
    assert decide(HEARTBEAT, answer(409, {"code": "gap", "expected": 1}), moment()) == Rewind(expected=1)


@pytest.mark.parametrize("expected", [0, -5, 1001, 1200, 99_999])
def test_409_gap_that_cannot_be_is_not_followed(expected: int) -> None:
    document = {"code": "gap", "expected": expected}
    assert waited(decide(SENT, answer(409, document), moment()))[0] == "answer_unusable"


def test_409_conflict_begins_a_new_epoch() -> None:
    action = decide(SENT, answer(409, {"code": "conflict", "detail": "others"}), moment(backoff=Backoff(failures=5)))
    assert action == BeginEpoch(backoff=Backoff(renewed_at_ms=NOW_MS), detail="HTTP 409: others")


def test_409_conflict_soon_after_a_new_epoch_does_not_begin_another() -> None:
    renewed = Backoff(renewed_at_ms=NOW_MS - RENEWAL_MIN_MS + 1)
    action = decide(SENT, answer(409, {"code": "conflict"}), moment(backoff=renewed))
    assert waited(action)[0] == "conflict"
    assert isinstance(action, Wait)
    assert action.backoff.renewed_at_ms == renewed.renewed_at_ms


def test_409_conflict_later_does() -> None:
    renewed = Backoff(renewed_at_ms=NOW_MS - RENEWAL_MIN_MS)
    assert isinstance(decide(SENT, answer(409, {"code": "conflict"}), moment(backoff=renewed)), BeginEpoch)


@pytest.mark.parametrize("body", [None, b"<html>", {"code": "other"}, b"{"])
def test_409_of_another_kind_is_not_acknowledged(body: object) -> None:
    assert waited(decide(SENT, answer(409, body), moment()))[0] == "answer_unusable"


# --- size and content


@pytest.mark.parametrize("given_answer", [answer(413), answer(403, {"code": "too_large"})], ids=["413", "403"])
def test_too_large_halves_the_batch_and_withholds_a_single_event(given_answer: Answer) -> None:
    assert decide(SENT, given_answer, moment()) == Cut(events=250, lasting=True)
    alone = decide(ONE, given_answer, moment())
    assert isinstance(alone, Withhold)
    assert alone.code == "too_large"


@pytest.mark.parametrize("status", [400, 415, 422])
def test_a_refused_batch_is_bisected_and_a_single_event_withheld(status: int) -> None:
    assert decide(SENT, answer(status), moment()) == Cut(events=250, lasting=False)
    alone = decide(ONE, answer(status, {"code": "bad_body", "detail": "no JSON"}), moment())
    assert alone == Withhold(code="bad_body", message=f"HTTP {status}: no JSON")
    assert decide(ONE, answer(status, b"<html>"), moment()) == Withhold(
        code=f"refused_{status}", message=f"HTTP {status}"
    )


@pytest.mark.parametrize("status", [400, 413, 415, 422])
@pytest.mark.parametrize("sent", [HEARTBEAT, WITHHELD], ids=["heartbeat", "withheld"])
def test_who_refuses_even_an_empty_batch_moves_nothing(status: int, sent: Head) -> None:
    assert waited(decide(sent, answer(status), moment())) == ("batch_refused", 675_000)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("digest_mismatch", "damaged_in_transit"),
        ("chain_mismatch", "damaged_in_transit"),
        ("cut_body", "damaged_in_transit"),
        ("bad_head", "batch_refused"),
        ("bad_http", "batch_refused"),
        ("unsupported_encoding", "batch_refused"),
    ],
)
def test_a_refusal_that_no_event_can_have_caused_bisects_nothing(code: str, problem: str) -> None:
    assert waited(decide(ONE, answer(400, {"code": code}), moment()))[0] == problem


# --- keep and wait


SLOW: dict[str, tuple[Answer | Failure, str]] = {
    "401": (answer(401), "unauthorized"),
    "403": (answer(403), "forbidden"),
    "403 of a firewall": (answer(403, b"<html>blocked"), "forbidden"),
    "404": (answer(404), "not_found"),
    "407": (answer(407), "proxy_auth"),
    "511": (answer(511), "captive_portal"),
    "301": (answer(301, location="https://elsewhere"), "redirected"),
    "302": (answer(302), "redirected"),
    "307": (answer(307), "redirected"),
    "308": (answer(308), "redirected"),
    "304": (answer(304), "redirected"),
    "201": (answer(201, {"acked_through": 1500, "epoch": "e-1"}), "answer_unusable"),
    "202": (answer(202, {"acked_through": 1500, "epoch": "e-1"}), "answer_unusable"),
    "204": (answer(204), "answer_unusable"),
    "206": (answer(206, {"acked_through": 1500, "epoch": "e-1"}), "answer_unusable"),
    "402": (answer(402), "answer_unusable"),
    "405": (answer(405), "answer_unusable"),
    "410": (answer(410), "answer_unusable"),
    "418": (answer(418), "answer_unusable"),
    "431": (answer(431), "answer_unusable"),
    "451": (answer(451), "answer_unusable"),
    "999": (answer(999), "answer_unusable"),
    "0": (answer(0), "answer_unusable"),
    "no name": (Failure(code="dns"), "dns"),
    "bad certificate": (Failure(code="tls"), "tls"),
    "no HTTP": (Failure(code="transport"), "transport"),
}


@pytest.mark.parametrize("case", SLOW)
def test_what_a_person_must_mend_is_kept_and_tried_slowly(case: str) -> None:
    outcome, problem = SLOW[case]
    assert waited(decide(SENT, outcome, moment(random=0.5))) == (problem, 675_000)


FAST: dict[str, tuple[Answer | Failure, str]] = {
    "500": (answer(500), "server_error"),
    "502": (answer(502, b"<html>Bad gateway"), "server_error"),
    "504": (answer(504), "server_error"),
    "507": (answer(507), "server_error"),
    "408": (answer(408), "timeout"),
    "425": (answer(425), "unavailable"),
    "429 without a time": (answer(429), "throttled"),
    "429 with nonsense": (answer(429, retry_after="later"), "throttled"),
    "503 without a time": (answer(503), "unavailable"),
    "time-out": (Failure(code="timeout"), "timeout"),
    "cut body": (Failure(code="reset"), "reset"),
    "refused": (Failure(code="refused"), "refused"),
    "no route": (Failure(code="unreachable"), "unreachable"),
}


@pytest.mark.parametrize("case", FAST)
def test_what_mends_itself_is_sent_again_with_full_jitter(case: str) -> None:
    outcome, problem = FAST[case]
    assert waited(decide(SENT, outcome, moment(random=0.75, backoff=Backoff(failures=2)))) == (problem, 6_000)
    assert waited(decide(SENT, outcome, moment(random=0.75, backoff=Backoff(failures=99)))) == (problem, 675_000)


@pytest.mark.parametrize(("status", "problem"), [(429, "throttled"), (503, "unavailable")])
def test_retry_after_is_obeyed_in_seconds_and_as_a_date(status: int, problem: str) -> None:
    at = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
    date, until = format_datetime(at, usegmt=True), format_datetime(at + timedelta(hours=1), usegmt=True)
    assert waited(decide(SENT, answer(status, retry_after="120"), moment(random=0.0))) == (problem, 120_000)
    dated = answer(status, retry_after=until, date=date)
    assert waited(decide(SENT, dated, moment(random=0.0))) == (problem, 3_600_000)


def test_a_wait_keeps_the_cut_and_since_when_it_goes_on() -> None:
    first = decide(SENT, answer(500), moment())
    assert isinstance(first, Wait)
    assert first.backoff.last == 1500
    later = Moment(now_ms=NOW_MS + 60_000, random=0.5, interval_ms=INTERVAL_MS, backoff=first.backoff)
    second = decide(SENT, answer(500), later)
    assert isinstance(second, Wait)
    assert (second.backoff.since_ms, second.backoff.failures) == (NOW_MS, 2)
    other = decide(SENT, answer(401), later)
    assert isinstance(other, Wait)
    assert other.backoff.since_ms == NOW_MS + 60_000


_bodies = st.binary(max_size=60) | st.dictionaries(
    st.sampled_from(["acked_through", "epoch", "results", "code", "expected", "detail", "hints"]),
    st.integers(-5, 2000)
    | st.sampled_from(["e-1", "gap", "conflict", "too_large"])
    | st.none()
    | st.lists(st.integers()),
).map(lambda document: json.dumps(document).encode())


@given(st.integers(0, 1100), _bodies, st.sampled_from([SENT, ONE, HEARTBEAT, WITHHELD]), st.floats(0, 0.999))
def test_any_answer_has_an_action_and_only_a_true_200_acknowledges(
    status: int, body: bytes, sent: Head, random: float
) -> None:
    action = decide(sent, Answer(status=status, body=body, retry_after="x"), moment(random))
    if isinstance(action, Acknowledge):
        document = json.loads(body)
        assert (status, document["epoch"], document["acked_through"]) == (200, "e-1", action.through)
        assert sent.first - 1 <= action.through <= sent.last or action.through == sent.last
    if isinstance(action, Wait):
        assert action.backoff.problem in CATALOGUE
        assert 1000 <= action.backoff.retry_at_ms - NOW_MS <= INTERVAL_MS
