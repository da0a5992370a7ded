"""What every request passes on its way in: the rate of its address, and one form for every refusal.

Law: what is refused here has cost no look into the store, and nothing of its body was read.
"""

import math
import time

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from uplink.receiver.answers import Refused
from uplink.receiver.gate import Gate
from uplink.receiver.problems import problem
from uplink.receiver.proxies import FIELD, Proxies
from uplink.receiver.rates import Buckets, address_key
from uplink.receiver.speaking import SERVER
from uplink.receiver.storage import ReadElsewhere, StoreUnavailable


class Guard:
    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.addresses = Buckets(gate.limits.address_rate)
        self.sites = Buckets(gate.limits.site_rate)

    def check_site(self, site: str) -> None:
        """Only for who may speak for it: a stranger must not use up a site's share. Raises Refused."""
        _check(self.sites, site, "this site")

    def _check_address(self, request: web.Request) -> None:
        _check(self.addresses, address_key(asked_by(request, self._gate.proxies)), "this address")

    def middleware(self) -> Middleware:
        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            transport = request.transport
            self._gate.request_began(transport)
            try:
                response = await self._answered(request, handler)
                response.headers["Server"] = SERVER
                if response.status >= 400 and not request.content.at_eof():
                    # What is left of a refused body is not worth reading.
                    response.force_close()
                return response
            finally:
                self._gate.request_ended(transport, unread=not request.content.at_eof())

        return guarded

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check_address(request)
            return await handler(request)
        except Refused as refused:
            return problem(refused.code, str(refused), **refused.members)
        except ReadElsewhere as error:
            return problem("store_unavailable", str(error))
        except StoreUnavailable:
            return problem("store_unavailable", "try again later")
        except web.HTTPNotFound:
            return problem("no_such_path", "GET /v1/openapi.json describes what there is")
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            refusal = problem("method_not_allowed", f"here it is {allowed}")
            refusal.headers["Allow"] = allowed
            return refusal


def asked_by(request: web.Request, proxies: Proxies) -> str:
    """The client's address."""
    return proxies.client(request.remote or "", request.headers.getall(FIELD, []))


def _check(buckets: Buckets, key: str, whose: str) -> None:
    wait_s = buckets.wait_s(key, time.monotonic())
    if wait_s:
        raise Refused("throttled", f"{whose} comes too often", retry_after_s=math.ceil(wait_s))
