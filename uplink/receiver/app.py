"""The receiver over HTTP: which route is answered by whom.

Law: each refusal has a code of `problems.CODES`, and is a problem document.
"""

from collections.abc import Callable, Sequence

from aiohttp import web

from uplink.receiver.access import Access
from uplink.receiver.enrolling import Enrolling
from uplink.receiver.fleet.app import Fleet, make_fleet
from uplink.receiver.fleet.asked import HOME
from uplink.receiver.fleet.door import Door
from uplink.receiver.fleet.gathering import Gathering
from uplink.receiver.fleet.meanings import OF_UPLINK, Meanings
from uplink.receiver.forwarding import Destination, Forwarding
from uplink.receiver.gate import Gate
from uplink.receiver.guard import Guard
from uplink.receiver.ingest import Ingest
from uplink.receiver.metrics import Metrics
from uplink.receiver.platform_key import PlatformKeys
from uplink.receiver.policies import Policies
from uplink.receiver.reading import Reading
from uplink.receiver.resending import Resending
from uplink.receiver.seen import Sightings
from uplink.receiver.storage import Storage
from uplink.receiver.tokens import Tokens


def make_app(
    store: Storage,
    tokens: Tokens,
    clock_ms: Callable[[], int],
    gate: Gate,
    public_url: str = "",
    secure: bool = False,
    forwards: Sequence[Destination] = (),
    meanings: Meanings = OF_UPLINK,
) -> web.Application:
    """The application; closing the store stays the caller's. `gate`: through which its connections come. `public_url`: see
    `Access`. `secure`: browsers reach it by TLS. `forwards`: where events go on to. `meanings`: of the problem codes that
    agents tell. Raises CredentialsUnreadable."""
    access = Access(tokens, store, clock_ms, public_url)
    keys = PlatformKeys(store, clock_ms())
    policies = Policies(store, access)
    enrolling = Enrolling(store, access, keys, policies, clock_ms)
    guard, sightings = Guard(gate), Sightings(store)
    forwarding = Forwarding(forwards, store)
    door = Door(store, clock_ms, secure, gate.proxies)
    gathering = Gathering(store, clock_ms)
    metrics = Metrics(gate, guard, forwarding, door.logins, store, gathering)
    resending = Resending(store, tokens, clock_ms)
    ingest = Ingest(
        store, access, clock_ms, gate.limits, guard, metrics.counts, sightings, keys, resending, forwarding.notice
    )
    reading = Reading(store, tokens, clock_ms, metrics, door, forwarding)
    app = web.Application(middlewares=[guard.middleware()])
    app.cleanup_ctx.append(sightings.background)
    app.cleanup_ctx.append(resending.background)
    app.cleanup_ctx.append(forwarding.background)
    app.add_routes(
        [
            web.post("/v1/sites/{site}/batches", ingest.post_batch),
            web.post("/v1/enrol", enrolling.post_enrol),
            web.post("/v1/sites/{site}/keys", enrolling.post_key),
            web.get("/v1/keys", keys.get_keys),
            web.get("/v1/sites/{site}/policy", policies.get_policy),
            web.get("/v1/sites", reading.get_sites),
            web.get("/v1/gaps", reading.get_gaps),
            web.get("/v1/totals", reading.get_all_totals),
            web.get("/v1/forwards", reading.get_forwards),
            web.get("/v1/forwards/{name}/refused", reading.get_refused),
            web.get("/v1/openapi.json", reading.get_openapi),
            web.get("/v1/sites/{site}", reading.get_site),
            web.get("/v1/sites/{site}/receipts", reading.get_receipts),
            web.get("/v1/sites/{site}/totals", reading.get_totals),
            web.get("/v1/sites/{site}/events", reading.get_events),
            web.post("/v1/sites/{site}/replay", resending.post),
            web.get("/v1/sites/{site}/replay", resending.get),
            web.delete("/v1/sites/{site}/replay", resending.delete),
            web.get("/", _to_fleet),
            web.get("/healthz", reading.get_health),
            web.get("/metrics", reading.get_metrics),
        ]
    )
    fleet = Fleet(store, gathering, door, access.agents, resending, meanings, clock_ms)
    app.add_subapp(HOME, make_fleet(fleet))
    return app


async def _to_fleet(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound(HOME)
