"""A batch as a message of a log, and what each message says of its site. Pure.

Laws
- One message is one batch: the body as it came, the head as a header. Nothing is cut, merged or written anew.
- Each message says how all epochs of its site stand after it. So a site's last message is all that is needed to place the
  next batch, and any message tells whether a number was reached before it.
- A site's subject is made of its id alone. What its messages are told apart by holds the site: ids of messages are one
  space for all of a JetStream.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from uplink.batch import (
    DIGEST_FIELD,
    HEAD_FIELD,
    BatchError,
    Head,
    chain_through,
    digest_field,
    inflate,
    open_batch,
    parse_head,
    split,
    write_head,
)
from uplink.events import CHAIN_START
from uplink.receiver.placing import Append, Conflict, Placement, place
from uplink.receiver.screen import Place, screen
from uplink.receiver.storage import EpochState, Incoming
from uplink.receiver.storage.reckoning import continues

SHARDS = 256
"""Subjects are `m.<shard>.<site>`: for consumers that share the work by shard, and imports that do. Never changed."""
EPOCHS_MAX = 100
"""Of a site, the newest. An epoch begins with a new or restored machine. A header must stay below 64 KiB; these are 20."""

SITE_FIELD = "Pegcount-Site"
RECEIVED_FIELD = "Pegcount-Received"
STATE_FIELD = "Pegcount-State"
MEND_FIELD = "Pegcount-Mend"
"""Of a batch that was asked for again: books fill with it what they lack."""


class Mark(Struct, frozen=True, array_like=True):
    """How an epoch stands. `first`, `prev`: of its last batch. `matches` as in `reckoning.continues`."""

    epoch: str
    acked_through: int
    chain: bytes
    first: int
    prev: bytes
    began_ms: int
    seen_ms: int
    skew_ms: int
    matches: int | None
    counted: int
    rejected: int
    lost: int = 0

    def chains(self) -> dict[int, bytes]:
        """The chain values that it tells of."""
        return {0: CHAIN_START, self.first - 1: self.prev, self.acked_through: self.chain}


class Logged(Struct, frozen=True, kw_only=True):
    """A message of the log. `seq` is its number there, `marks` are the site's epochs after it, in the order they
    began. `mend` as in `Incoming`."""

    seq: int
    site: str
    head: Head
    received_ms: int
    body: bytes
    marks: list[Mark]
    mend: bool = False

    def reached(self, epoch: str) -> int:
        """The last number of `epoch` that is in the log up to here."""
        return mark_of(self.marks, epoch).acked_through

    def chain_at(self, number: int) -> bytes:
        """The chain value after `number`, empty where this message does not tell it."""
        if number == self.head.last:
            return self.head.chain
        if self.head.lost or not self.head.first - 1 <= number < self.head.last:
            return b""
        return chain_through(self.head.prev, split(inflate(self.body), self.head.count)[: number - self.head.first + 1])

    def incoming(self) -> Incoming:
        """The batch, as the receiver had it. Raises BatchError where the log gives something else back."""
        headers = {HEAD_FIELD: write_head(self.head), DIGEST_FIELD: digest_field(self.body)}
        head, bodies = open_batch(headers, self.body)
        events = screen(Place(self.site, head.epoch), head.first, bodies)
        return Incoming(
            site=self.site, head=head, events=events, now_ms=self.received_ms, encoded=self.body, mend=self.mend
        )


def subject(site: str) -> str:
    """Tokens of a subject are parted by dots, which a site's id may have; `%` it has not."""
    return f"m.{zlib.crc32(site.encode()) % SHARDS:02x}.{site.replace('.', '%')}"


def site_of(subject: str) -> str:
    """The site that a subject is made of."""
    return subject.rpartition(".")[2].replace("%", ".")


def message_id(incoming: Incoming) -> str:
    """Heartbeats stand at one place, and differ by their time."""
    head = incoming.head
    beat = f":{head.head_time_s}" if head.last < head.first else ""
    return f"{incoming.site}:{head.epoch}:{head.first}:{head.chain.hex()}{beat}"


def mark_of(marks: Sequence[Mark], epoch: str) -> Mark:
    """Of an epoch that is not there: nothing reached."""
    unknown = Mark(epoch, 0, CHAIN_START, 1, CHAIN_START, 0, 0, 0, None, 0, 0)
    return next((mark for mark in marks if mark.epoch == epoch), unknown)


def is_beyond_memory(mark: Mark, head: Head, chains: Mapping[int, bytes]) -> bool:
    """Whether a batch of events ends before what was reached, and the log does not know the chain there any more, nor another
    one before it: `chains` has what it knows of what `placing.asked` says."""
    if head.lost or not head.first <= head.last < mark.acked_through or head.last in chains:
        return False
    return chains.get(head.first - 1, head.prev) == head.prev


def placed(mark: Mark, incoming: Incoming, chains: Mapping[int, bytes]) -> Placement:
    """`chains` as above, and not beyond memory. The value before the batch may be left out where the one at its end, or where
    the platform stands, is known: that one commits to it."""
    head = incoming.head
    known = {head.first - 1: head.prev, **chains}
    if head.lost and head.last < mark.acked_through and head.last not in chains:
        return Conflict(f"events {head.first} to {head.last} were here")
    return place(mark.acked_through, head, [event.body for event in incoming.events], known.__getitem__)


def advance(marks: Sequence[Mark], incoming: Incoming, placement: Append) -> list[Mark]:
    """The site's epochs after the batch."""
    head, old = incoming.head, mark_of(marks, incoming.head.epoch)
    events = incoming.events[placement.skip :]
    refused = sum(bool(event.refused) for event in events)
    new = msgspec.structs.replace(
        old,
        acked_through=max(head.last, old.acked_through),
        chain=head.chain,
        first=head.last + 1 if head.lost else head.first,
        prev=head.chain if head.lost else head.prev,
        seen_ms=incoming.now_ms,
        skew_ms=head.head_time_s * 1000 - incoming.now_ms,
        counted=old.counted + len(events) - refused,
        rejected=old.rejected + refused + bool(head.withheld),
        lost=old.lost + (head.last - old.acked_through if head.lost else 0),
    )
    if any(mark.epoch == head.epoch for mark in marks):
        return [new if mark.epoch == head.epoch else mark for mark in marks]
    began = msgspec.structs.replace(new, began_ms=incoming.now_ms, matches=_matches(marks, head))
    return [*marks, began][-EPOCHS_MAX:]


def _matches(marks: Sequence[Mark], head: Head) -> int | None:
    if not head.after_epoch:
        return None
    return int(any(mark.epoch == head.after_epoch and mark.chain == head.after_chain for mark in marks))


def headers_of(incoming: Incoming, marks: Sequence[Mark]) -> dict[str, str]:
    told = {MEND_FIELD: "1"} if incoming.mend else {}
    return told | {
        SITE_FIELD: incoming.site,
        HEAD_FIELD: write_head(incoming.head),
        DIGEST_FIELD: digest_field(incoming.encoded),
        RECEIVED_FIELD: str(incoming.now_ms),
        STATE_FIELD: base64.b64encode(msgspec.msgpack.encode(marks)).decode(),
    }


def read(seq: int, headers: Mapping[str, str] | None, body: bytes | None) -> Logged:
    """Raises BatchError `bad_message` for a message that is none of ours."""
    try:
        told = headers or {}
        return Logged(
            seq=seq,
            site=told[SITE_FIELD],
            head=parse_head(told[HEAD_FIELD]),
            received_ms=int(told[RECEIVED_FIELD]),
            body=body or b"",
            marks=msgspec.msgpack.decode(base64.b64decode(told[STATE_FIELD]), type=list[Mark]),
            mend=MEND_FIELD in told,
        )
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        raise BatchError("bad_message", f"message {seq} of the log: {error}") from None


def states(marks: Sequence[Mark]) -> list[EpochState]:
    """As the log has it: what is `known` from an earlier epoch is found out when it is booked."""
    return [
        EpochState(
            epoch=mark.epoch,
            acked_through=mark.acked_through,
            chain=mark.chain,
            began_ms=mark.began_ms,
            seen_ms=mark.seen_ms,
            skew_ms=mark.skew_ms,
            continues=continues(number, mark.matches),
            counted=mark.counted,
            known=0,
            rejected=mark.rejected,
            lost=mark.lost,
        )
        for number, mark in enumerate(marks)
    ]
