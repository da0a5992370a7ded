"""What goes over the line, held against what the platforms publish: OpenMeter's and Lago's API files, CloudEvents' schema.

The files are read where they lie, beside the checkout (Lago's licence is not ours). They are taken as published: Lago's
`properties` can hold no integer there (it matches two branches of a `oneOf`), which is one reason to send texts.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web
from openapi_core import Config, OpenAPI
from openapi_core.exceptions import OpenAPIError
from openapi_core.testing import MockRequest

from tests.uplink.destinations.stand_in import StandIn, forwarding
from tests.uplink.feed import MemoryFeed
from uplink.events import MicroTransaction, encode
from uplink.feed import Item

FILES = Path(__file__).resolve().parents[3] / "../shared/samples/openapi"
JSON_TYPES = ("application/cloudevents+json", "application/cloudevents-batch+json")

pytestmark = [
    pytest.mark.samples,
    pytest.mark.skipif(not FILES.is_dir(), reason="the sample corpus is not beside the checkout"),
]

CONTRACTS = {
    "openmeter-v1": ("openmeter", {"api": "v1"}, "openmeter-v1-openapi.yaml", "https://127.0.0.1"),
    "openmeter-v3": ("openmeter", {"api": "v3"}, "openmeter-v3-openapi.yaml", "http://localhost:8888"),
    "konnect": ("openmeter", {"api": "konnect"}, "openmeter-v3-openapi.yaml", "https://us.api.konghq.com"),
    "lago": ("lago", {}, "lago-openapi.yaml", "https://api.getlago.com"),
}
"""Kind, settings, file, and the host of one of the file's servers."""


@cache
def api(file: str) -> OpenAPI:
    readers = dict.fromkeys(JSON_TYPES, json.loads)
    return OpenAPI.from_file_path(str(FILES / file), config=Config(extra_media_type_deserializers=readers))


@cache
def cloudevents() -> jsonschema.Draft7Validator:
    schema = json.loads((FILES / "cloudevents-1.0.2-schema.json").read_text("utf-8"))
    return jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())


def check(file: str, host: str, request: tuple[str, str, dict[str, str], bytes]) -> None:
    method, path, headers, body = request
    kept = {name: value for name, value in headers.items() if name in ("authorization", "content-type")}
    asked = MockRequest(
        host, method.lower(), path, headers=kept, data=body, content_type=headers["content-type"].partition(";")[0]
    )
    api(file).validate_request(asked)


def take_all(here: StandIn, body: bytes) -> web.Response:
    return web.Response(status=204 if b"cloudevents" in here.requests[-1][2]["content-type"].encode() else 200)


def recorded() -> MemoryFeed:
    """Events as the agent makes them, of every shape that `data` has."""
    feed = MemoryFeed()
    made: tuple[tuple[str, str, str, dict[str, str | int], str], ...] = (
        ("call", "1", "call", {"class": "international", "country": "FR", "dialled": "+33199001234", "pdd_ms": 12}, ""),
        ("voice.minutes", "0.016667", "min", {"billed_s": 1, "talk_ms": 300}, ""),
        ("voice.minutes", "-999999999999.999999", "min", {"billed_s": 0}, "0123456789abcdef0123456789abcdef"),
        ("seat.day", "1", "seat-day", {"day": "2026-11-20", "level": "premium – größer"}, ""),
    )
    for number, (meter, quantity, unit, data, corrects) in enumerate(made, 1):
        event = MicroTransaction(
            id=f"{number:032x}",
            meter=meter,
            subject="101",
            time_ms=1_795_168_800_007,
            quantity=quantity,
            unit=unit,
            data=data,
            corrects=corrects,
        )
        body = encode(event, "urn:msp:site:0b0e6a1e-5b1c-4d0e-9d43-2f6f4f6f2f2a", "e1", number, 1_795_168_801_000)
        feed.items.append(Item(number, body))
    return feed


@pytest.mark.parametrize("name", CONTRACTS)
async def test_every_request_is_one_that_the_published_file_permits(name: str) -> None:
    kind, settings, file, host = CONTRACTS[name]
    feed = recorded()
    async with forwarding(kind, take_all, feed, **settings) as (loop, here):
        assert (await loop.upload()).acked == 4
    assert feed.refused == {}
    for request in here.requests:
        check(file, host, request)


@pytest.mark.parametrize("name", CONTRACTS)
async def test_the_check_would_tell_of_another_path_and_of_another_form(name: str) -> None:
    kind, settings, file, host = CONTRACTS[name]
    async with forwarding(kind, take_all, recorded(), **settings) as (loop, here):
        await loop.upload()
    method, path, headers, body = here.requests[0]
    for wrong in ((method, path + "s", headers, body), (method, path, headers, b'{"events": [{"code": 7}]}')):
        with pytest.raises(OpenAPIError):
            check(file, host, wrong)


async def test_lago_is_sent_no_more_than_the_hundred_events_that_its_prose_permits() -> None:
    feed = MemoryFeed()
    feed.record(1_000)
    async with forwarding("lago", take_all, feed) as (loop, here):
        await loop.upload()
    assert max(len(body["events"]) for body in here.bodies()) == 100


def events_of(body: bytes) -> list[dict[str, Any]]:
    told = json.loads(body)
    return told if isinstance(told, list) else [told]


@pytest.mark.parametrize("max_events", [1, 100])
@pytest.mark.parametrize("names", [{}, {"subject": "{site}/{subject}", "meters": {"call": "com.example.call"}}])
async def test_a_webhook_gets_cloudevents(max_events: int, names: dict[str, object]) -> None:
    feed = recorded()
    async with forwarding("webhook", take_all, feed, max_events=max_events, names=names) as (loop, here):
        await loop.upload()
    sent = [event for *_, body in here.requests for event in events_of(body)]
    assert [event["id"] for event in sent] == feed.ids()
    for event in sent:
        cloudevents().validate(event)


def test_the_agents_own_events_are_cloudevents_whose_extensions_keep_the_rules_for_names() -> None:
    for item in recorded().items:
        event = json.loads(item.body)
        cloudevents().validate(event)
        assert all(name.isascii() and name.isalnum() and name.islower() for name in event)
        assert all(isinstance(value, str) for name, value in event.items() if name != "data")
