"""What holds for each kind of destination that is reached by HTTP, by rows of the table of faults (`tests/faults.py`).

The question at the end is always the same: is every event there exactly once, or in quarantine?
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.uplink.destinations import test_cgrates, test_lago, test_openmeter, test_sftp, test_stripe, test_webhook
from tests.uplink.destinations.stand_in import Accept, StandIn, forwarding
from tests.uplink.feed import MemoryFeed
from tests.uplink.platform import Clock
from uplink.destinations import TAKERS
from uplink.line import CredentialsUnreadable
from uplink.problems import CATALOGUE

MINUTES = {"quantity": "0.1", "unit": "min"}
NAMES = {"subject": "cus_{subject}"}
HOUR_MS = 3_600_000

KINDS: dict[str, tuple[str, Accept, dict[str, Any]]] = {
    "openmeter": ("openmeter", test_openmeter.accept, {}),
    "openmeter v3": ("openmeter", test_openmeter.accept, {"api": "v3"}),
    "lago": ("lago", test_lago.accept, {}),
    "stripe": ("stripe", test_stripe.accept, {}),
    "stripe's stream": ("stripe", test_stripe.accept_stream, test_stripe.STREAM),
    "cgrates": ("cgrates", test_cgrates.accept, {"token": ""}),
    "webhook": ("webhook", test_webhook.accept, {}),
    "webhook, one by one": ("webhook", test_webhook.accept, {"max_events": 1}),
}
"""Kind, what its stand-in does, and settings."""

each = pytest.mark.parametrize("name", KINDS)


def identities(body: Any) -> list[tuple[str, str]]:
    """The id and the time of each event in a request, wherever the platform has them."""
    if isinstance(body, list):
        return [found for one in body for found in identities(one)]
    inner = body.get("events") or body.get("params")
    if inner:
        return identities(inner)
    keys = ("id", "transaction_id", "identifier", "OriginID"), ("time", "timestamp", "AnswerTime")
    identity, time = (next((body[key] for key in kind if key in body), "") for kind in keys)
    return [(str(identity), str(time))] if identity else []


def sent(here: StandIn) -> list[list[tuple[str, str]]]:
    """By request, what was in it; requests without a body (sessions) left out."""
    return [identities(json.loads(body)) for *_, body in here.requests if body]


def recorded(count: int, **changes: object) -> MemoryFeed:
    feed = MemoryFeed()
    feed.record(count, data=MINUTES, **changes)
    return feed


def lost(accept: Accept) -> Accept:
    """It takes what comes, and its answer does not arrive."""

    def answer(here: StandIn, body: bytes) -> web.Response:
        taken = accept(here, body)
        return taken if here.requests[-1][1].endswith("session") else web.Response(status=504)

    return answer


def refusing(accept: Accept, identity: str) -> Accept:
    def answer(here: StandIn, body: bytes) -> web.Response:
        return web.Response(status=422) if f'"{identity}"'.encode() in body else accept(here, body)

    return answer


@each
async def test_b10_a_request_that_is_cut_anew_after_a_lost_answer_counts_nothing_twice(name: str) -> None:
    kind, accept, given_settings = KINDS[name]
    feed = recorded(7)
    async with forwarding(kind, lost(accept), feed, names=NAMES, **given_settings) as (loop, here):
        assert (await loop.upload()).problem == "server_error"
        here.accept = accept
        feed.record(200, data=MINUTES)
        assert (await loop.upload()).problem == ""
    assert list(here.events) == feed.ids()
    assert feed.refused == {}


@each
async def test_b11_b12_b14_one_bad_event_among_many_is_put_aside_alone(name: str) -> None:
    kind, accept, given_settings = KINDS[name]
    feed = recorded(120)
    async with forwarding(kind, refusing(accept, "event-77"), feed, names=NAMES, **given_settings) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert feed.refused_ids() == ["event-77"]
    assert set(here.events) == set(feed.ids()) - {"event-77"}
    assert feed.through == 120


@each
async def test_b15_three_days_of_what_others_drop_for_lose_nothing(name: str) -> None:
    kind, accept, given_settings = KINDS[name]
    feed = recorded(20)
    statuses = (401, 403, 404, 408, 429, 500, 503)
    async with forwarding(kind, accept, feed, names=NAMES, **given_settings) as (loop, here):
        for hour in range(72):
            here.answers = [web.Response(status=statuses[hour % len(statuses)]) for _ in range(3)]
            assert (await loop.upload()).problem
            assert isinstance(loop.clock_ms, Clock)
            loop.clock_ms.now_ms += HOUR_MS
        assert (feed.through, feed.refused, here.events) == (0, {}, {})
        here.answers = []
        assert (await loop.upload()).problem == ""
    assert list(here.events) == feed.ids()


@each
async def test_c2_c3_c5_c9_each_attempt_names_the_stored_id_and_time_and_nothing_else(name: str) -> None:
    kind, accept, given_settings = KINDS[name]
    feed = recorded(3, time="2026-11-20T10:00:00.007Z")
    async with forwarding(kind, lost(accept), feed, names=NAMES, **given_settings) as (loop, here):
        for _ in range(3):
            await loop.upload()
    named = [one for request in sent(here) for one in request]
    assert {identity for identity, _ in named} <= set(feed.ids())
    assert named[0][0] == "event-1"
    assert {time for _, time in named} <= {"2026-11-20T10:00:00.007Z", "1795168800.007"}
    assert len({time for _, time in named}) == 1
    assert len(here.requests) >= 3


KNOWS: dict[str, Callable[[], web.Response]] = {
    "lago": lambda: test_lago.refused({"0": {"transaction_id": ["value_already_exist"]}}),
    "stripe": lambda: test_stripe.bad("An event already exists with identifier event-1."),
    "cgrates": lambda: test_cgrates.reply(error="EXISTS"),
}
"""How those say it that do not take a second one silently."""


@pytest.mark.parametrize("name", KNOWS)
async def test_c4_that_it_is_known_is_success(name: str) -> None:
    kind, accept, given_settings = KINDS[name]
    feed = recorded(1)
    async with forwarding(kind, accept, feed, names=NAMES, **given_settings) as (loop, here):
        here.answers.append(KNOWS[name]())
        report = await loop.upload()
    assert (report.acked, report.known, report.problem) == (1, 1, "")
    assert (feed.through, feed.refused) == (1, {})


@each
async def test_c6_a_site_that_was_offline_for_sixty_days_loses_no_event_out_of_sight(name: str) -> None:
    """All but Stripe take events of any age; what Stripe never takes stands in quarantine, and the younger half arrives."""
    kind, accept, given_settings = KINDS[name]
    feed = recorded(30, time=test_stripe.at(days=60))
    feed.record(30, data=MINUTES, time=test_stripe.at(days=30))
    async with forwarding(kind, accept, feed, names=NAMES, **given_settings) as (loop, here):
        assert (await loop.upload()).problem == ""
    aside = [refusal.code for refusal in feed.refused.values()]
    assert aside == (["too_old"] * 30 if kind == "stripe" else [])
    assert set(here.events) | set(feed.refused_ids()) == set(feed.ids())


async def test_c8_what_is_said_of_single_events_is_heeded() -> None:
    feed = recorded(4)
    async with forwarding("lago", test_lago.accept, feed) as (loop, here):
        here.answers.append(
            test_lago.refused({"2": {"code": ["bad"]}, "0": {"transaction_id": ["value_already_exist"]}})
        )
        report = await loop.upload()
    assert (report.known, feed.refused_ids()) == (1, ["event-3"])
    assert list(here.events) == ["event-2", "event-4"]
    feed = recorded(4)
    async with forwarding("webhook", lambda *_: web.Response(status=207), feed) as (loop, _):
        assert (await loop.upload()).problem == "answer_unusable"
    assert feed.through == 0


@pytest.mark.parametrize("kind", TAKERS)
def test_b13_what_an_answer_is_worth_is_said_of_each_kind(kind: str) -> None:
    """What a platform refuses after its answer, no agent can see: the page tells which do, and how to compare sums."""
    page = (Path(__file__).resolve().parents[3] / "docs/destinations.md").read_text("utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| [`{kind}`](#{kind})"))
    assert all(cell.strip() for cell in row.split("|")[1:4])
    assert f"\n## {kind}\n" in page


WORDS = st.sampled_from(
    (
        *(
            "error",
            "error_details",
            "message",
            "code",
            "result",
            "events",
            "0",
            "1",
            "transaction_id",
            "title",
            "detail",
        ),
        *("authentication_token", "created", "OK", "EXISTS", "2026-11-20T12:00:00Z", "0001-01-01"),
        *("value_already_exist", "PARTIALLY_EXECUTED", "too_many_events"),
    )
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS | st.text(max_size=5)
BODIES = st.recursive(LEAVES, lambda part: st.lists(part, max_size=3) | st.dictionaries(WORDS, part, max_size=4))
STATUSES = st.sampled_from(
    (200, 201, 202, 207, 299, 300, 307, 400, 401, 404, 405, 409, 410, 413, 415, 422, 429, 500, 599)
)


@each
@settings(max_examples=60, deadline=None)
@given(answers=st.lists(st.tuples(STATUSES, BODIES.map(json.dumps) | st.text(max_size=20)), min_size=1, max_size=4))
async def test_whatever_is_answered_each_event_is_held_taken_or_in_quarantine(
    name: str, answers: list[tuple[int, str]]
) -> None:
    kind, accept, given_settings = KINDS[name]
    feed = recorded(3)
    async with forwarding(kind, accept, feed, names=NAMES, **given_settings) as (loop, here):
        here.answers = [web.Response(status=status, text=body) for status, body in answers]
        report = await loop.upload()
    assert report.problem == "" or report.problem in CATALOGUE
    assert report.problem != "" or feed.through == 3
    assert all(refusal.seq <= feed.through and len(refusal.message) <= 300 for refusal in feed.refused.values())


@pytest.mark.parametrize(
    ("extra", "settings", "module", "library"),
    [
        ("nats", {"url": "nats://x", "stream_name": "S"}, "jetstream", "nats"),
        ("kafka", {"brokers": "x:9092", "topic": "t"}, "kafka_producer", "confluent_kafka"),
        ("sftp", test_sftp.SETTINGS, "sftp_folder", "asyncssh"),
        ("parquet", {"folder": "/srv", "form": "parquet"}, "parquet", "pyarrow"),
    ],
)
def test_a_library_that_is_not_installed_is_told_by_the_extra_that_brings_it(
    extra: str, settings: dict[str, str], module: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "files" if extra == "parquet" else extra
    monkeypatch.delitem(sys.modules, f"uplink.destinations.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        CredentialsUnreadable, match=rf"it is in the extra {extra} \(packaging/install\.sh --with {extra}\)"
    ):
        TAKERS[kind].open(msgspec.convert(settings, TAKERS[kind].settings), "site-1")
