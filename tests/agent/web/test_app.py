"""The server on a real loopback socket: what it answers, and whom it refuses."""

import json
import sqlite3
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import pytest

from agent.config import Web
from agent.ledger.snapshot import Snapshot
from agent.web.app import WebState, start
from agent.web.page import UploadOutcome
from tests.agent.web.snapshots import BUSY

HTML = {"Accept": "text/html"}


class Office:
    """A WebState with a snapshot of its own and a count of the uploads asked for."""

    def __init__(self) -> None:
        self.uploads = 0
        self.error: Exception | None = None

    def snapshot(self) -> Snapshot:
        if self.error:
            raise self.error
        return BUSY

    async def upload_now(self) -> UploadOutcome:
        self.uploads += 1
        return UploadOutcome("42 events were sent.", True)


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
async def base(office: Office) -> AsyncIterator[str]:
    state: WebState = office
    runner = await start(state, Web(listen="127.0.0.1:0", hosts=("pbx.example.org",)))
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def client(base: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(base) as session:
        yield session


async def test_the_page_comes_with_a_strict_policy(client: aiohttp.ClientSession) -> None:
    async with client.get("/") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Security-Policy"] == (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
            "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_the_status_is_the_whole_snapshot(client: aiohttp.ClientSession) -> None:
    async with client.get("/api/status") as answer:
        assert msgspec.json.decode(await answer.read(), type=Snapshot) == BUSY
        assert answer.content_type == "application/json"


async def test_metrics_and_health(client: aiohttp.ClientSession) -> None:
    async with client.get("/metrics") as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "pegcount_events_total 1942\n" in await answer.text()
    async with client.get("/healthz") as answer:
        assert (answer.status, await answer.text()) == (200, "ok\n")


@pytest.mark.parametrize(
    ("name", "kind"), [("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")]
)
async def test_assets_come_from_the_agent_itself(client: aiohttp.ClientSession, name: str, kind: str) -> None:
    async with client.get(f"/assets/{name}") as answer:
        assert (answer.status, answer.content_type) == (200, kind)
        assert "http://" not in (await answer.text()).replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize("path", ["/assets/../app.py", "/assets/%2e%2e/app.py", "/assets/app.py", "/nothing"])
async def test_nothing_else_is_served(client: aiohttp.ClientSession, path: str) -> None:
    async with client.get(path) as answer:
        assert answer.status == 404
        assert "Content-Security-Policy" in answer.headers


async def test_a_script_gets_the_outcome_as_json(client: aiohttp.ClientSession, office: Office) -> None:
    async with client.post("/api/upload") as answer:
        assert json.loads(await answer.text()) == {"text": "42 events were sent.", "ok": True}
    assert office.uploads == 1


async def test_a_form_is_led_back_to_the_page_that_tells_the_outcome(
    client: aiohttp.ClientSession, office: Office
) -> None:
    async with client.post("/api/upload", headers=HTML, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/#upload")
    async with client.get("/") as answer:
        assert "42 events were sent." in await answer.text()


@pytest.mark.parametrize("host", ["127.0.0.1:9000", "localhost:9000", "[::1]:80", "pbx.example.org", "192.0.2.1"])
async def test_names_that_no_stranger_can_choose_are_answered(client: aiohttp.ClientSession, host: str) -> None:
    async with client.get("/", headers={"Host": host}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8042", "", "[::1"])
async def test_other_names_are_refused_for_they_may_be_rebound(client: aiohttp.ClientSession, host: str) -> None:
    for path in ("/", "/api/status", "/metrics"):
        async with client.get(path, headers={"Host": host}) as answer:
            assert answer.status == 403
            assert "[web] hosts" in await answer.text()


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
async def test_another_sites_form_uploads_nothing(
    client: aiohttp.ClientSession, office: Office, headers: dict[str, str]
) -> None:
    async with client.post("/api/upload", headers=headers) as answer:
        assert answer.status == 403
        assert "another web site" in await answer.text()
    assert office.uploads == 0


async def test_the_pages_own_form_uploads(client: aiohttp.ClientSession, office: Office, base: str) -> None:
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Origin": base}):
        async with client.post("/api/upload", headers=headers) as answer:
            assert answer.status == 200
    assert office.uploads == 2


async def test_uploading_needs_a_post(client: aiohttp.ClientSession, office: Office) -> None:
    async with client.get("/api/upload") as answer:
        assert answer.status == 405
    assert office.uploads == 0


async def test_a_ledger_that_cannot_be_read_is_told(client: aiohttp.ClientSession, office: Office) -> None:
    office.error = sqlite3.OperationalError("disk I/O error")
    async with client.get("/") as answer:
        assert answer.status == 503
        assert "disk I/O error" in await answer.text()
        assert "Content-Security-Policy" in answer.headers
    office.error = None
    async with client.get("/") as answer:
        assert answer.status == 200


async def test_a_port_that_is_taken_is_an_oserror(base: str, office: Office) -> None:
    with pytest.raises(OSError, match="address already in use"):
        await start(office, Web(listen=base.removeprefix("http://")))
