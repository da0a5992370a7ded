"""A stand-in for a platform that cannot be had here: it takes requests as its published API says, knows events by their ids,
and can be told to answer otherwise. What it accepts is judged elsewhere, by the platform's own API file."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import msgspec
from aiohttp import web

from tests.uplink.feed import MemoryFeed
from tests.uplink.platform import Clock
from uplink.destinations import TAKERS
from uplink.forwarder import Forwarder

Accept = Callable[["StandIn", bytes], web.Response]
"""What it does with a request."""


class StandIn:
    """`requests`: (method, path, headers, body) as they came. `answers`: what to say to the next ones instead."""

    def __init__(self, accept: Accept) -> None:
        self.accept = accept
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers: list[web.Response] = []
        self.events: dict[str, dict[str, Any]] = {}
        self.url = ""

    async def talk(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((request.method, request.path, headers, body))
        return self.answers.pop(0) if self.answers else self.accept(self, body)

    def keep(self, events: list[dict[str, Any]], identity: str = "id") -> None:
        for event in events:
            self.events.setdefault(event[identity], event)

    def bodies(self) -> list[Any]:
        return [json.loads(body) for *_, body in self.requests]


@asynccontextmanager
async def stand_in(accept: Accept) -> AsyncIterator[StandIn]:
    here = StandIn(accept)
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", here.talk)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    here.url = runner.addresses and f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield here
    finally:
        await runner.cleanup()


@asynccontextmanager
async def forwarding(
    kind: str, accept: Accept, feed: MemoryFeed, **settings: object
) -> AsyncIterator[tuple[Forwarder, StandIn]]:
    """The forwarder of a destination of `kind` in front of its stand-in. `{url}` in a setting is the stand-in's address."""
    async with stand_in(accept) as here:
        given = {key: here.url if value == "{url}" else value for key, value in settings.items()}
        made = msgspec.convert({"url": here.url, "token": "a_secret", **given}, TAKERS[kind].settings)
        taker = TAKERS[kind].open(made, "site-1")
        try:
            yield Forwarder(kind, feed, taker, made.names, 900_000, Clock(), Random(1)), here
        finally:
            await taker.close()
