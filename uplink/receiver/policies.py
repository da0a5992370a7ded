"""Policies out: `GET /v1/sites/{site}/policy`, by ETag. A document of kind `policy` by site, or for all sites that have none.

Laws
- What stands there is TOML, as an operator put it; the receiver does not read it. The agent decides what of it it may take.
- The ETag is the SHA-256 of the text, so that a site can say which policy it means without having been told.
"""

import hashlib

from aiohttp import web

from uplink.enrolment import GivenPolicy
from uplink.receiver.access import Access
from uplink.receiver.answers import Refused
from uplink.receiver.storage import Documents
from uplink.receiver.tokens import EVERY_SITE
from uplink.signing import COVERED

KIND = "policy"
CONTENT_TYPE = "application/toml"


class Policies:
    def __init__(self, documents: Documents, access: Access) -> None:
        self._documents = documents
        self._access = access

    async def get_policy(self, request: web.Request) -> web.StreamResponse:
        site = (await self._access.writer(request, COVERED)).site
        text = await self.of(site)
        if text is None:
            raise Refused("no_policy", "the site goes by its own configuration")
        tag = hashlib.sha256(text).hexdigest()
        headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache"}
        if any(known.value == tag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(body=text, content_type=CONTENT_TYPE, headers=headers)

    async def given(self, site: str) -> GivenPolicy | None:
        """As the answer to an enrolment tells it. What is no text is not: the agent asks for it, and refuses it."""
        text = await self.of(site)
        try:
            return GivenPolicy(etag=hashlib.sha256(text).hexdigest(), text=text.decode()) if text else None
        except UnicodeDecodeError:
            return None

    async def of(self, site: str) -> bytes | None:
        document = await self._documents.get(KIND, site) or await self._documents.get(KIND, EVERY_SITE)
        return document.body if document else None
