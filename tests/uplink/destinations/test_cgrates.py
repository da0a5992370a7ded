"""CGRateS as a destination: events as CDRs, and what its errors mean."""

import json
from base64 import b64encode
from collections.abc import Callable

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from agent.metering.charge import decimal_text, minutes_amount
from tests.uplink.destinations.stand_in import StandIn, forwarding
from tests.uplink.feed import MemoryFeed
from uplink.destinations.cgrates import CgratesSettings, cdr_of
from uplink.taker import Event, Refused

NO_PASSWORD = {"token": ""}
MINUTES = {"quantity": "0.1", "unit": "min"}


def reply(result: object = "OK", error: object = None) -> web.Response:
    return web.json_response({"id": 1, "result": None if error else result, "error": error})


def accept(here: StandIn, body: bytes) -> web.Response:
    """As processEvents does: a CDR is claimed first, by OriginID and OriginHost."""
    call = json.loads(body)
    cdr = call["params"][0]
    if call["method"] != "CDRsV1.ProcessExternalCDR":
        return reply(error=f"rpc: can't find service {call['method']}")
    if cdr["OriginID"] in here.events:
        return reply(error="EXISTS")
    if cdr["Account"] == "nobody":
        return reply(error="MANDATORY_IE_MISSING: [Account]")
    here.keep([cdr], "OriginID")
    return reply()


async def test_minutes_go_as_a_voice_record_in_nanoseconds() -> None:
    feed = MemoryFeed()
    data = {"quantity": "2.016667", "unit": "min", "class": "international", "country": "FR"}
    feed.record(1, data=data)
    names = {"meters": {"voice.minutes": "call"}, "subject": "{site}-{subject}"}
    settings = {"tenant": "cgrates.org", "request_type": "*postpaid", "user": "office", "token": "secret"}
    async with forwarding("cgrates", accept, feed, names=names, **settings) as (loop, here):
        assert (await loop.upload()).problem == ""
    method, path, headers, body = here.requests[0]
    assert (method, path) == ("POST", "/jsonrpc")
    assert headers["authorization"] == "Basic " + b64encode(b"office:secret").decode()
    assert json.loads(body) == {
        "method": "CDRsV1.ProcessExternalCDR",
        "id": 1,
        "params": [
            {
                "OriginID": "event-1",
                "OriginHost": "urn:pegcount:site:site-1",
                "ToR": "*voice",
                "Account": "site-1-101",
                "Subject": "site-1-101",
                "Category": "call",
                "Destination": "international:FR",
                "SetupTime": "2026-11-20T10:00:00.000Z",
                "AnswerTime": "2026-11-20T10:00:00.000Z",
                "Usage": "121000000000",
                "ExtraFields": data,
                "Source": "pegcount",
                "Tenant": "cgrates.org",
                "RequestType": "*postpaid",
            }
        ],
    }


@pytest.mark.parametrize(
    ("quantity", "unit", "kind", "usage"),
    [
        ("0.1", "min", "*voice", "6000000000"),
        ("0.016667", "min", "*voice", "1000000000"),
        ("0.000000001", "GB", "*data", "1"),
        ("1.5", "GB", "*data", "1500000000"),
        ("1", "message", "*sms", "1"),
        ("1", "call", "*generic", "1"),
        ("3.000000", "use", "*generic", "3"),
    ],
)
async def test_a_unit_is_counted_as_cgrates_does(quantity: str, unit: str, kind: str, usage: str) -> None:
    feed = MemoryFeed()
    feed.record(1, data={"quantity": quantity, "unit": unit, "dialled": "+33199001234"})
    async with forwarding("cgrates", accept, feed, **NO_PASSWORD) as (loop, here):
        await loop.upload()
    cdr = here.events["event-1"]
    assert (cdr["ToR"], cdr["Usage"], cdr["Destination"]) == (kind, usage, "+33199001234")
    assert "authorization" not in here.requests[0][2]


@given(st.integers(0, 10**9))
def test_a_call_of_whole_seconds_is_whole_seconds_there(seconds: int) -> None:
    """Minutes are stored as millionths; the third of a minute that this cannot say is not billed as a nanosecond."""
    quantity = decimal_text(minutes_amount(seconds))
    made = event(quantity=quantity, unit="min")
    cdr = cdr_of(made, CgratesSettings(url="https://cgrates.example.net"))
    assert not isinstance(cdr, Refused)
    assert int(cdr.usage) == seconds * 10**9


def event(**data: str) -> Event:
    return Event(
        position=1,
        id="event-1",
        source="urn:pegcount:site:site-1",
        type="voice.minutes",
        subject="101",
        time="2026-11-20T10:00:00.000Z",
        data=data,
        body=b"",
    )


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"quantity": "-0.1", "unit": "min"}, "negative_quantity"),
        ({"quantity": "0.5", "unit": "call"}, "not_whole"),
        ({"quantity": "0.0000000001", "unit": "GB"}, "not_whole"),
        ({"quantity": "1e30", "unit": "call"}, "not_whole"),
        ({"quantity": "1e999999", "unit": "GB"}, "not_whole"),
        ({"unit": "call"}, "no_quantity"),
    ],
    ids=str,
)
async def test_what_can_be_no_cdr_is_put_aside_unasked(data: dict[str, str], code: str) -> None:
    feed = MemoryFeed()
    feed.record(1, data=data)
    feed.record(1, data=MINUTES)
    async with forwarding("cgrates", accept, feed, **NO_PASSWORD) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert [one.code for one in feed.refused.values()] == [code]
    assert list(here.events) == ["event-2"]


async def test_one_that_exists_is_success() -> None:
    feed = MemoryFeed()
    feed.record(3, data=MINUTES)
    async with forwarding("cgrates", accept, feed, **NO_PASSWORD) as (loop, here):
        here.keep([{"OriginID": "event-2"}], "OriginID")
        report = await loop.upload()
    assert (report.acked, report.known, feed.refused) == (3, 1, {})


@pytest.mark.parametrize("second", ["EXISTS", "PARTIALLY_EXECUTED"])
async def test_one_that_exists_since_it_was_executed_in_part_is_put_in_sight(second: str) -> None:
    """It is claimed before it is stored, so the retry would have success whether it is there or not."""
    feed = MemoryFeed()
    feed.record(3, data=MINUTES)
    async with forwarding("cgrates", accept, feed, **NO_PASSWORD) as (loop, here):
        here.answers.append(reply(error="PARTIALLY_EXECUTED"))
        assert (await loop.upload()).problem == "server_error"
        assert feed.through == 0
        here.answers.append(reply(error=second))
        assert (await loop.upload()).problem == ""
    assert [(one.seq, one.code) for one in feed.refused.values()] == [(1, "partially_executed")]
    assert list(here.events) == ["event-2", "event-3"]


async def test_one_that_was_executed_in_part_may_still_be_taken() -> None:
    feed = MemoryFeed()
    feed.record(1, data=MINUTES)
    async with forwarding("cgrates", accept, feed, **NO_PASSWORD) as (loop, here):
        here.answers.append(reply(error="PARTIALLY_EXECUTED"))
        await loop.upload()
        assert (await loop.upload()).problem == ""
    assert (list(here.events), feed.refused) == (["event-1"], {})


async def test_what_it_says_of_a_cdr_is_the_reason_in_quarantine() -> None:
    feed = MemoryFeed()
    feed.record(1, data=MINUTES, subject="nobody")
    feed.record(1, data=MINUTES)
    async with forwarding("cgrates", accept, feed, **NO_PASSWORD) as (loop, here):
        await loop.upload()
    assert feed.refused[1].message == "MANDATORY_IE_MISSING: [Account]"
    assert list(here.events) == ["event-2"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda: reply(error="SERVER_ERROR: no connection to the database"), "server_error"),
        (lambda: reply(error="rpc: can't find service CDRsV1.ProcessExternalCDR"), "destination_misconfigured"),
        (lambda: reply(error="UNAUTHORIZED_API"), "forbidden"),
        (lambda: reply(result="MAYBE"), "answer_unusable"),
        (lambda: web.Response(text="OK"), "answer_unusable"),
        (lambda: web.Response(text="<html>", content_type="text/html"), "captive_portal"),
        (lambda: web.Response(status=401), "unauthorized"),
    ],
)
async def test_what_is_no_events_fault_keeps_everything(answer: Callable[[], web.Response], problem: str) -> None:
    feed = MemoryFeed()
    feed.record(3, data=MINUTES)
    async with forwarding("cgrates", accept, feed, **NO_PASSWORD) as (loop, here):
        here.answers.append(answer())
        assert (await loop.upload()).problem == problem
    assert (feed.through, feed.refused) == (0, {})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"token": "t"}, "user"), ({"user": "office"}, "token"), ({"user": "a:b", "token": "t"}, "colon")],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"url": "https://cgrates.example.net", **wrong}, CgratesSettings)
