"""Receipts: the platform's signature that it holds what a batch says. The signed text, its making and its check; pure.

Laws
- A receipt is over the numbers and chain values of the whole batch that it answers, a heartbeat's too, and says when:
  with it a site can show to anybody what the platform had, and when.
- Where the platform's keys are known, an answer without a receipt that holds acknowledges nothing.
"""

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from uplink.batch import Head
from uplink.enrolment import decoded, encoded
from uplink.keys import PrivateKey, verifies

SIGNATURE_BYTES = 64
TIME_MAX_CHARS = 40


class Receipt(Struct, frozen=True, kw_only=True):
    """In the answer: the id of the platform's key, and base64 of its signature of `receipt_text`."""

    key: str
    sig: str


class Receipted(Struct, frozen=True, kw_only=True):
    """A receipt that holds, as a site keeps it. `server_time` is the text that was signed; `public` the key that signed."""

    first: int
    last: int
    prev: bytes
    chain: bytes
    server_time: str
    key: str
    public: bytes
    signature: bytes


class ReceiptInvalid(Exception):
    """The answer has no receipt, or none that holds. The message says why."""


class _Answered(Struct, frozen=True):
    server_time: str = ""
    receipt: Receipt | None = None


def receipt_text(site: str, epoch: str, first: int, last: int, prev: bytes, chain: bytes, server_time: str) -> bytes:
    """What is signed: eight lines, each ended by a line feed; chain values in base64."""
    lines = ("pegcount-receipt-1", site, epoch, str(first), str(last), encoded(prev), encoded(chain), server_time)
    return "".join(f"{line}\n" for line in lines).encode()


def countersign(key: PrivateKey, site: str, head: Head, server_time: str) -> Receipt:
    text = receipt_text(site, head.epoch, head.first, head.last, head.prev, head.chain, server_time)
    return Receipt(key=key.id, sig=encoded(key.sign(text)))


def holds(site: str, epoch: str, receipt: Receipted) -> bool:
    """Whether a kept receipt is its key's for these numbers and chain values."""
    text = receipt_text(site, epoch, receipt.first, receipt.last, receipt.prev, receipt.chain, receipt.server_time)
    return verifies(receipt.public, receipt.signature, text)


def check(site: str, head: Head, through: int, answer: bytes, keys: Mapping[str, bytes]) -> Receipted:
    """The receipt of the answer to `head`, which acknowledges up to `through`. `keys`: the platform's. Raises
    ReceiptInvalid."""
    try:
        answered = msgspec.json.decode(answer, type=_Answered)
        given = answered.receipt
        signature = decoded(given.sig, SIGNATURE_BYTES) if given else b""
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ReceiptInvalid(str(error)) from None
    if given is None:
        raise ReceiptInvalid("the answer has no receipt")
    if given.key not in keys:
        raise ReceiptInvalid(f"it is signed by key {given.key[:64]}, which no known key of the platform introduces")
    if not 0 < len(answered.server_time) <= TIME_MAX_CHARS or "\n" in answered.server_time:
        raise ReceiptInvalid("server_time is no time")
    if through < head.last:
        raise ReceiptInvalid(f"it acknowledges up to {through}, and a receipt is for all of a batch")
    receipt = Receipted(
        first=head.first,
        last=head.last,
        prev=head.prev,
        chain=head.chain,
        server_time=answered.server_time,
        key=given.key,
        public=keys[given.key],
        signature=signature,
    )
    if not holds(site, head.epoch, receipt):
        raise ReceiptInvalid("it is not the platform's signature of what was sent")
    return receipt
