"""A chunk of stored events -> the request that carries it, and back.

Laws
- The body is `[` + the stored bytes of each event, joined by commas + `]`: the bytes that are hashed into the chain are
  the bytes that travel. The receiver splits it into the same slices and hashes those.
- The same chunk and head time make the same bytes (gzip carries no time of its own).
- A batch is proved by its head: contiguous numbers, chain before and after. `count` 0 is a heartbeat (`prev` ==
  `chain`), or a statement: that event `first` is withheld (`withheld` says why; then only its place in the chain comes), or
  that the site does not hold events `first` to `last` any more (`lost` says why; `prev` is zeros, for it knows that no more).
- A peer's batch is read within named limits, and is wrong in one of the ways of `BatchError.code`, never otherwise.

The signature of the head has its place in the request's headers (RFC 9421 covers `meter-batch` and `content-digest`).
"""

import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec
from msgspec import Struct

from uplink.events import CHAIN_START, chain_next
from uplink.structured import Bare, FieldError, parse_dictionary, write_dictionary

EVENTS_MAX = 1000
"""What m3ter takes at once, the lowest limit among platforms of this kind that take batches of this size."""
ENCODED_MAX_BYTES = 512_000 - 1
"""Below m3ter's 512,000 and half of NATS JetStream's default message size."""
RAW_MAX_BYTES = 8 * 1024 * 1024
"""Before gzip: 1,000 events of 8 KiB. A receiver inflates no further."""
EVENT_MAX_BYTES = 64 * 1024
"""CloudEvents 1.0.2, "Size Limits": intermediaries forward events of 64 KiB or less."""
RATIO_MAX = 100
"""Event batches compress 7 to 25 times (an id is 16 bytes of entropy in about 400); a bomb does 1,000 times."""
RATIO_FREE_BYTES = 256 * 1024
"""Up to this size nobody asks for the ratio."""
SEQUENCE_MAX = 10**15 - 1
"""The largest integer of a structured field."""
CHAIN_BYTES = 32


class BatchLimits(Struct, frozen=True, kw_only=True):
    """What a receiver takes in one batch: events, and bytes after gzip."""

    events: int = EVENTS_MAX
    raw_bytes: int = RAW_MAX_BYTES


CONTRACT = BatchLimits()
"""The most that any of them takes."""

CONTENT_TYPE = "application/cloudevents-batch+json"
CONTENT_ENCODING = "gzip"
HEAD_FIELD = "Meter-Batch"
DIGEST_FIELD = "Content-Digest"

_GZIP_WBITS = 31
_GZIP_LEVEL = 5
"""Call events take 54 bytes each with it in three quarters of the time of level 6, which makes 53 of them; 4 makes 59."""


class BatchError(ValueError):
    """A request that is no batch. `code` is the contract's stable word for the way in which it is wrong."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Head(Struct, frozen=True, kw_only=True):
    """The `Meter-Batch` field. Events `first`..`last` of `epoch`, the chain before and after them, and the sender's clock
    in seconds. `after_epoch`, `after_chain`: in every head that begins at number 1 of a later epoch. `end`, `end_chain`: the
    last event that the sender's ledger has of the epoch, and the chain there; 0 where it does not say."""

    epoch: str
    first: int
    last: int
    count: int
    prev: bytes
    chain: bytes
    head_time_s: int
    after_epoch: str = ""
    after_chain: bytes = b""
    withheld: str = ""
    lost: str = ""
    end: int = 0
    end_chain: bytes = b""

    @property
    def is_statement(self) -> bool:
        """Of events that do not come."""
        return bool(self.withheld or self.lost)


class Batch(Struct, frozen=True, kw_only=True):
    """A request ready to be sent: `body` is encoded, `headers` are complete but for the transport identity."""

    head: Head
    body: bytes
    headers: dict[str, str]


def write_head(head: Head) -> str:
    members: dict[str, Bare] = {
        "epoch": head.epoch,
        "first": head.first,
        "last": head.last,
        "count": head.count,
        "prev": head.prev,
        "chain": head.chain,
        "head-time": head.head_time_s,
    }
    if head.after_epoch:
        members |= {"after-epoch": head.after_epoch, "after-chain": head.after_chain}
    if head.withheld:
        members["withheld"] = head.withheld
    if head.lost:
        members["lost"] = head.lost
    if head.end:
        members |= {"end": head.end, "end-chain": head.end_chain}
    return write_dictionary(members)


_NAMES = {
    "head-time": "head_time_s",
    "after-epoch": "after_epoch",
    "after-chain": "after_chain",
    "end-chain": "end_chain",
}
_EPOCH = re.compile(r"[0-9A-Za-z._-]{1,64}\Z")
_CODE = re.compile(r"[a-z0-9_]{1,64}\Z")


def parse_head(text: str) -> Head:
    """Raises BatchError `bad_head`. Members of later versions of the contract are passed over."""
    try:
        members = {_NAMES.get(name, name): value for name, value in parse_dictionary(text).items()}
        head = msgspec.convert(members, Head, builtin_types=(bytes,))
    except (FieldError, msgspec.ValidationError) as error:
        raise BatchError("bad_head", f"{HEAD_FIELD}: {error}") from None
    if fault := _fault(head):
        raise BatchError("bad_head", f"{HEAD_FIELD}: {fault}")
    return head


def _fault(head: Head) -> str:
    """What is wrong with a head in itself, or nothing."""
    rules = (
        (_EPOCH.match(head.epoch), "epoch is not 1 to 64 letters, digits, '.', '_' or '-'"),
        (not head.after_epoch or _EPOCH.match(head.after_epoch), "after-epoch is no epoch"),
        (not head.withheld or _CODE.match(head.withheld), "withheld is no code"),
        (not head.lost or _CODE.match(head.lost), "lost is no code"),
        (not (head.withheld and head.lost), "an event is withheld or lost"),
        (not head.lost or head.prev == CHAIN_START, "who lost events knows no chain before them"),
        (1 <= head.first <= SEQUENCE_MAX, "first is not a sequence number"),
        (head.last <= SEQUENCE_MAX, "last is not a sequence number"),
        (head.head_time_s >= 0, "head-time is negative"),
        (len(head.prev) == CHAIN_BYTES and len(head.chain) == CHAIN_BYTES, "a chain value is not 32 bytes"),
        (len(head.after_chain) == (CHAIN_BYTES if head.after_epoch else 0), "after-chain is not 32 bytes"),
        (0 <= head.end <= SEQUENCE_MAX, "end is not a sequence number"),
        (len(head.end_chain) == (CHAIN_BYTES if head.end else 0), "end-chain is not 32 bytes"),
        (head.count == _count(head), "count is not last - first + 1"),
        (head.count or head.is_statement or head.prev == head.chain, "a heartbeat whose chain moved"),
    )
    return next((fault for holds, fault in rules if not holds), "")


def _count(head: Head) -> int:
    """How many bodies a head with these numbers must have: a withheld event has none, and stands alone."""
    if head.withheld:
        return 0 if head.first == head.last else -1
    if head.lost:
        return 0 if head.first <= head.last else -1
    return head.last - head.first + 1


def chain_through(chain: bytes, bodies: Sequence[bytes | memoryview]) -> bytes:
    """The chain value after `bodies`, from the one before them."""
    sha256 = hashlib.sha256
    for body in bodies:
        step = sha256(chain)
        step.update(body)
        chain = step.digest()
    return chain


def withhold(head: Head, body: bytes, code: str) -> Head:
    """The head that states that the one event of `head` stays at the site, because of `code`."""
    chain = chain_next(head.prev, body)
    return msgspec.structs.replace(head, last=head.first, count=0, chain=chain, withheld=code)


def digest_field(body: bytes) -> str:
    """RFC 9530 section 2, over the encoded body."""
    return write_dictionary({"sha-256": hashlib.sha256(body).digest()})


def build(head: Head, bodies: Sequence[bytes]) -> Batch:
    """The request for `head`. Raises BatchError `too_large` where it would pass a limit, `chain_mismatch` where the bodies
    are not those that `head` was made of: then the ledger is damaged, and nothing of it may leave."""
    if head.count > EVENTS_MAX:
        raise BatchError("too_large", f"{head.count} events are more than {EVENTS_MAX}")
    if not head.is_statement and chain_through(head.prev, bodies) != head.chain:
        raise BatchError(
            "chain_mismatch", f"events {head.first} to {head.last} do not give the chain value stored for them"
        )
    body = _compress(bodies)
    headers = {
        "Content-Type": CONTENT_TYPE,
        "Content-Encoding": CONTENT_ENCODING,
        DIGEST_FIELD: digest_field(body),
        HEAD_FIELD: write_head(head),
    }
    return Batch(head=head, body=body, headers=headers)


def stamped(batch: Batch, head_time_s: int, end: int = 0, end_chain: bytes = b"") -> Batch:
    """The same batch as it is sent at that time, when the ledger ends there."""
    told = {"end": end, "end_chain": end_chain} if end else {}
    head = msgspec.structs.replace(batch.head, head_time_s=head_time_s, **told)
    return Batch(head=head, body=batch.body, headers={**batch.headers, HEAD_FIELD: write_head(head)})


def _compress(bodies: Sequence[bytes]) -> bytes:
    raw = b",".join(bodies)
    if len(raw) + 2 > RAW_MAX_BYTES:
        raise BatchError("too_large", f"{len(raw) + 2} bytes are more than {RAW_MAX_BYTES}")
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS)
    # Each by itself: brackets put around half a megabyte are a copy of it.
    body = b"".join((packer.compress(b"["), packer.compress(raw), packer.compress(b"]"), packer.flush()))
    if len(body) > ENCODED_MAX_BYTES:
        raise BatchError("too_large", f"{len(body)} bytes encoded are more than {ENCODED_MAX_BYTES}")
    return body


def check_digest(field: str, body: bytes) -> None:
    """Raises BatchError `digest_mismatch` unless `field` names the SHA-256 of `body`."""
    try:
        claimed = parse_dictionary(field).get("sha-256")
    except FieldError as error:
        raise BatchError("digest_mismatch", f"{DIGEST_FIELD}: {error}") from None
    if not isinstance(claimed, bytes):
        raise BatchError("digest_mismatch", f"{DIGEST_FIELD} names no sha-256")
    if claimed != hashlib.sha256(body).digest():
        raise BatchError("digest_mismatch", f"the body is not the one that {DIGEST_FIELD} was made for")


def inflate(body: bytes, limits: BatchLimits = CONTRACT) -> bytes:
    """Raises BatchError `too_large` for what inflates beyond the limits, `bad_body` for what is no gzip."""
    room = min(limits.raw_bytes, max(RATIO_FREE_BYTES, RATIO_MAX * len(body)))
    unpacker = zlib.decompressobj(_GZIP_WBITS)
    try:
        raw = unpacker.decompress(body, room + 1)
    except zlib.error as error:
        raise BatchError("bad_body", f"the body is no gzip: {error}") from None
    if len(raw) > room:
        raise BatchError("too_large", f"the body inflates beyond {room} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise BatchError("bad_body", "the body is not one whole gzip member")
    return raw


@lru_cache(maxsize=64)
def _decoder(count: int) -> msgspec.json.Decoder[tuple[msgspec.Raw, ...]]:
    """Of an array of so many elements. It gives up at the first one too many: four million of one octet each would take half a
    gigabyte as objects before they could be counted."""
    of_each = tuple.__class_getitem__((msgspec.Raw,) * count)
    return msgspec.json.Decoder(of_each)


def split(raw: bytes, count: int) -> list[bytes]:
    """The `count` elements of a JSON array as the exact bytes that they had. Raises BatchError `bad_body`."""
    try:
        return [bytes(element) for element in _decoder(count).decode(raw)]
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BatchError("bad_body", f"the body is no JSON array of {count} events: {error}") from None


def open_batch(headers: Mapping[str, str], body: bytes, limits: BatchLimits = CONTRACT) -> tuple[Head, list[bytes]]:
    """The head and bodies of a request that proves itself: digest, form, count and chain hold. Raises BatchError."""
    check_digest(headers.get(DIGEST_FIELD, ""), body)
    head = parse_head(headers.get(HEAD_FIELD, ""))
    if head.count > limits.events:
        raise BatchError("too_large", f"{head.count} events are more than {limits.events}")
    bodies = split(inflate(body, limits), head.count)
    if not head.is_statement and chain_through(head.prev, bodies) != head.chain:
        raise BatchError("chain_mismatch", "the events do not give the chain value of the head")
    return head, bodies
