"""Signed requests: RFC 9421 with Ed25519, over what makes a request what it is.

Laws
- COVERED names what a signature must cover; one that covers less is no signature. The body is covered by its digest, which the
  receiver compares with the body itself (`batch.check_digest`).
- A signature is evidence of who sent what; it is made anew for every attempt, so that no two requests bear the same one.
- When a request was signed is told (`created`) and kept, but judges nothing: a site's clock may be wrong by days.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import http_sf
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from http_message_signatures import (
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
)
from http_message_signatures.algorithms import ED25519
from http_message_signatures.exceptions import HTTPMessageSignaturesException
from msgspec import Struct

from uplink.batch import DIGEST_FIELD, HEAD_FIELD
from uplink.keys import PUBLIC_BYTES, PrivateKey

TAG = "pegcount"
"""Says what a signature is for (RFC 9421 section 2.3), so that one made for another protocol is none here."""
INPUT_FIELD, SIGNATURE_FIELD = "Signature-Input", "Signature"
COVERED = ("@method", "@target-uri", DIGEST_FIELD.lower())
"""Of every signed request that has a body."""
COVERED_BATCH = (*COVERED, "content-type", HEAD_FIELD.lower())


class _Request:
    """A request as the library wants it."""

    def __init__(self, method: str, url: str, headers: Mapping[str, str]) -> None:
        self.method = method
        self.url = url
        self.headers = dict(headers)


class _Key(HTTPSignatureKeyResolver):
    def __init__(self, private: PrivateKey) -> None:
        self._private = private

    def resolve_private_key(self, key_id: str) -> Any:
        return self._private.key

    def resolve_public_key(self, key_id: str) -> Any:
        raise InvalidSignature("this key signs only")


def sign(
    key: PrivateKey, method: str, url: str, headers: Mapping[str, str], created_s: int, nonce: str
) -> dict[str, str]:
    """The two header fields of the signature over a request whose digest stands in `headers`. `nonce`: by chance."""
    request = _Request(method, url, headers)
    covered = COVERED_BATCH if HEAD_FIELD in headers else COVERED
    HTTPMessageSigner(signature_algorithm=ED25519, key_resolver=_Key(key)).sign(
        request,
        key_id=key.id,
        created=datetime.fromtimestamp(created_s, UTC),
        nonce=nonce,
        label=TAG,
        tag=TAG,
        covered_component_ids=covered,
        use_existing_digest=True,
    )
    return {INPUT_FIELD: request.headers[INPUT_FIELD], SIGNATURE_FIELD: request.headers[SIGNATURE_FIELD]}


class Signed(Struct, frozen=True, kw_only=True):
    """A signature that holds: whose, when the sender says that it was made, and its nonce."""

    key_id: str
    created_s: int
    nonce: str


class BadSignature(Exception):
    """No signature, or none that holds. The message says why, for the sender's operator."""


class _Keys(HTTPSignatureKeyResolver):
    def __init__(self, public_of: Callable[[str], bytes | None]) -> None:
        self._public_of = public_of

    def resolve_public_key(self, key_id: str) -> Any:
        public = self._public_of(key_id)
        if public is None or len(public) != PUBLIC_BYTES:
            raise InvalidSignature("the key is not known here")
        return Ed25519PublicKey.from_public_bytes(public)

    def resolve_private_key(self, key_id: str) -> Any:
        raise InvalidSignature("these keys verify only")


class _Verifier(HTTPMessageVerifier):
    def validate_created_and_expires(self, sig_input: Any, max_age: Any = None) -> None:
        """By no clock: see the laws. `created` itself is required."""
        if type(sig_input.params.get("created")) is not int:
            raise InvalidSignature("the signature does not say when it was made")


def named_key(headers: Mapping[str, str]) -> str:
    """The key id that a request's signature names, unproved: to fetch that key. Raises BadSignature."""
    try:
        members: dict[str, Any] = cast(Any, http_sf.parse)(headers.get(INPUT_FIELD, "").encode(), tltype="dictionary")
    except ValueError as error:
        raise BadSignature(f"{INPUT_FIELD}: {error}") from None
    found = [parameters.get("keyid") for _, parameters in members.values() if parameters.get("tag") == TAG]
    if len(found) != 1 or not isinstance(found[0], str):
        raise BadSignature("the request must bear one signature of pegcount's, which names its key")
    return found[0]


def verify(
    method: str,
    url: str,
    headers: Mapping[str, str],
    public_of: Callable[[str], bytes | None],
    covered: tuple[str, ...],
) -> Signed:
    """What the request's signature proves. `url` as the sender wrote it. Raises BadSignature."""
    verifier = _Verifier(signature_algorithm=ED25519, key_resolver=_Keys(public_of))
    try:
        results = verifier.verify(
            _Request(method, url, headers), max_age=None, expect_tag=TAG, require_components=covered
        )
    except (HTTPMessageSignaturesException, ValueError) as error:
        raise BadSignature(str(error) or "the signature is not that of this request") from None
    if len(results) != 1:
        raise BadSignature("the request bears more than one signature of pegcount's")
    told = results[0].parameters
    return Signed(key_id=str(told["keyid"]), created_s=int(told["created"]), nonce=str(told.get("nonce", "")))
