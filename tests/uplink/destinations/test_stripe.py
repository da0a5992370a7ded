"""Stripe as a destination, one by one and by its stream: windows, duplicates, tokens that end."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import msgspec
import pytest
from aiohttp import web

from tests.uplink.destinations.stand_in import StandIn, forwarding
from tests.uplink.feed import MemoryFeed
from uplink.destinations.stripe import StripeSettings
from uplink.forwarder import REFUSED_IN_A_ROW

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
"""Stripe's clock; the site's is this machine's, and must not matter."""
DATE = {"Date": format_datetime(NOW, usegmt=True)}
CREATED = "2026-11-20T12:00:00.000Z"


def at(**ago: int) -> str:
    return (NOW - timedelta(**ago)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def bad(message: str, code: str = "invalid") -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "code": code}
    return web.json_response({"error": error}, status=400, headers=DATE)


def accept(here: StandIn, body: bytes) -> web.Response:
    """One by one: checked at once."""
    event = json.loads(body)
    happened = datetime.fromisoformat(event["timestamp"])
    if event["identifier"] in here.events:
        return bad(f"An event already exists with identifier {event['identifier']}.")
    if not NOW - timedelta(days=35) <= happened <= NOW + timedelta(minutes=5):
        return bad("The timestamp must be within the past 35 calendar days or up to 5 minutes in the future.", "when")
    if not event["payload"]["stripe_customer_id"].startswith("cus_"):
        return bad("No such customer", "customer")
    here.keep([event], "identifier")
    return web.json_response({"object": "v2.billing.meter_event", **event}, headers=DATE)


def accept_stream(here: StandIn, body: bytes) -> web.Response:
    """By the stream: a token first, and it holds for two requests here."""
    _, path, headers, _ = here.requests[-1]
    sessions = sum(path.endswith("meter_event_session") for _, path, _, _ in here.requests)
    if path.endswith("meter_event_session"):
        return web.json_response({"authentication_token": f"token_{sessions}", "created": CREATED})
    used = sum(asked["authorization"] == f"Bearer token_{sessions}" for _, _, asked, _ in here.requests)
    if headers["authorization"] != f"Bearer token_{sessions}" or used > 2:
        return web.json_response({"error": {"code": "billing_meter_event_session_expired"}}, status=401)
    here.keep(json.loads(body)["events"], "identifier")
    return web.json_response({})


STREAM = {"api": "meter_event_stream", "stream_url": "{url}"}
NAMES = {"subject": "cus_{subject}", "meters": {"voice.minutes": "minutes"}}


async def test_an_event_is_a_request_under_its_id_with_texts_as_values() -> None:
    feed = MemoryFeed()
    feed.record(1, quantity="-0.016667")
    async with forwarding("stripe", accept, feed, names=NAMES) as (loop, here):
        assert (await loop.upload()).problem == ""
    method, path, headers, body = here.requests[0]
    assert (method, path, headers["authorization"]) == ("POST", "/v2/billing/meter_events", "Bearer a_secret")
    assert headers["stripe-version"]
    assert json.loads(body) == {
        "event_name": "minutes",
        "identifier": "event-1",
        "timestamp": "2026-11-20T10:00:00.000Z",
        "payload": {"stripe_customer_id": "cus_101", "value": "-0.016667"},
    }


async def test_one_that_it_has_is_success_and_nothing_stalls() -> None:
    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("stripe", accept, feed, names=NAMES) as (loop, here):
        here.keep([{"identifier": "event-2"}], "identifier")
        report = await loop.upload()
    assert (report.acked, report.known, report.problem, feed.refused) == (3, 1, "", {})


@pytest.mark.parametrize("another", ["somebody-elses.", "event-10.", ""])
async def test_that_another_event_exists_is_no_success(another: str) -> None:
    feed = MemoryFeed()
    feed.record(1)
    async with forwarding("stripe", accept, feed, names=NAMES) as (loop, here):
        here.answers.append(bad(f"An event already exists with identifier {another}"))
        await loop.upload()
    assert feed.refused_ids() == ["event-1"]


async def test_what_is_older_than_35_days_there_is_put_aside_and_what_follows_goes_on() -> None:
    feed = MemoryFeed()
    feed.record(REFUSED_IN_A_ROW + 5, time=at(days=36))
    feed.record(2, time=at(days=34))
    async with forwarding("stripe", accept, feed, names=NAMES) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert {refusal.code for refusal in feed.refused.values()} == {"too_old"}
    assert len(feed.refused) == REFUSED_IN_A_ROW + 5
    assert list(here.events) == ["event-26", "event-27"]


async def test_a_customer_that_is_not_known_is_refused_with_its_own_words() -> None:
    feed = MemoryFeed()
    feed.record(1, subject="nobody")
    feed.record(1)
    async with forwarding("stripe", accept, feed, names={"subjects": {"101": "cus_101"}}) as (loop, here):
        await loop.upload()
    assert [(one.code, one.message) for one in feed.refused.values()] == [("customer", "No such customer")]
    assert list(here.events) == ["event-2"]


async def test_an_event_that_waits_for_a_wrong_clock_is_kept_by_the_brake() -> None:
    feed = MemoryFeed()
    feed.record(100, time=at(hours=-27))
    async with forwarding("stripe", accept, feed, names=NAMES) as (loop, _):
        assert (await loop.upload()).problem == "everything_refused"
    assert len(feed.refused) == REFUSED_IN_A_ROW


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"quantity": "1234567890.123456"}, "too_many_digits"),
        ({"quantity": "many"}, "no_quantity"),
        ({"quantity": "NaN"}, "no_quantity"),
        ({"id": "x" * 101}, "name_too_long"),
    ],
)
@pytest.mark.parametrize("api", ["meter_events", "meter_event_stream"])
async def test_what_can_never_be_taken_is_not_asked_about(change: dict[str, str], code: str, api: str) -> None:
    feed = MemoryFeed()
    feed.record(3)
    feed.record(1, **change)
    feed.record(3)
    how = accept if api == "meter_events" else accept_stream
    async with forwarding("stripe", how, feed, names=NAMES, **STREAM | {"api": api}) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert [one.code for one in feed.refused.values()] == [code]
    assert len(here.events) == 6


async def test_the_stream_takes_a_hundred_at_once_with_a_token_that_is_renewed() -> None:
    feed = MemoryFeed()
    feed.record(450)
    async with forwarding("stripe", accept_stream, feed, names=NAMES, **STREAM) as (loop, here):
        assert (await loop.upload()).problem == ""
    sizes = [len(json.loads(body)["events"]) for _, path, _, body in here.requests if path.endswith("stream")]
    assert sizes == [100, 100, 100, 100, 100, 50, 50]  # the third and the sixth met a token that had ended
    sessions = [headers for _, path, headers, _ in here.requests if path.endswith("session")]
    assert [headers["authorization"] for headers in sessions] == ["Bearer a_secret"] * 3
    assert list(here.events) == feed.ids()


async def test_a_stream_that_takes_no_token_is_told_and_keeps_everything() -> None:
    def never(here: StandIn, body: bytes) -> web.Response:
        session = here.requests[-1][1].endswith("session")
        return accept_stream(here, body) if session else web.Response(status=401)

    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("stripe", never, feed, names=NAMES, **STREAM) as (loop, here):
        assert (await loop.upload()).problem == "unauthorized"
    assert (len(here.requests), feed.through, feed.refused) == (4, 0, {})


async def test_the_stream_sets_the_old_ones_aside_by_stripes_clock() -> None:
    feed = MemoryFeed()
    feed.record(150, time=at(days=36))
    feed.record(60, time=at(days=34))
    async with forwarding("stripe", accept_stream, feed, names=NAMES, **STREAM) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert [one.code for one in feed.refused.values()] == ["too_old"] * 150
    assert len(here.events) == 60


async def test_the_stream_isolates_one_that_is_ahead() -> None:
    feed = MemoryFeed()
    feed.record(10)
    feed.record(1, time=at(minutes=-10))
    feed.record(10)
    async with forwarding("stripe", accept_stream, feed, names=NAMES, **STREAM) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert [(one.seq, one.code) for one in feed.refused.values()] == [(11, "too_new")]
    assert len(here.events) == 20


@pytest.mark.parametrize("answer", ["{}", '{"authentication_token": "t", "created": "soon"}', "[1", '"x"'])
async def test_a_session_without_a_token_is_no_session(answer: str) -> None:
    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("stripe", accept_stream, feed, **STREAM) as (loop, here):
        here.answers.append(web.Response(text=answer, content_type="application/json"))
        assert (await loop.upload()).problem == "answer_unusable"
    assert feed.through == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stream_url": "http://meter-events.example.net"}, "stream_url must be https"),
        ({"api": "meter_event_stream", "pin": "ab" * 32}, "another host"),
        ({"token": ""}, "token"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"token": "t", **wrong}, StripeSettings)
