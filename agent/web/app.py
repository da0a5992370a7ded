"""The status page's server: routes and nothing else. What it shows is `page.py`'s, whom it lets in is `guard.py`'s.

Laws
- Every view draws the one Snapshot; the server keeps nothing of its own but the outcome of the last upload asked for.
- Reading a snapshot happens on a thread: it may wait for the disk, the agent may not.
"""

import asyncio
import sqlite3
import time
from collections.abc import Collection
from typing import Protocol

import msgspec
from aiohttp import web

from agent.config.semantics import split_listen
from agent.config.tables import Web
from agent.ledger.errors import LedgerError
from agent.ledger.snapshot import Snapshot
from agent.web.guard import guard
from agent.web.metrics import CONTENT_TYPE, exposition
from agent.web.page import UploadOutcome, render, trouble
from uplink.pages.assets import Assets

BODY_MAX_BYTES = 1024
"""No request needs a body; a form without fields has an empty one."""
OUTCOME_SHOWN_S = 60.0
"""How long the page without a script shows what came of an upload that was asked for."""
STOP_S = 2.0
"""How long a stop waits for answers that are under way; a page is made in milliseconds."""
ASSETS = Assets("agent.web", "page.css", "page.js")


class WebState(Protocol):
    """What the page needs of the agent."""

    def snapshot(self) -> Snapshot:
        """Blocking and quick; called on a thread. LedgerError, sqlite3.Error and OSError mean "not now"."""

    async def upload_now(self) -> UploadOutcome:
        """Upload what waits, and tell how it came out."""


class _LastOutcome:
    """The outcome of the upload last asked for, while it is new."""

    def __init__(self) -> None:
        self._outcome: UploadOutcome | None = None
        self._until = 0.0

    def keep(self, outcome: UploadOutcome) -> None:
        self._outcome, self._until = outcome, time.monotonic() + OUTCOME_SHOWN_S

    def recent(self) -> UploadOutcome | None:
        return self._outcome if time.monotonic() < self._until else None


STATE: web.AppKey[WebState] = web.AppKey("state")
OUTCOME: web.AppKey[_LastOutcome] = web.AppKey("outcome", _LastOutcome)


def make_app(state: WebState, hosts: Collection[str] = ()) -> web.Application:
    """The application. `hosts` are the names, besides loopback names and IP addresses, that it answers to."""
    app = web.Application(middlewares=[guard(hosts)], client_max_size=BODY_MAX_BYTES)
    app[STATE] = state
    app[OUTCOME] = _LastOutcome()
    app.add_routes(
        [
            web.get("/", _page),
            web.get("/api/status", _status),
            web.post("/api/upload", _upload),
            web.get("/metrics", _metrics),
            web.get("/healthz", _healthz),
            web.get("/assets/{name}", ASSETS.get),
        ]
    )
    return app


async def start(state: WebState, config: Web) -> web.AppRunner:
    """Serve the page at `config.listen` until the runner's `cleanup()`. Raises OSError where the port is taken."""
    host, port = split_listen(config.listen)
    runner = web.AppRunner(
        make_app(state, config.hosts), access_log=None, handle_signals=False, shutdown_timeout=STOP_S
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner


async def _snapshot(request: web.Request) -> Snapshot:
    """A ledger that cannot be read is told as such; it may be readable again in a second."""
    try:
        return await asyncio.to_thread(request.app[STATE].snapshot)
    except (LedgerError, sqlite3.Error, OSError) as error:
        text = f"The ledger cannot be read now: {error}. Collecting may go on all the same; try again in a moment."
        raise web.HTTPServiceUnavailable(text=trouble("No figures now", text), content_type="text/html") from error


async def _page(request: web.Request) -> web.Response:
    snapshot = await _snapshot(request)
    html = render(snapshot, snapshot.taken_at_ms, request.app[OUTCOME].recent(), ASSETS.tag)
    return web.Response(text=html, content_type="text/html")


async def _status(request: web.Request) -> web.Response:
    return web.Response(body=msgspec.json.encode(await _snapshot(request)), content_type="application/json")


async def _metrics(request: web.Request) -> web.Response:
    text = exposition(await _snapshot(request))
    return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})


async def _healthz(request: web.Request) -> web.Response:
    """200 while the agent runs and reads its ledger; the word is the verdict's. A platform that is down is no reason
    to restart the agent, so it does not change the status."""
    return web.Response(text=(await _snapshot(request)).health + "\n")


async def _upload(request: web.Request) -> web.Response:
    """A script gets the outcome as JSON; a plain form is led back to the page, which shows it."""
    outcome = await request.app[STATE].upload_now()
    if "text/html" in request.headers.get("Accept", ""):
        request.app[OUTCOME].keep(outcome)
        raise web.HTTPSeeOther("/#upload")
    return web.Response(body=msgspec.json.encode(outcome), content_type="application/json")
