"""The status page of a running agent in a real browser: what it shows is what its ledger holds, and its button uploads to a
real receiver. Agent and receiver are processes of their own; the ledger is read by plain SQL."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import Struct
from playwright.async_api import Page

from tests.agent.cli.commands import SITE, free_port, running, wait_for_page
from tests.browser.conftest import OpenPage, Watched

pytestmark = pytest.mark.browser

CALLS = 7
ANSWERED = 5
TALK_S = 61
"""Two minutes a call at 60/60."""
WAIT_S = 30


class Place(Struct, frozen=True):
    port: int
    ledger: Path
    store: Path


def cdr_rows() -> str:
    """Calls of the last two minutes."""
    now = datetime.now(UTC).replace(microsecond=0)
    lines = []
    for number in range(CALLS):
        answered = number < ANSWERED
        end = now - timedelta(seconds=20 + number)
        start = end - timedelta(seconds=5 + TALK_S)
        answer = f'"{start + timedelta(seconds=5):%Y-%m-%d %H:%M:%S}"' if answered else ""
        unique = f"{int(start.timestamp())}.{number}"
        lines.append(
            f'"","10{number}","110","office","""Desk"" <10{number}>","PJSIP/10{number}-0000000{number}",'
            f'"PJSIP/110-0000001{number}","Dial","PJSIP/110,20","{start:%Y-%m-%d %H:%M:%S}",{answer},'
            f'"{end:%Y-%m-%d %H:%M:%S}",{5 + TALK_S},{TALK_S if answered else 0},'
            f'"{"ANSWERED" if answered else "NO ANSWER"}","DOCUMENTATION","{unique}","","","{unique}",{number}'
        )
    return "\n".join(lines) + "\n"


def site_at_noon() -> str:
    """The site in a zone where it is about noon now, so that all calls are of today."""
    ahead = 12 - datetime.now(UTC).hour
    return SITE.replace("Europe/Berlin", f"Etc/GMT{-ahead:+d}")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    (tmp_path / "token").write_text("a-token\n")
    (tmp_path / "Master.csv").write_text(cdr_rows())
    store, port = tmp_path / "receiver.db", free_port()
    options = ("--listen", "127.0.0.1:0", "--store", store, "--token-file", tmp_path / "token")
    with running("receiver", *options) as receiver:
        assert receiver.stdout is not None
        url = receiver.stdout.readline().removeprefix("receiving at ").strip()
        config = tmp_path / "pegcount.toml"
        config.write_text(
            site_at_noon()
            + f'[ledger]\npath = "{tmp_path}/ledger.db"\n[web]\nlisten = "127.0.0.1:{port}"\n'
            + f'[uplink]\nurl = "{url}"\ntoken_file = "{tmp_path}/token"\ninterval_s = 86400\njitter_s = 86400\n'
            + f'[[source]]\nname = "pbx"\nkind = "asterisk_cdr"\npath = "{tmp_path}/Master.csv"\ntimezone = "UTC"\n'
        )
        with running("run", "--config", config) as agent:
            wait_for_page(port, agent)
            yield Place(port, tmp_path / "ledger.db", store)


def ask(path: Path, question: str) -> list[tuple[object, ...]]:
    conn = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return conn.execute(question).fetchall()
    finally:
        conn.close()


async def until_metered(place: Place) -> int:
    """Events in the ledger when all calls have settled."""
    deadline = time.monotonic() + WAIT_S
    while ask(place.ledger, "SELECT count(*) FROM call") != [(CALLS,)]:
        assert time.monotonic() < deadline, ask(place.ledger, "SELECT count(*) FROM leg")
        await asyncio.sleep(0.2)
    ((events,),) = ask(place.ledger, "SELECT count(*) FROM event")
    assert isinstance(events, int)
    return events


async def figures(page: Page) -> dict[str, str]:
    """What the page shows, by the name beside it."""
    shown = await page.eval_on_selector_all(
        "dl div, ol.stages li",
        """all => all.map(one => one.matches("li")
             ? [one.querySelector(".label").innerText, one.querySelector(".figure").innerText]
             : [one.querySelector("dt").innerText, one.querySelector("dd").innerText])""",
    )
    return {name: " ".join(value.split()) for name, value in shown}


async def test_the_page_shows_the_ledgers_figures_and_its_button_uploads(place: Place, open_page: OpenPage) -> None:
    events = await until_metered(place)
    watched = await open_page(f"http://127.0.0.1:{place.port}/")
    shown = await figures(watched.page)
    assert shown["Calls"] == str(CALLS)
    assert shown["Answered"].split()[0] == str(ANSWERED)
    assert shown["Billed minutes"] == f"{ANSWERED * 2} min"
    assert shown["Seats"] == str(CALLS + 1)
    assert (shown["Heard"], shown["Metered"], shown["Acknowledged"]) == (str(CALLS), str(events), "0")
    assert shown["Waiting"].startswith(str(events))
    assert ask(place.store, "SELECT count(*) FROM event") == [(0,)]

    await watched.page.get_by_role("button", name="Upload now").click()
    await watched.page.get_by_text(f"{events} events were acknowledged.").wait_for(timeout=WAIT_S * 1000)
    assert ask(place.store, "SELECT count(*) FROM event") == [(events,)]
    await until_shown(watched, "Acknowledged", str(events))
    assert (await figures(watched.page))["Waiting"] == "nothing"
    assert await watched.all_complaints() == []


async def until_shown(watched: Watched, name: str, value: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while (shown := (await figures(watched.page))[name]) != value:
        assert time.monotonic() < deadline, f"{name} is {shown}"
        await asyncio.sleep(0.2)


async def test_the_status_api_tells_the_same(place: Place, open_page: OpenPage) -> None:
    events = await until_metered(place)
    watched = await open_page(f"http://127.0.0.1:{place.port}/api/status")
    snapshot = json.loads(await watched.page.inner_text("body"))
    minutes = ask(place.ledger, "SELECT sum(billed_s) / 60 FROM call")
    assert [(int(snapshot["today"]["minutes"]),)] == minutes == [(ANSWERED * 2,)]
    assert snapshot["pipeline"]["events"] == events == snapshot["uplinks"][0]["backlog"]
