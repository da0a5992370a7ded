"""Lago as a destination: the form of its requests, what its errors by index come to, and what a retry does."""

import json

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.uplink.destinations.stand_in import StandIn, forwarding
from tests.uplink.feed import MemoryFeed
from uplink.forwarder import REFUSED_IN_A_ROW


def accept(here: StandIn, body: bytes) -> web.Response:
    """As create_batch_service.rb does: all events are checked, and all are saved or none; a subscription called `bad` stands
    for whatever Lago may dislike."""
    events = json.loads(body)["events"]
    if len(events) > 100:
        return refused({"events": ["too_many_events"]})
    errors: dict[str, object] = {}
    for index, event in enumerate(events):
        if event["transaction_id"] in here.events:
            errors[str(index)] = {"transaction_id": ["value_already_exist"]}
        elif event["external_subscription_id"] == "bad":
            errors[str(index)] = {"external_subscription_id": ["value_is_invalid"]}
    if errors:
        return refused(errors)
    here.keep(events, "transaction_id")
    return web.json_response({"events": events})


def refused(details: object) -> web.Response:
    document = {"status": 422, "error": "Unprocessable Entity", "code": "validation_errors", "error_details": details}
    return web.json_response(document, status=422)


async def test_an_event_goes_under_its_id_with_its_time_to_the_millisecond_and_texts_as_values() -> None:
    feed = MemoryFeed()
    feed.record(1, time="2026-11-20T10:00:00.007Z", quantity="-0.1")
    async with forwarding("lago", accept, feed, names={"meters": {"voice.minutes": "minutes"}}) as (loop, here):
        assert (await loop.upload()).problem == ""
    method, path, headers, body = here.requests[0]
    assert (method, path, headers["authorization"]) == ("POST", "/api/v1/events/batch", "Bearer a_secret")
    assert json.loads(body) == {
        "events": [
            {
                "transaction_id": "event-1",
                "external_subscription_id": "101",
                "code": "minutes",
                "timestamp": "1795168800.007",
                "properties": {"quantity": "-0.1", "unit": "minute", "padding": ""},
            }
        ]
    }


async def test_a_request_holds_at_most_a_hundred_events() -> None:
    feed = MemoryFeed()
    feed.record(250)
    async with forwarding("lago", accept, feed) as (loop, here):
        assert (await loop.upload()).acked == 250
    assert [len(body["events"]) for body in here.bodies()] == [100, 100, 50]
    assert list(here.events) == feed.ids()


async def test_events_that_it_names_by_their_index_are_refused_and_the_rest_goes_at_once() -> None:
    feed = MemoryFeed()
    feed.record(3)
    feed.record(1, subject="bad")
    feed.record(6)
    async with forwarding("lago", accept, feed) as (loop, here):
        report = await loop.upload()
    assert (report.problem, report.refused) == ("", 1)
    assert feed.refused_ids() == ["event-4"]
    assert feed.refused[4].message == "external_subscription_id: value_is_invalid"
    assert [len(body["events"]) for body in here.bodies()] == [10, 9]
    assert len(here.events) == 9


@given(st.sets(st.integers(1, 130), max_size=12), st.sets(st.integers(1, 130), max_size=30))
@settings(max_examples=25)
async def test_whatever_it_dislikes_or_has_each_event_is_there_once_or_in_quarantine(
    bad: set[int], known: set[int]
) -> None:
    feed = MemoryFeed()
    for number in range(1, 131):
        feed.record(1, subject="bad" if number in bad else "101")
    async with forwarding("lago", accept, feed) as (loop, here):
        here.keep([{"transaction_id": f"event-{number}"} for number in known], "transaction_id")
        assert (await loop.upload()).problem == ""
    assert feed.refused_ids() == [f"event-{number}" for number in sorted(bad - known)]
    assert set(here.events) == set(feed.ids()) - set(feed.refused_ids())


async def test_a_lost_answer_is_asked_again_byte_for_byte_and_what_it_has_is_success() -> None:
    feed = MemoryFeed()
    feed.record(4)
    async with forwarding("lago", lost_answer, feed) as (loop, here):
        assert (await loop.upload()).problem == "server_error"
        here.accept = accept
        feed.record(2)
        report = await loop.upload()
    assert (report.problem, report.known, feed.refused) == ("", 4, {})
    first, second, third = here.bodies()
    assert second["events"][:4] == first["events"]
    assert [event["transaction_id"] for event in third["events"]] == ["event-5", "event-6"]
    assert list(here.events) == feed.ids()


def lost_answer(here: StandIn, body: bytes) -> web.Response:
    accept(here, body)
    return web.Response(status=502)


async def test_a_setting_that_has_all_refused_stops_at_the_brake() -> None:
    feed = MemoryFeed()
    feed.record(300, subject="bad")
    async with forwarding("lago", accept, feed) as (loop, _):
        assert (await loop.upload()).problem == "everything_refused"
    assert len(feed.refused) == REFUSED_IN_A_ROW


async def test_an_installation_that_takes_fewer_events_gets_fewer() -> None:
    def few(here: StandIn, body: bytes) -> web.Response:
        too_many = len(json.loads(body)["events"]) > 30
        return refused({"events": ["too_many_events"]}) if too_many else accept(here, body)

    feed = MemoryFeed()
    feed.record(100)
    async with forwarding("lago", few, feed) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert len(here.events) == 100
    assert not feed.refused


@pytest.mark.parametrize("details", [{"99": {"code": ["bad"]}}, {"-1": {"code": ["bad"]}}, {"x": 1}, [], "no"])
async def test_an_error_document_that_makes_no_sense_drops_nothing_unseen(details: object) -> None:
    feed = MemoryFeed()
    feed.record(4)
    async with forwarding("lago", accept, feed) as (loop, here):
        here.answers.append(refused(details))
        assert (await loop.upload()).problem == ""
    assert (len(here.events), feed.refused) == (4, {})


@pytest.mark.parametrize(("status", "problem"), [(401, "unauthorized"), (429, "throttled"), (500, "server_error")])
async def test_what_is_no_events_fault_keeps_everything(status: int, problem: str) -> None:
    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("lago", accept, feed) as (loop, here):
        here.answers.append(web.Response(status=status))
        assert (await loop.upload()).problem == problem
    assert (feed.through, feed.refused) == (0, {})
