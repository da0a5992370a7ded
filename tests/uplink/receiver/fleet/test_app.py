"""The fleet over HTTP: who is let in, who is not, and what every answer carries."""

import asyncio
import re
import time
from pathlib import Path

import aiohttp
import pytest

from tests.uplink.platform import AUTHORIZATION
from tests.uplink.receiver.fleet.fleets import PASSWORD, hire, receiving, sight, sighting
from uplink.receiver.fleet.attempts import PER_ADDRESS, PER_NAME
from uplink.receiver.proxies import LOOPBACK
from uplink.receiver.serve import RunningReceiver


async def log_in(browser: aiohttp.ClientSession, password: str = PASSWORD, **fields: str) -> tuple[int, str]:
    async with browser.post(
        "/fleet/login", data={"name": "ada", "password": password} | fields, allow_redirects=False
    ) as answer:
        return answer.status, answer.headers.get("Location", "") or await answer.text()


async def get(browser: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with browser.get(path, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", "") or await answer.text()


def form_key(text: str) -> str:
    found = re.search(r'name="form_key" value="([0-9a-f]+)"', text)
    assert found is not None
    return found[1]


async def test_nobody_sees_a_site_without_a_login(browser: aiohttp.ClientSession) -> None:
    assert await get(browser, "/") == (302, "/fleet")
    assert await get(browser, "/fleet") == (303, "/fleet/login")
    assert await get(browser, "/fleet?q=a") == (303, "/fleet/login?onward=/fleet?q%3Da")


async def test_an_agents_token_opens_nothing_here(receiver: RunningReceiver) -> None:
    async with aiohttp.ClientSession(receiver.url, headers=AUTHORIZATION) as session:
        assert (await get(session, "/fleet"))[0] == 303


async def test_who_logs_in_sees_all_sites_with_their_verdicts(
    browser: aiohttp.ClientSession, receiver: RunningReceiver
) -> None:
    now_ms = time.time_ns() // 1_000_000
    await sight(receiver.store, sighting("berlin", now_ms), sighting("<oslo>", now_ms - 7_200_000))
    assert await log_in(browser) == (303, "/fleet")
    status, text = await get(browser, "/fleet")
    assert status == 200
    assert "berlin" in text
    assert "&lt;oslo&gt;" in text
    assert "<oslo>" not in text
    assert "Silent for 2 h." in text
    assert (await get(browser, "/fleet?page=x"))[0] == 400
    assert (await get(browser, "/fleet?order=x"))[0] == 400
    assert (await get(browser, "/fleet/nothing"))[0] == 404
    assert await get(browser, "/fleet/login") == (303, "/fleet")


async def test_logins_and_attempts_are_in_the_log(
    browser: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "uplink.receiver.fleet"):
        await log_in(browser, "not the password", name="e\nve")
        await log_in(browser)
    assert [each.getMessage() for each in caplog.records] == [
        "a login as 'e\\nve' from '127.0.0.1' failed",
        "operator ada logged in from '127.0.0.1'",
    ]
    assert PASSWORD not in caplog.text


async def test_a_wrong_name_and_a_wrong_password_are_told_alike(browser: aiohttp.ClientSession) -> None:
    status, text = await log_in(browser, "not the password")
    other_status, other = await log_in(browser, name="eve")
    assert status == other_status == 403
    assert "Name or password is wrong." in text
    without_time = [re.sub("<time.*</time>", "", each) for each in (text, other.replace('"eve"', '"ada"'))]
    assert without_time[0] == without_time[1]


@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example", "/v1/sites", "/fleet/../x", "/fleetx"])
async def test_a_login_leads_to_the_fleet_only(browser: aiohttp.ClientSession, where: str) -> None:
    assert await log_in(browser, onward=where) == (303, "/fleet")


async def test_a_login_leads_on_to_what_was_wanted(browser: aiohttp.ClientSession) -> None:
    assert await log_in(browser, onward="/fleet?q=a") == (303, "/fleet?q=a")


async def test_one_address_has_so_many_attempts(
    browser: aiohttp.ClientSession, receiver: RunningReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uplink.receiver.fleet.operators.is_password", lambda _kept, password: password == PASSWORD)
    answers = [(await log_in(browser, "wrong", name=f"name{n}"))[0] for n in range(PER_ADDRESS + 2)]
    assert answers == [403] * PER_ADDRESS + [429] * 2
    assert (await log_in(browser))[0] == 429


async def test_one_name_has_so_many_attempts_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy says who asks; what a client writes before that does not count."""
    monkeypatch.setattr("uplink.receiver.fleet.operators.is_password", lambda _kept, password: password == PASSWORD)
    async with receiving(tmp_path, proxies=LOOPBACK) as running, aiohttp.ClientSession(running.url) as session:
        answers = []
        for number in range(PER_NAME + 1):
            headers = {"X-Forwarded-For": f"203.0.113.9, 198.51.100.{number}"}
            data = {"name": "ada", "password": "wrong"}
            async with session.post("/fleet/login", data=data, headers=headers) as answer:
                answers.append(answer.status)
    assert answers == [403] * PER_NAME + [429]


async def test_a_flood_of_attempts_is_turned_away_before_it_costs(browser: aiohttp.ClientSession) -> None:
    """All at once: none gets more than its attempts, and the receiver answers others meanwhile."""
    flood = asyncio.gather(*(log_in(browser, "wrong password") for _ in range(40)))
    assert (await get(browser, "/healthz"))[0] == 200
    answers = [status for status, _ in await flood]
    assert answers.count(403) + answers.count(503) == PER_ADDRESS
    _, metrics = await get(browser, "/metrics")
    assert f'pegcount_receiver_logins_total{{outcome="wrong"}} {answers.count(403)}\n' in metrics
    assert f'pegcount_receiver_logins_total{{outcome="busy"}} {answers.count(503)}\n' in metrics
    assert f'pegcount_receiver_logins_total{{outcome="throttled"}} {answers.count(429)}\n' in metrics
    assert answers.count(429) == 40 - PER_ADDRESS


async def test_the_cookie_is_for_this_host_and_no_script(tmp_path: Path) -> None:
    async with receiving(tmp_path, proxies=LOOPBACK) as running:
        await hire(running.store)
        async with (
            aiohttp.ClientSession(running.url) as session,
            session.post("/fleet/login", data={"name": "ada", "password": PASSWORD}, allow_redirects=False) as answer,
        ):
            cookie = answer.headers["Set-Cookie"]
    name, _, rest = cookie.partition("=")
    assert name == "__Host-pegcount"
    assert set(rest.split("; ")[1:]) == {"HttpOnly", "Max-Age=43200", "Path=/", "SameSite=Strict", "Secure"}


async def test_logging_out_ends_the_session_for_a_stolen_cookie_as_well(browser: aiohttp.ClientSession) -> None:
    await log_in(browser)
    _, text = await get(browser, "/fleet")
    stolen = {each.key: each.value for each in browser.cookie_jar}
    async with browser.post("/fleet/logout", data={"form_key": "0" * 64}) as refused:
        assert refused.status == 403
    assert (await get(browser, "/fleet"))[0] == 200
    async with browser.post("/fleet/logout", data={"form_key": form_key(text)}, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "/fleet/login")
    async with browser.get("/fleet", cookies=stolen, allow_redirects=False) as later:
        assert later.status == 303


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}])
async def test_a_form_that_another_site_sends_is_refused(
    browser: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    async with browser.post("/fleet/login", data={"name": "ada", "password": PASSWORD}, headers=headers) as answer:
        assert answer.status == 403
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"json": {"name": "ada"}}, 415),
        ({"data": {"name": "a" * 5000}}, 413),
        ({"data": {f"f{n}": "1" for n in range(20)}}, 400),
        ({"data": b"name=%ff", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400),
        ({"data": b"name=\xff", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 400),
    ],
)
async def test_what_is_no_form_is_refused(browser: aiohttp.ClientSession, sent: dict[str, object], status: int) -> None:
    async with browser.post("/fleet/login", **sent) as answer:  # type: ignore[arg-type]
        assert answer.status == status
        assert answer.content_type == "text/html"


async def test_every_answer_carries_the_policy(browser: aiohttp.ClientSession) -> None:
    for path in (
        "/fleet",
        "/fleet/login",
        "/fleet/nothing",
        "/fleet/assets/fleet.css",
        "/fleet/assets/x",
        "/fleet?page=x",
    ):
        async with browser.get(path, allow_redirects=False) as answer:
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"], path
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Cache-Control"] in ("no-store", "no-cache")


async def test_who_is_logged_in_reads_what_a_reading_token_reads(
    browser: aiohttp.ClientSession, receiver: RunningReceiver
) -> None:
    paths = ("/v1/sites", "/v1/sites/a", "/v1/sites/a/totals", "/v1/sites/a/events", "/v1/totals", "/v1/gaps")
    assert [(await get(browser, path))[0] for path in paths] == [401] * len(paths)
    await log_in(browser)
    assert [(await get(browser, path))[0] for path in paths] == [200] * len(paths)
    async with browser.get("/v1/sites", headers={"Authorization": "Bearer wrong"}) as answer:
        assert answer.status == 401
    async with browser.post("/v1/sites/a/replay", json={"epoch": "e-1", "from": 1}) as answer:
        assert answer.status == 401


async def test_an_address_of_ipv6_is_its_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider gives a customer 2^64 addresses: they have one allowance of attempts."""
    monkeypatch.setattr("uplink.receiver.fleet.operators.is_password", lambda _kept, _password: False)
    async with receiving(tmp_path, proxies=LOOPBACK) as running, aiohttp.ClientSession(running.url) as session:
        answers = []
        for number in range(PER_ADDRESS + 1):
            headers = {"X-Forwarded-For": f"2001:db8::{number + 1:x}"}
            async with session.post("/fleet/login", data={"name": f"n{number}"}, headers=headers) as answer:
                answers.append(answer.status)
    assert answers == [403] * PER_ADDRESS + [429]
