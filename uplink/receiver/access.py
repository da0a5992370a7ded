"""Who may report for which site: by signature of an enrolled key, by bearer token, or by client certificate.

Laws
- A request with a signature is judged by it alone; a token beside it does not help one that does not hold.
- A signature must cover what the route says, each field of which stands once: what is verified is what is read.
- Nothing of the body is read before this.
"""

import hashlib
from collections.abc import Callable

import msgspec
from aiohttp import web
from msgspec import Struct
from yarl import URL

from uplink.receiver.agents import AgentKey, Agents
from uplink.receiver.answers import Refused, granted_site
from uplink.receiver.replays import Replays
from uplink.receiver.storage import Documents
from uplink.receiver.tokens import Tokens, writer_of
from uplink.signing import INPUT_FIELD, SIGNATURE_FIELD, BadSignature, Signed, named_key, verify

CERTIFICATE = "certificate"
"""Documents by the SHA-256 of a client certificate (hexadecimal): whose site it is."""
TOKEN = "token"
"""By what a bearer of one is known: not by which."""


class Certified(Struct, frozen=True, kw_only=True):
    """`revoked_ms`: since when it may report no more; 0: it may."""

    site: str
    label: str = ""
    revoked_ms: int = 0


class Writer(Struct, frozen=True):
    """Who reports for a site, and by what: the id of a key, TOKEN or CERTIFICATE. `new_key`: an operator wishes another key in
    the place of this one."""

    site: str
    by: str
    new_key: bool = False


class Access:
    """`public_url`: the address under which agents know this receiver, where that is not the one it is asked by (a proxy)."""

    def __init__(self, tokens: Tokens, documents: Documents, clock_ms: Callable[[], int], public_url: str = "") -> None:
        self.agents = Agents(documents)
        self._tokens = tokens
        self._documents = documents
        self._clock_ms = clock_ms
        self._public_url = public_url.rstrip("/")
        self._replays = Replays()

    async def writer(self, request: web.Request, covered: tuple[str, ...]) -> Writer:
        """The site of the path, for which this request may speak. Raises Refused."""
        if INPUT_FIELD in request.headers:
            key = await self.signer(request, covered)
            return Writer(granted_site(request, key.site), key.key, key.is_wished_away)
        if authorization := request.headers.get("Authorization", ""):
            return Writer(granted_site(request, writer_of(self._tokens, authorization)), TOKEN)
        return Writer(granted_site(request, await self._certified(request)), CERTIFICATE)

    async def signer(self, request: web.Request, covered: tuple[str, ...]) -> AgentKey:
        """The key that signed the request; a new one has taken over with this. Raises Refused."""
        try:
            name = named_key(request.headers)
        except BadSignature as error:
            raise Refused("bad_signature", str(error)) from None
        key = await self.agents.find(name)
        if key is None:
            raise Refused("unknown_key", f"key {name[:64]} is not known here: enrol this machine")
        self.proved(request, key.public, name, covered)
        if key.state == "new" and not await self.agents.take_up(key, self._clock_ms()):
            raise Refused("retired", "another key was registered for this site since")
        if key.state == "revoked":
            raise Refused("revoked", "an operator revoked this key: enrol this machine with a new token")
        if key.state == "retired":
            raise Refused("retired", "a newer key of this site was used since")
        return key

    def proved(self, request: web.Request, public: bytes, name: str, covered: tuple[str, ...]) -> Signed:
        """What the signature by this public key proves. Raises Refused."""
        for field in (*covered, INPUT_FIELD, SIGNATURE_FIELD):
            if not field.startswith("@") and len(request.headers.getall(field, ())) != 1:
                raise Refused("bad_signature", f"{field} must stand once in a signed request")
        try:
            signed = verify(request.method, self._target(request), request.headers, {name: public}.get, covered)
        except BadSignature as error:
            raise Refused("bad_signature", str(error)) from None
        if not signed.nonce:
            raise Refused("bad_signature", "the signature has no nonce")
        if not self._replays.is_new(signed):
            raise Refused("replayed", "each request is signed anew, with a nonce of its own")
        return signed

    def _target(self, request: web.Request) -> str:
        """The URI as the sender wrote it."""
        base = self._public_url or f"{request.scheme}://{request.host}"
        return str(URL(base + request.raw_path, encoded=True))

    async def _certified(self, request: web.Request) -> str | None:
        """The site of the client certificate that the TLS handshake proved; asked anew with each request, so that a revocation
        holds for connections that are open. Raises Refused."""
        tls = request.transport.get_extra_info("ssl_object") if request.transport else None
        certificate = tls.getpeercert(binary_form=True) if tls else None
        if not certificate:
            return None
        digest = hashlib.sha256(certificate).hexdigest()
        document = await self._documents.get(CERTIFICATE, digest)
        if document is None:
            raise Refused(
                "unauthorized", f"the client certificate {digest} is not known here: it has to be added for a site"
            )
        certified = msgspec.json.decode(document.body, type=Certified)
        if certified.revoked_ms:
            raise Refused("revoked", "an operator revoked this client certificate: this machine needs another one")
        return certified.site
