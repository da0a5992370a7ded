"""The receiver over HTTP: batches in, sums and stored events out.

Laws
- Cheap checks come first: token, type and length before the body is read, digest before it is inflated, limits before
  anything is built of it. Each refusal has a code of `problems.CODES`.
- 200 is answered after the store said that the batch is durable, and never otherwise.
- The work on a body is done in a thread, and only so many bodies are worked on at once.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from datetime import date

import msgspec
from aiohttp import web
from msgspec import Struct

from uplink.batch import CONTENT_ENCODING, CONTENT_TYPE, ENCODED_MAX_BYTES, EVENTS_MAX, BatchError, Head, open_batch
from uplink.events import instant
from uplink.receiver.metrics import Metrics
from uplink.receiver.placing import Conflict, Duplicate, Gap
from uplink.receiver.problems import problem
from uplink.receiver.screen import LATE_MS, Place, Screened, screen
from uplink.receiver.storage import Appended, Incoming, Store, StoreUnavailable
from uplink.receiver.tokens import EVERY_SITE, Tokens, reader_of, writer_of

HEADER_MAX_BYTES = 4096
"""One header line. A head is about 330 bytes, a token at most 512."""
HEADERS_MAX = 64
LINGER_S = 2.0
"""How long the rest of a refused body is taken in, so that the client comes to read the refusal."""
EVENTS_PAGE_MAX = 5000

_SITE = re.compile(r"[0-9A-Za-z._-]{1,64}\Z")


class Limits(Struct, frozen=True, kw_only=True):
    """`body_max_bytes`: one encoded body. `body_timeout_s`: for all of it; 500 kB at 64 kbit/s take 63 s.
    `inflight_max`: bodies
    that are worked on at once, each up to 8 MiB; more are asked to come again."""

    body_max_bytes: int = ENCODED_MAX_BYTES
    body_timeout_s: float = 75.0
    inflight_max: int = 64


class _Acknowledgement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer 200, as the contract has it."""

    acked_through: int
    epoch: str
    server_time: str
    results: list[dict[str, int | str | bool]]
    duplicate: bool
    late: bool
    hints: dict[str, int]


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Receiver:
    """The handlers, over one store."""

    def __init__(self, store: Store, tokens: Tokens, clock_ms: Callable[[], int], limits: Limits) -> None:
        self.store = store
        self.tokens = tokens
        self.clock_ms = clock_ms
        self.limits = limits
        self.metrics = Metrics()
        self.inflight = 0

    # --- batches

    async def post_batch(self, request: web.Request) -> web.StreamResponse:
        began_s = time.monotonic()
        try:
            response = await self._batch(request)
        except Refused as refused:
            self.metrics.batches[refused.code] += 1
            response = problem(refused.code, str(refused), **refused.members)
            if not request.content.at_eof():
                # What is left of a refused body is not worth reading.
                response.force_close()
        self.metrics.answer_s += time.monotonic() - began_s
        return response

    async def _batch(self, request: web.Request) -> web.Response:
        site = self._authorised(request, writer_of(self.tokens, request.headers.get("Authorization", "")))
        self._check_form(request)
        if self.inflight >= self.limits.inflight_max:
            raise Refused("busy", f"{self.inflight} batches are being worked on")
        self.inflight += 1
        try:
            return await self._take(site, request)
        finally:
            self.inflight -= 1

    def _check_form(self, request: web.Request) -> None:
        if request.content_type != CONTENT_TYPE:
            raise Refused("unsupported_type", f"Content-Type must be {CONTENT_TYPE}")
        if request.headers.get("Content-Encoding", "").lower() != CONTENT_ENCODING:
            raise Refused("unsupported_encoding", f"Content-Encoding must be {CONTENT_ENCODING}")
        if request.content_length is None:
            raise Refused("length_required", "Content-Length must be given")
        if request.content_length > self.limits.body_max_bytes:
            raise Refused("too_large", f"{request.content_length} bytes are more than {self.limits.body_max_bytes}")

    async def _take(self, site: str, request: web.Request) -> web.Response:
        body = await self._body(request)
        self.metrics.body_bytes += len(body)
        try:
            head, events = await asyncio.to_thread(_open, site, request, body)
        except BatchError as error:
            raise Refused(error.code, str(error)) from None
        incoming = Incoming(site=site, head=head, events=events, now_ms=self.clock_ms())
        try:
            appended = await self.store.append(incoming)
        except StoreUnavailable as error:
            raise Refused("store_unavailable", "try again later") from error
        return self._answer(incoming, appended)

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(self.limits.body_timeout_s):
                return await request.content.readexactly(request.content_length or 0)
        except TimeoutError:
            raise Refused("too_slow", f"not whole after {self.limits.body_timeout_s:g} s") from None
        except asyncio.IncompleteReadError as error:
            raise Refused("cut_body", f"{len(error.partial)} bytes of {request.content_length} came") from None
        except ConnectionError:  # an agent that was stopped in the middle; there is nobody left to be told
            raise Refused("cut_body", "the connection broke") from None

    def _answer(self, incoming: Incoming, appended: Appended) -> web.Response:
        match appended.placement:
            case Gap(expected):
                raise Refused("gap", f"event {expected} of this epoch is the next one", expected=expected)
            case Conflict(detail):
                raise Refused("conflict", detail)
        self._count(incoming.head, appended)
        return _json(
            _Acknowledgement(
                acked_through=appended.acked_through,
                epoch=incoming.head.epoch,
                server_time=instant(incoming.now_ms),
                results=[
                    {"seq": each.seq, "status": each.status, "code": each.code, "message": each.message, "retry": False}
                    for each in appended.exceptions
                ],
                duplicate=isinstance(appended.placement, Duplicate),
                late=any(each.time_ms < incoming.now_ms - LATE_MS for each in incoming.events if not each.refused),
                hints={"max_batch": EVENTS_MAX},
            )
        )

    def _count(self, head: Head, appended: Appended) -> None:
        if isinstance(appended.placement, Duplicate):
            self.metrics.batches["duplicate"] += 1
            return
        self.metrics.batches["accepted" if head.count or head.withheld else "heartbeat"] += 1
        self.metrics.events["counted"] += appended.counted
        for each in appended.exceptions:
            self.metrics.events[each.status] += 1

    # --- reading

    async def get_site(self, request: web.Request) -> web.StreamResponse:
        site = self._reading(request)
        epochs = await self.store.epochs(site)
        return _json({"site": site, "epochs": epochs})

    async def get_totals(self, request: web.Request) -> web.StreamResponse:
        site = self._reading(request)
        day = request.query.get("day", "")
        by_day = request.query.get("by") == "day"
        if day and not _is_day(day):
            raise Refused("bad_query", "day must be a UTC day like 2026-11-20")
        return _json({"site": site, "totals": await self.store.totals(site, by_day, day)})

    async def get_events(self, request: web.Request) -> web.StreamResponse:
        site = self._reading(request)
        after, limit = _number(request, "after", 0), _number(request, "limit", 1000)
        events = await self.store.events(site, after, min(max(limit, 1), EVENTS_PAGE_MAX))
        listed = [
            {
                "position": each.position,
                "epoch": each.epoch,
                "seq": each.seq,
                "status": each.status,
                "event": msgspec.Raw(each.body) if each.status != "rejected" else None,
                "text": each.body.decode("utf-8", "replace") if each.status == "rejected" else None,
            }
            for each in events
        ]
        return _json({"site": site, "events": listed, "next": events[-1].position if events else after})

    async def get_health(self, _request: web.Request) -> web.StreamResponse:
        await self.store.epochs("")
        return web.Response(text="ok\n")

    async def get_metrics(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=self.metrics.text(), content_type="text/plain", charset="utf-8")

    def _reading(self, request: web.Request) -> str:
        return self._authorised(request, reader_of(self.tokens, request.headers.get("Authorization", "")))

    def _authorised(self, request: web.Request, granted: str | None) -> str:
        """The site of the path, if the token is for it."""
        if granted is None:
            raise Refused("unauthorized", "the Authorization header holds no token that is known here")
        site = request.match_info["site"]
        if not _SITE.match(site):
            raise Refused("bad_site", "a site is 1 to 64 letters, digits, '.', '_' or '-'")
        if granted not in (EVERY_SITE, site):
            raise Refused("forbidden", "this token is for another site")
        return site


class Refused(Exception):
    """A request that is answered with a problem document."""

    def __init__(self, code: str, detail: str, **members: int) -> None:
        super().__init__(detail)
        self.code = code
        self.members = members


def _open(site: str, request: web.Request, body: bytes) -> tuple[Head, list[Screened]]:
    head, bodies = open_batch(request.headers, body)
    return head, screen(Place(site, head.epoch), head.first, bodies)


def _json(document: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _number(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Refused("bad_query", f"{name} must be a number")
    return int(text)


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refused as refused:
        return problem(refused.code, str(refused), **refused.members)
    except StoreUnavailable:
        return problem("store_unavailable", "try again later")


RECEIVER = web.AppKey("receiver", Receiver)


def make_app(
    store: Store, tokens: Tokens, clock_ms: Callable[[], int], limits: Limits | None = None
) -> web.Application:
    """The application; closing the store stays the caller's."""
    receiver = Receiver(store, tokens, clock_ms, limits or Limits())
    app = web.Application(
        middlewares=[_problems],
        # The digest is over the encoded body, so aiohttp must not decode it.
        handler_args={
            "auto_decompress": False,
            "max_line_size": HEADER_MAX_BYTES,
            "max_field_size": HEADER_MAX_BYTES,
            "max_headers": HEADERS_MAX,
            "lingering_time": LINGER_S,
        },
    )
    app[RECEIVER] = receiver
    app.add_routes(
        [
            web.post("/v1/sites/{site}/batches", receiver.post_batch),
            web.get("/v1/sites/{site}", receiver.get_site),
            web.get("/v1/sites/{site}/totals", receiver.get_totals),
            web.get("/v1/sites/{site}/events", receiver.get_events),
            web.get("/healthz", receiver.get_health),
            web.get("/metrics", receiver.get_metrics),
        ]
    )
    return app
