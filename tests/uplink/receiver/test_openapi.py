"""`openapi.json`: it names every route, real answers are as it says, and requests drawn from it find no fault."""

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from openapi_core.protocols import Response

from tests.uplink.platform import AUTHORIZATION, TOKEN, TOKENS, receiver_at
from tests.uplink.receiver.batches import TEN, batch_of, events, post
from uplink.receiver.app import make_app
from uplink.receiver.gate import Gate
from uplink.receiver.limits import Limits
from uplink.receiver.problems import CODES
from uplink.receiver.serve import RunningReceiver
from uplink.receiver.storage.sqlite import SqliteStore

DOCUMENT: dict[str, Any] = json.loads(files("uplink.receiver").joinpath("openapi.json").read_bytes())
FUZZ_EXAMPLES = 12


class Asked:
    """A request as openapi-core wants to see it."""

    def __init__(self, receiver: RunningReceiver, method: str, path: str) -> None:
        self.host_url = receiver.url
        self.path = path
        self.path_pattern = None
        self.method = method
        self.parameters = RequestParameters()
        self.content_type = ""
        self.body = b""


class Answered(Response):
    def __init__(self, status: int, content_type: str, data: bytes, headers: dict[str, str]) -> None:
        self._given = status, content_type.partition(";")[0], data, headers

    @property
    def status_code(self) -> int:
        return self._given[0]

    @property
    def content_type(self) -> str:
        return self._given[1]

    @property
    def data(self) -> bytes:
        return self._given[2]

    @property
    def headers(self) -> dict[str, str]:
        return self._given[3]


def described(document: dict[str, Any]) -> OpenAPI:
    return OpenAPI.from_dict(
        document, config=Config(extra_media_type_deserializers={"application/problem+json": json.loads})
    )


@pytest.fixture
async def receiver(tmp_path: Path) -> AsyncIterator[RunningReceiver]:
    async with receiver_at(tmp_path) as running:
        mixed = [*TEN[:8], b'{"no":"event"}', *events("e-1", 10, 10, type="electricity")]
        await post(running, batch_of(mixed, 1, 10), **{"Meter-Agent": 'version="1.0"'})
        await post(running, batch_of(events("e-2", 1, 3), 1, 3, epoch="e-2"))
        yield running


async def test_it_names_every_route_of_the_receiver_and_no_other(tmp_path: Path) -> None:
    store = await SqliteStore.open(str(tmp_path / "r.db"))
    app = make_app(store, TOKENS, lambda: 0, Gate(Limits()))
    routes = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
        if re.match(r"/v1/|/healthz\Z|/metrics\Z", route.resource.canonical)
    }
    await store.close()
    documented = {(method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert documented == routes


ASKED = (
    "/v1/sites",
    "/v1/sites?limit=1",
    "/v1/gaps",
    "/v1/totals",
    "/v1/totals?by=site,day",
    "/v1/sites/site-1",
    "/v1/sites/nobody",
    "/v1/sites/site-1/totals?by=day",
    "/v1/sites/site-1/receipts",
    "/v1/sites/site-1/events",
    "/v1/openapi.json",
    "/v1/keys",
    "/v1/forwards",
    "/v1/forwards/none/refused",
    "/healthz",
    "/metrics",
    "/v1/sites?limit=0",
    "/v1/totals?by=hour",
)


@pytest.mark.parametrize("path", ASKED)
async def test_real_answers_are_as_it_says(receiver: RunningReceiver, path: str) -> None:
    api = described(DOCUMENT)
    async with aiohttp.ClientSession(headers=AUTHORIZATION) as session, session.get(receiver.url + path) as response:
        given = Answered(
            response.status, response.headers["Content-Type"], await response.read(), dict(response.headers)
        )
    assert given.status_code in (200, 400, 404)
    api.validate_response(Asked(receiver, "get", path.partition("?")[0]), given)


async def test_an_acknowledgement_and_a_refusal_are_as_it_says(receiver: RunningReceiver) -> None:
    api = described(DOCUMENT)
    for first, last, expected in ((1, 10, 409), (11, 10, 409), (20, 22, 409)):
        history = events("e-1", 1, 30)
        status, document = await post(receiver, batch_of(history, first, last))
        assert status == expected
        assert document["code"] in CODES
        answer = Answered(status, "application/problem+json", json.dumps(document).encode(), {})
        api.validate_response(Asked(receiver, "post", "/v1/sites/site-1/batches"), answer)
    status, document = await post(receiver, batch_of(events("e-2", 1, 4), 2, 4, epoch="e-2"))
    assert (status, document["acked_through"]) == (200, 4)
    answer = Answered(status, "application/json", json.dumps(document).encode(), {})
    api.validate_response(Asked(receiver, "post", "/v1/sites/site-1/batches"), answer)


def test_a_document_that_says_something_else_is_noticed() -> None:
    """The check above does catch something."""
    wrong = json.loads(json.dumps(DOCUMENT))
    wrong["components"]["schemas"]["Problem"]["required"].append("never")

    class At:
        url = "http://127.0.0.1:1"

    answer = Answered(400, "application/problem+json", b'{"title":"","status":400,"code":"bad_query","detail":""}', {})
    with pytest.raises(Exception, match="Invalid"):
        described(wrong).validate_response(Asked(At(), "get", "/v1/sites"), answer)  # type: ignore[arg-type]


async def test_requests_drawn_from_it_find_no_fault(receiver: RunningReceiver, tmp_path: Path) -> None:
    """schemathesis: no 5xx, no answer that is not described, nothing accepted that the document forbids."""
    command = [
        str(Path(sys.executable).parent / "schemathesis"),
        "run",
        f"{receiver.url}/v1/openapi.json",
        f"--url={receiver.url}",
        f"--header=Authorization: Bearer {TOKEN}",
        f"--max-examples={FUZZ_EXAMPLES}",
        "--phases=examples,coverage,fuzzing",
        "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
        "negative_data_rejection,unsupported_method,use_after_free",
        "--suppress-health-check=all",
        "--no-color",
        "--seed=7",
    ]
    done = await asyncio.to_thread(subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
