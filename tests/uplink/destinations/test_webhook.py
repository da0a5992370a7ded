"""CloudEvents by webhook: the form of requests, answers as the specification has them, permission and signatures."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.uplink.destinations.stand_in import Accept, StandIn, forwarding
from tests.uplink.feed import MemoryFeed
from uplink.destinations.webhook import Webhook, WebhookSettings, signature
from uplink.line import CredentialsUnreadable

SECRET = b"a secret of 32 bytes, no less...."
ORIGIN: dict[str, Any] = {"origin": "meter.example.net"}


def accept(here: StandIn, body: bytes) -> web.Response:
    """A receiver that takes both modes and gives no body back."""
    told = json.loads(body)
    here.keep(told if isinstance(told, list) else [told])
    return web.Response(status=204)


async def test_a_batch_holds_the_events_as_they_are_stored() -> None:
    feed = MemoryFeed()
    feed.record(250)
    async with forwarding("webhook", accept, feed) as (loop, here):
        assert (await loop.upload()).problem == ""
    method, _, headers, body = here.requests[0]
    assert (method, headers["authorization"]) == ("POST", "Bearer a_secret")
    assert headers["content-type"] == "application/cloudevents-batch+json"
    assert body == b"[" + b",".join(item.body for item in feed.items[:100]) + b"]"
    assert list(here.events) == feed.ids()
    assert len(here.requests) == 3


async def test_only_type_and_subject_take_the_receivers_names() -> None:
    feed = MemoryFeed()
    feed.record(1)
    names = {"meters": {"voice.minutes": "com.example.minutes"}, "subjects": {"101": "customer/7"}}
    async with forwarding("webhook", accept, feed, names=names) as (loop, here):
        await loop.upload()
    assert here.events["event-1"] == json.loads(feed.items[0].body) | {
        "type": "com.example.minutes",
        "subject": "customer/7",
    }


async def test_one_by_one_each_event_is_a_request_of_its_own() -> None:
    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("webhook", accept, feed, max_events=1, token="") as (loop, here):
        await loop.upload()
    assert [body for *_, body in here.requests] == [item.body for item in feed.items]
    headers = here.requests[0][2]
    assert headers["content-type"] == "application/cloudevents+json"
    assert "authorization" not in headers


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_these_answers_are_success(status: int) -> None:
    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("webhook", lambda *_: web.Response(status=status), feed) as (loop, _):
        assert (await loop.upload()).problem == ""
    assert feed.through == 3


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (206, "answer_unusable"),
        (207, "answer_unusable"),
        (299, "answer_unusable"),
        (302, "redirected"),
        (403, "forbidden"),
        (410, "gone"),
        (415, "destination_misconfigured"),
        (502, "server_error"),
    ],
)
async def test_these_are_none_and_nothing_is_dropped(status: int, problem: str) -> None:
    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("webhook", lambda *_: web.Response(status=status), feed) as (loop, here):
        assert (await loop.upload()).problem == problem
    assert (len(here.requests), feed.through, feed.refused) == (1, 0, {})


async def test_a_receiver_that_is_gone_is_asked_once_a_day() -> None:
    feed = MemoryFeed()
    feed.record(1)
    async with forwarding("webhook", lambda *_: web.Response(status=410), feed) as (loop, _):
        await loop.upload()
        assert await loop.due_at_ms() - loop.clock_ms() >= 24 * 3_600_000


async def test_a_receiver_that_asks_to_wait_is_obeyed() -> None:
    feed = MemoryFeed()
    feed.record(1)
    slow = {"Retry-After": "1800"}
    async with forwarding("webhook", lambda *_: web.Response(status=429, headers=slow), feed) as (loop, _):
        assert (await loop.upload()).problem == "throttled"
        assert await loop.due_at_ms() - loop.clock_ms() >= 1_800_000


async def test_one_event_that_is_refused_does_not_cost_the_others() -> None:
    def picky(here: StandIn, body: bytes) -> web.Response:
        bad = any(event["data"]["quantity"] == "7" for event in json.loads(body))
        return web.Response(status=422, text="seven") if bad else accept(here, body)

    feed = MemoryFeed()
    feed.record(30)
    feed.record(1, quantity="7")
    feed.record(30)
    async with forwarding("webhook", picky, feed) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert feed.refused_ids() == ["event-31"]
    assert len(here.events) == 60


# --- permission (http-webhook.md, section 4)


def permitting(**allowed: str) -> Accept:
    def answer(here: StandIn, body: bytes) -> web.Response:
        headers = {f"WebHook-Allowed-{name}": value for name, value in allowed.items()}
        return web.Response(headers=headers) if here.requests[-1][0] == "OPTIONS" else accept(here, body)

    return answer


@pytest.mark.parametrize("allowed", ["*", "meter.example.net"])
async def test_permission_is_asked_for_once_and_each_request_names_its_sender(allowed: str) -> None:
    feed = MemoryFeed()
    feed.record(200)
    how = permitting(Origin=allowed, Rate="*")
    async with forwarding("webhook", how, feed, validate=True, **ORIGIN) as (loop, here):
        assert (await loop.upload()).problem == ""
    assert [method for method, *_ in here.requests] == ["OPTIONS", "POST", "POST"]
    assert {headers["webhook-request-origin"] for _, _, headers, _ in here.requests} == {"meter.example.net"}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"status": 200}, "forbidden"),
        ({"status": 200, "headers": {"WebHook-Allowed-Origin": "another.example.net"}}, "forbidden"),
        ({"status": 405}, "forbidden"),
        ({"status": 401}, "unauthorized"),
        ({"status": 503}, "unavailable"),
    ],
)
async def test_without_permission_nothing_is_sent(answer: dict[str, Any], problem: str) -> None:
    feed = MemoryFeed()
    feed.record(3)
    async with forwarding("webhook", lambda *_: web.Response(**answer), feed, validate=True, **ORIGIN) as (loop, here):
        assert (await loop.upload()).problem == problem
    assert [method for method, *_ in here.requests] == ["OPTIONS"]
    assert (feed.through, feed.refused) == (0, {})


@pytest.mark.parametrize("rate", ["", "*", "0", "-1", "fast", "9" * 5000])
async def test_a_rate_that_is_none_is_no_limit(rate: str) -> None:
    feed = MemoryFeed()
    feed.record(3)
    how = permitting(Origin="*", Rate=rate)
    async with forwarding("webhook", how, feed, validate=True, max_events=1, **ORIGIN) as (loop, _):
        assert (await loop.upload()).problem == ""


async def test_no_more_requests_a_minute_are_made_than_it_agreed_to() -> None:
    feed = MemoryFeed()
    feed.record(3)
    how = permitting(Origin="*", Rate="600")
    async with forwarding("webhook", how, feed, validate=True, max_events=1, **ORIGIN) as (loop, _):
        began_s = time.monotonic()
        await loop.upload()
    assert time.monotonic() - began_s >= 0.2


# --- signatures (Standard Webhooks)


def test_a_signature_is_the_one_of_the_published_example() -> None:
    """The example that implementations of Standard Webhooks test themselves by."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def secret_file(folder: Path, text: str) -> str:
    (folder / "secret").write_text(text)
    return str(folder / "secret")


async def test_a_request_that_is_made_again_has_the_same_id_and_a_signature_that_holds(tmp_path: Path) -> None:
    feed = MemoryFeed()
    feed.record(5)
    path = secret_file(tmp_path, "whsec_" + base64.b64encode(SECRET).decode())
    async with forwarding("webhook", accept, feed, signing_secret_file=path) as (loop, here):
        here.answers.append(web.Response(status=502))
        await loop.upload()
        await loop.upload()
    (_, _, first, _), (_, _, again, body) = here.requests
    assert first["webhook-id"] == again["webhook-id"]
    signed = f"{again['webhook-id']}.{again['webhook-timestamp']}.".encode() + body
    mac = hmac.new(SECRET, signed, hashlib.sha256).digest()
    assert again["webhook-signature"] == f"v1,{base64.b64encode(mac).decode()}"
    assert abs(int(again["webhook-timestamp"]) - time.time()) < 60


@pytest.mark.parametrize("text", ["", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!!", "whpk_" + "A" * 44])
async def test_a_file_without_a_signing_secret_is_told(tmp_path: Path, text: str) -> None:
    made = WebhookSettings(url="https://hook.example.net/in", signing_secret_file=secret_file(tmp_path, text))
    with pytest.raises(CredentialsUnreadable, match="secret"):
        await asyncio.to_thread(Webhook, made, "site-1")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"validate": True}, "origin"),
        ({"origin": "https://meter.example.net"}, "origin"),
        ({"max_events": 0}, "max_events"),
        ({"token": "a", "token_file": "b"}, "token"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=said):
        msgspec.convert({"url": "https://hook.example.net/in", **wrong}, WebhookSettings)
