"""Agents come in, and change their keys: `POST /v1/enrol` and `POST /v1/sites/{site}/keys`.

Laws
- A use of a token is spent in the same change that says for which key and site: whatever dies afterwards, the same key comes
  again with the same token and gets the same answer, and no second use is spent.
- A token without a site makes a new site for each key; one with a site is for that site.
- Registering changes nothing for the site's present key: see `agents`.
"""

import uuid
from collections.abc import Callable
from typing import TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from uplink.batch import DIGEST_FIELD, BatchError, check_digest
from uplink.enrolment import ChangeRequest, Enrolled, EnrolRequest, change_text, decoded, decoded_key
from uplink.keys import key_id, verifies
from uplink.receiver.access import Access
from uplink.receiver.agents import AgentKey
from uplink.receiver.answers import Refused, granted_site, json_answer, whole_body
from uplink.receiver.platform_key import PlatformKeys
from uplink.receiver.policies import Policies
from uplink.receiver.storage import Documents
from uplink.receiver.tokens import TOKEN_MAX_CHARS, token_hash
from uplink.signing import COVERED

KIND = "enrolment"
USES_MAX = 1000
"""Of one token: a roll-out. Its document names every key that it enrolled, some 150 bytes each."""
BODY_MAX_BYTES = 4096
BODY_TIMEOUT_S = 15.0
SIGNATURE_BYTES = 64
WORD_MAX_CHARS = 120

T = TypeVar("T", EnrolRequest, ChangeRequest)


class Grant(Struct, frozen=True, kw_only=True):
    """What a key got by a token."""

    site: str
    agent: str


class Token(Struct, frozen=True, kw_only=True):
    """An enrolment token; its document stands under the token's SHA-256. `site` is empty where each use makes a new one."""

    provider: str
    site: str = ""
    uses_left: int = 1
    expires_ms: int = 0
    label: str = ""
    made_ms: int = 0
    granted: dict[str, Grant] = {}


class Enrolling:
    def __init__(
        self,
        documents: Documents,
        access: Access,
        keys: PlatformKeys,
        policies: Policies,
        clock_ms: Callable[[], int],
    ) -> None:
        self._documents = documents
        self._access = access
        self._keys = keys
        self._policies = policies
        self._clock_ms = clock_ms

    async def post_enrol(self, request: web.Request) -> web.StreamResponse:
        token = await self._known(request)
        asked = await _asked(request, EnrolRequest)
        public = _public(asked.public_key)
        key = key_id(public)
        self._access.proved(request, public, key, COVERED)
        grant, provider = await self._grant(token, key)
        holder = await self._access.agents.holder(grant.site)
        answer = await self._registered(self._new_key(asked, public, grant, provider, token, holder))
        return json_answer(msgspec.structs.replace(answer, policy=await self._policies.given(answer.site)))

    async def post_key(self, request: web.Request) -> web.StreamResponse:
        old = await self._access.signer(request, COVERED)
        site = granted_site(request, old.site)
        asked = await _asked(request, ChangeRequest)
        public = _public(asked.public_key)
        text = change_text(site, old.key, key_id(public))
        if not verifies(public, _decoded_proof(asked.proof), text):
            raise Refused("bad_signature", "proof is not the new key's signature of the change")
        grant = Grant(site=site, agent=old.agent)
        words = {"version": asked.version or old.version, "machine": asked.machine or old.machine}
        asked = msgspec.structs.replace(asked, **words)
        return json_answer(
            await self._registered(self._new_key(asked, public, grant, old.provider, old.token, old.key))
        )

    async def _known(self, request: web.Request) -> str:
        """SHA-256 of the token that came, which is known here. Raises Refused."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(token) <= TOKEN_MAX_CHARS:
            raise Refused("token_unknown", "Authorization must be Bearer and the enrolment token")
        digest = token_hash(token.strip())
        if await self._documents.get(KIND, digest) is None:
            raise Refused("token_unknown", "ask the platform's operator for a token")
        return digest

    def _new_key(
        self,
        asked: EnrolRequest | ChangeRequest,
        public: bytes,
        grant: Grant,
        provider: str,
        token: str,
        replaces: str,
    ) -> AgentKey:
        now_ms = self._clock_ms()
        return AgentKey(
            key=key_id(public),
            agent=grant.agent,
            site=grant.site,
            provider=provider,
            public=public,
            enrolled_ms=now_ms,
            changed_ms=now_ms,
            replaces=replaces,
            token=token,
            version=asked.version[:WORD_MAX_CHARS],
            machine=asked.machine[:WORD_MAX_CHARS],
        )

    async def _registered(self, wanted: AgentKey) -> Enrolled:
        """Register it, or find it registered; the answer. Raises Refused."""
        standing = await self._access.agents.register(wanted)
        if (standing.site, standing.agent, standing.token) != (wanted.site, wanted.agent, wanted.token):
            raise Refused("key_known", "make a new key")
        if standing.state in ("revoked", "retired"):
            raise Refused(standing.state, "make a new key, and enrol with a new token")
        return Enrolled(
            site=standing.site,
            agent=standing.agent,
            key=standing.key,
            provider=standing.provider,
            platform_keys=await self._keys.public(),
        )

    async def _grant(self, token: str, key: str) -> tuple[Grant, str]:
        """What this token gives this key, and the provider; a use is spent where it is the first time. Raises Refused."""
        while True:
            document = await self._documents.get(KIND, token)
            if document is None:
                raise Refused("token_unknown", "ask the platform's operator for a token")
            standing = msgspec.json.decode(document.body, type=Token)
            if grant := standing.granted.get(key):
                return grant, standing.provider
            if registered := await self._access.agents.read(key):
                return _granted_before(registered, token), standing.provider
            self._check_left(standing)
            grant = Grant(site=standing.site or str(uuid.uuid4()), agent=str(uuid.uuid4()))
            spent = msgspec.structs.replace(
                standing, uses_left=standing.uses_left - 1, granted={**standing.granted, key: grant}
            )
            if await self._documents.put(KIND, token, msgspec.json.encode(spent), document.revision) is not None:
                return grant, standing.provider

    def _check_left(self, token: Token) -> None:
        if token.expires_ms and self._clock_ms() >= token.expires_ms:
            raise Refused("token_expired", "ask the platform's operator for a new one")
        if token.uses_left < 1:
            raise Refused("token_used", "ask the platform's operator for a new one; if it was not you, tell them")


def _granted_before(registered: AgentKey, token: str) -> Grant:
    """What a key has that came by a change from one that this token enrolled. Raises Refused."""
    if registered.token != token:
        raise Refused("key_known", "make a new key")
    return Grant(site=registered.site, agent=registered.agent)


async def _asked(request: web.Request, kind: type[T]) -> T:
    """The body, proved to be the one whose digest was signed. Raises Refused."""
    body = await whole_body(request, BODY_MAX_BYTES, BODY_TIMEOUT_S)
    try:
        check_digest(request.headers.get(DIGEST_FIELD, ""), body)
        return msgspec.json.decode(body, type=kind)
    except BatchError as error:
        raise Refused(error.code, str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused("bad_request", str(error)) from None


def _public(text: str) -> bytes:
    try:
        return decoded_key(text)
    except ValueError as error:
        raise Refused("bad_request", f"public_key: {error}") from None


def _decoded_proof(text: str) -> bytes:
    try:
        return decoded(text, SIGNATURE_BYTES)
    except ValueError as error:
        raise Refused("bad_request", f"proof: {error}") from None
