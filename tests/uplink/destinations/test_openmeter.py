"""OpenMeter as a destination: the form of its requests, and what its answers mean."""

import json

import msgspec
import pytest
from aiohttp import web

from tests.uplink.destinations.stand_in import StandIn, forwarding
from tests.uplink.feed import MemoryFeed
from uplink.destinations.openmeter import LIMITS, OpenMeterSettings
from uplink.taker import Names

ATTRIBUTES = {"id", "source", "type", "subject", "time", "data", "specversion", "datacontenttype"}
"""Of an event in version 3, which permits no others."""


def accept(here: StandIn, body: bytes) -> web.Response:
    """Version 1 answers 204, version 3 202; an event without a subject is 400 for the whole request."""
    events = json.loads(body)
    if any(set(event) != ATTRIBUTES or not event["subject"] for event in events):
        return web.json_response({"title": "Bad Request", "detail": "subject"}, status=400)
    here.keep(events)
    return web.Response(status=204 if here.requests[-1][1] == "/api/v1/events" else 202)


@pytest.mark.parametrize(
    ("api", "path"),
    [("v1", "/api/v1/events"), ("v3", "/api/v3/openmeter/events"), ("konnect", "/v3/openmeter/events")],
)
async def test_events_go_as_a_cloudevents_batch_under_their_own_ids(api: str, path: str) -> None:
    feed = MemoryFeed()
    feed.record(LIMITS.max_events + 10)
    async with forwarding("openmeter", accept, feed, api=api) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert list(here.events) == feed.ids()
    method, asked, headers, body = here.requests[0]
    assert (method, asked, headers["authorization"]) == ("POST", path, "Bearer a_secret")
    assert headers["content-type"] == "application/cloudevents-batch+json"
    first = json.loads(body)[0]
    assert first["data"]["quantity"] == "0.1"
    assert first["time"] == "2026-11-20T10:00:00.000Z"
    assert len(here.requests) == 2


async def test_a_lost_answer_is_asked_again_with_the_same_ids() -> None:
    feed = MemoryFeed()
    feed.record(5)
    async with forwarding("openmeter", accept, feed) as (loop, here):
        here.answers.append(web.Response(status=502))
        assert (await loop.upload()).problem == "server_error"
        assert (await loop.upload()).problem == ""
    assert here.requests[0][3] == here.requests[1][3]
    assert list(here.events) == feed.ids()


async def test_one_event_that_it_refuses_does_not_cost_the_others() -> None:
    feed = MemoryFeed()
    feed.record(20)
    feed.record(1, subject="")
    feed.record(20)
    async with forwarding("openmeter", accept, feed) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert feed.refused_ids() == ["event-21"]
    assert "subject" in feed.refused[21].message
    assert len(here.events) == 40


@pytest.mark.parametrize(
    ("status", "problem"),
    [(401, "unauthorized"), (403, "forbidden"), (404, "not_found"), (503, "unavailable"), (302, "redirected")],
)
async def test_what_is_no_events_fault_keeps_everything(status: int, problem: str) -> None:
    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("openmeter", accept, feed) as (loop, here):
        here.answers.append(web.Response(status=status))
        assert (await loop.upload()).problem == problem
    assert (feed.through, feed.refused) == (0, {})


async def test_a_web_page_that_says_200_is_no_acknowledgement() -> None:
    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("openmeter", accept, feed) as (loop, here):
        here.answers.append(web.Response(text="<html>Welcome", content_type="text/html"))
        assert (await loop.upload()).problem == "captive_portal"
    assert feed.through == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"token": ""}, "token"),
        ({"api": "v2"}, "api"),
        ({"names": {"subject": "{nobody}"}}, "subject"),
        ({"pin": "12"}, "pin"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"url": "https://openmeter.example.net", "token": "t", **wrong}, OpenMeterSettings)


def test_names_are_part_of_the_settings() -> None:
    made = msgspec.convert(
        {"url": "https://x.example", "token": "t", "names": {"meters": {"call": "calls"}}}, OpenMeterSettings
    )
    assert made.names == Names(meters={"call": "calls"})
