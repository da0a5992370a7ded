"""What admins change: what a site is to send again, and whose key may report. Who may, who may not, and what is noted."""

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.uplink.receiver.batches import batch_of, events, post
from tests.uplink.receiver.fleet.fleets import hire, receiving, sight, sighting
from tests.uplink.receiver.fleet.test_app import form_key, get, log_in
from tests.uplink.receiver.fleet.test_site import rows
from uplink.receiver import agents
from uplink.receiver.acts import of_site
from uplink.receiver.agents import AgentKey, State
from uplink.receiver.fleet.operators import Role
from uplink.receiver.serve import RunningReceiver
from uplink.status import AgentStatus

PAGE = "/fleet/sites/site-1"


@asynccontextmanager
async def browsing(
    folder: Path, role: Role = "admin", keys: Iterable[AgentKey] = ()
) -> AsyncIterator[tuple[RunningReceiver, aiohttp.ClientSession]]:
    """Ten events of site-1 are here, and these keys; an operator is logged in."""
    async with receiving(folder) as receiver:
        await hire(receiver.store, role=role)
        await post(receiver, batch_of(events("e-1", 1, 10), 1, 3))
        await post(receiver, batch_of(events("e-1", 1, 10), 4, 10))
        for key in keys:
            await receiver.store.put(agents.KIND, key.key, msgspec.json.encode(key))
        async with aiohttp.ClientSession(receiver.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            await log_in(browser)
            yield receiver, browser


async def send(browser: aiohttp.ClientSession, path: str, **fields: str) -> tuple[int, str]:
    """By a form of the session."""
    _, page = await get(browser, PAGE)
    async with browser.post(path, data={"form_key": form_key(page)} | fields, allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", "") or await answer.text()


def agent(key: str, site: str = "site-1", state: State = "active") -> AgentKey:
    return AgentKey(
        key=key, agent="a", site=site, provider="p", public=b"", state=state, machine=f"<{key}>", enrolled_ms=5
    )


async def noted(receiver: RunningReceiver) -> list[tuple[str, str, str]]:
    return [(each.who, each.what, each.detail) for each in await of_site(receiver.store, "site-1", 9)]


async def test_an_admin_asks_a_site_to_send_again_and_withdraws_it(tmp_path: Path) -> None:
    async with browsing(tmp_path) as (receiver, browser):
        again = {"epoch": "e-1", "from": "5"}
        assert await send(browser, f"{PAGE}/resend", **again) == (303, f"{PAGE}#again")
        _, page = await get(browser, PAGE)
        assert "events from 4 of <code>e-1</code> on." in page
        status, answer = await post(receiver, batch_of(events("e-1", 1, 12), 11, 12))
        assert (status, answer["hints"]["replay_from"]) == (200, 4)
        assert await send(browser, f"{PAGE}/resend/withdraw") == (303, f"{PAGE}#again")
        _, page = await get(browser, PAGE)
        assert "Ask the site" in page
        assert await noted(receiver) == [("ada", "resend_withdrawn", ""), ("ada", "resend", "from 5 of e-1")]
        assert "withdrew what was to be sent again" in page


@pytest.mark.parametrize(
    "fields",
    [
        {"epoch": "e-1", "from": "11"},
        {"epoch": "e-2", "from": "1"},
        {"from": "1"},
        *({"epoch": "e-1", "from": text} for text in ("", "0", "x", "-1", "1.5", "9" * 16)),
    ],
    ids=str,
)
async def test_what_is_not_here_is_not_asked_for(tmp_path: Path, fields: dict[str, str]) -> None:
    async with browsing(tmp_path) as (receiver, browser):
        status, page = await send(browser, f"{PAGE}/resend", **fields)
        assert (status, "Not asked" in page) == (400, True)
        assert await noted(receiver) == []


async def test_a_key_is_revoked_after_one_is_asked_once_more(tmp_path: Path) -> None:
    async with browsing(tmp_path, keys=[agent("k-2", state="retired"), agent("k-1")]) as (receiver, browser):
        _, page = await get(browser, PAGE)
        table = [row for row in rows(page) if row[0].startswith("k-")]
        assert [row[:3] for row in table] == [["k-1", "in use", "&lt;k-1&gt;"], ["k-2", "replaced", "&lt;k-2&gt;"]]
        assert f'href="{PAGE}/keys/k-1/revoke"' in page
        assert f'href="{PAGE}/keys/k-2/revoke"' not in page
        status, question = await get(browser, f"{PAGE}/keys/k-1/revoke")
        assert (status, "Revoke this key of site-1?" in question) == (200, True)
        key = await receiver.store.get(agents.KIND, "k-1")
        assert key is not None
        assert b'"active"' in key.body
        for _ in range(2):
            assert await send(browser, f"{PAGE}/keys/k-1/revoke") == (303, f"{PAGE}#keys")
        key = await receiver.store.get(agents.KIND, "k-1")
        assert key is not None
        assert b'"revoked"' in key.body
        assert await noted(receiver) == [("ada", "revoke", "k-1")]


async def test_another_key_is_asked_for_once(tmp_path: Path) -> None:
    async with browsing(tmp_path, keys=[agent("k-1"), agent("k-2", state="retired")]) as (receiver, browser):
        for _ in range(2):
            assert await send(browser, f"{PAGE}/keys/k-1/rotate") == (303, f"{PAGE}#keys")
        assert (await send(browser, f"{PAGE}/keys/k-2/rotate"))[0] == 400
        _, page = await get(browser, PAGE)
        assert "another is asked for since" in page
        assert "Ask for another" not in page
        assert await noted(receiver) == [("ada", "rotate", "k-1")]


async def test_the_key_of_another_site_is_none_here(tmp_path: Path) -> None:
    async with browsing(tmp_path, keys=[agent("k-9", site="site-9")]) as (receiver, browser):
        await sight(receiver.store, sighting("site-9", 1))
        assert (await get(browser, f"{PAGE}/keys/k-9/revoke"))[0] == 404
        assert (await send(browser, f"{PAGE}/keys/k-9/revoke"))[0] == 404
        assert (await send(browser, f"{PAGE}/keys/nothing/revoke"))[0] == 404
        assert (await send(browser, "/fleet/sites/nobody/resend", epoch="e-1", **{"from": "1"}))[0] == 404


def deeds() -> Iterator[tuple[str, dict[str, str]]]:
    yield f"{PAGE}/name", {"name": "x"}
    yield f"{PAGE}/resend", {"epoch": "e-1", "from": "1"}
    yield f"{PAGE}/resend/withdraw", {"nothing": ""}
    yield f"{PAGE}/keys/k-1/revoke", {"nothing": ""}
    yield f"{PAGE}/keys/k-1/rotate", {"nothing": ""}


async def test_a_viewer_changes_nothing_and_is_not_shown_how(tmp_path: Path) -> None:
    async with browsing(tmp_path, "viewer", [agent("k-1")]) as (receiver, browser):
        _, page = await get(browser, PAGE)
        assert forms(page) == ["/fleet/logout"]
        assert "revoke" not in page
        assert (await get(browser, f"{PAGE}/keys/k-1/revoke"))[0] == 403
        for path, fields in deeds():
            assert (await send(browser, path, **fields))[0] == 403, path
        assert await noted(receiver) == []


def forms(page: str) -> list[str]:
    return [part.partition('"')[0] for part in page.split('method="post" action="')[1:]]


async def test_nothing_is_changed_without_the_sessions_own_form(tmp_path: Path) -> None:
    async with browsing(tmp_path, keys=[agent("k-1")]) as (receiver, browser):
        _, page = await get(browser, PAGE)
        for path, fields in deeds():
            for sent, headers in (
                (fields, {}),
                (fields | {"form_key": "0" * 64}, {}),
                (fields | {"form_key": form_key(page)}, {"Sec-Fetch-Site": "cross-site"}),
            ):
                async with browser.post(path, data=sent, headers=headers, allow_redirects=False) as answer:
                    assert answer.status == 403, path
        assert await noted(receiver) == []


async def test_a_sites_page_tells_by_which_key_it_spoke_last(tmp_path: Path) -> None:
    async with browsing(tmp_path, keys=[agent("k-1")]) as (receiver, browser):
        now_ms = time.time_ns() // 1_000_000
        await sight(receiver.store, sighting("site-1", now_ms - 7_000, by="k-1"))
        _, page = await get(browser, PAGE)
        (row,) = [row for row in rows(page) if row[0] == "k-1"]
        assert row[4].endswith("s ago")
        assert "key <code>k-1</code>" in page
        await sight(receiver.store, sighting("site-1", now_ms, by="certificate"))
        assert "a client certificate" in (await get(browser, PAGE))[1]


async def test_problems_lead_to_their_meaning(tmp_path: Path) -> None:
    status = AgentStatus(version="0.2.0", problems=("dns", "from_tomorrow"))
    async with receiving(tmp_path) as receiver:
        await hire(receiver.store)
        await sight(receiver.store, sighting("sick", time.time_ns() // 1_000_000, status=status))
        async with aiohttp.ClientSession(receiver.url, cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            await log_in(browser)
            _, listed = await get(browser, "/fleet?problem=dns")
            assert [row[0] for row in rows(listed)[1:]] == ["sick"]
            assert '<a href="/fleet/problems#dns"' in listed
            assert "from tomorrow" in listed
            _, page = await get(browser, "/fleet/problems")
    assert '<tr id="dns">' in page
    first, second = rows(page.replace(' id="dns"', "").replace(' id="from_tomorrow"', ""))[1:3]
    assert first[:3] == ["dns Error, dns", "1", "The platform&#39;s name cannot be resolved."]
    assert second[:3] == ["from tomorrow Notice, from_tomorrow", "1", "Not known to this version of the receiver."]
