"""Does a history prove itself? Pure: the parts of a history in their order -> what was proved, or the first mismatch.

Laws
- A history is, for each epoch in its order, a `Span`, and then its events as the bytes that were stored; what else states a
  chain value stands behind the event that it is about. A ledger and an export give the same parts, which are checked by
  the same code.
- Everything is worked out anew from the bytes of the events: number, chain, sums. What a part states is only compared.
- The first thing that does not fit ends it (`Mismatch`): behind it nothing means anything.
- Memory does not grow with the events.

The limit: whoever can change all that states a chain value can make up a history of his own. What he cannot make is the
platform's receipts.
"""

from collections.abc import Sequence
from decimal import Context, Decimal

import msgspec
from msgspec import Struct

from uplink.enrolment import PlatformKey
from uplink.events import CHAIN_START, QUANTITY, EventHead, chain_next, decode_head
from uplink.keys import key_id
from uplink.receipts import Receipted, holds
from uplink.succession import trusted_with

_exact = Context(prec=64)
"""18 digits before the point and 12 behind it, summed up over 10^30 events."""


class Mismatch(Exception):
    """What does not fit. `epoch` and `sequence` say where, or are empty and 0 where it is no event; `site` where there are
    many, `column` where it is one of a stored row."""

    def __init__(
        self,
        what: str,
        expected: object,
        found: object,
        epoch: str = "",
        sequence: int = 0,
        site: str = "",
        column: str = "",
    ) -> None:
        self.what, self.epoch, self.sequence, self.site, self.column = what, epoch, sequence, site, column
        self.expected, self.found = _shown(expected), _shown(found)
        of_site = f"site {site}, " if site else ""
        place = f"{of_site}epoch {epoch}, event {sequence}: " if epoch else ""
        super().__init__(f"{place}{what}: expected {self.expected}, found {self.found}")

    def told(self) -> dict[str, str | int]:
        """For programs."""
        return {
            "site": self.site,
            "epoch": self.epoch,
            "sequence": self.sequence,
            "what": self.what,
            "column": self.column,
            "expected": self.expected,
            "found": self.found,
        }


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)[:200]


class Span(Struct, frozen=True, kw_only=True):
    """The events that follow: `first` to `last` (`first` - 1: none) of `epoch`, and the chain before and after them.
    `after_epoch`, `after_chain`: the epoch before and its last chain value, as this epoch's heads tell them. A span that
    follows another one is the next epoch from its first event on."""

    epoch: str
    first: int
    last: int
    prev: bytes
    chain: bytes
    after_epoch: str = ""
    after_chain: bytes = b""


class Claim(Struct, frozen=True, kw_only=True):
    """What is known from elsewhere (`by`): event `sequence` of `epoch` was there, and the chain stood at `chain` behind it (0:
    before the first one). `receipted`: there was a receipt for it."""

    by: str
    epoch: str
    sequence: int
    chain: bytes
    receipted: bool = False


class Sum(Struct, frozen=True, kw_only=True):
    meter: str
    unit: str
    events: int
    quantity: str


class Proved(Struct, frozen=True, kw_only=True):
    """What fits together. `spans` as they were stated. So many `receipts` hold, made by `keys`; `receipted` is the last event
    of the last span that has one, or 0. `against`: from where else it is known."""

    site: str
    events: int
    spans: list[Span]
    sums: list[Sum]
    receipts: int = 0
    receipted: int = 0
    keys: list[str] = []
    against: list[str] = []


class Proof:
    """Give it the parts in their order, then ask for the `result`. Each call raises Mismatch. `trusted`: ids of the keys that
    the platform's receipts are made by; any key where none is named."""

    def __init__(self, site: str, trusted: frozenset[str] = frozenset()) -> None:
        self.site = site
        self._trusted = trusted
        self._receipts = 0
        self._receipted: int | None = None
        self._keys: set[str] = set()
        self._place = f":site:{site}"
        self._spans: list[Span] = []
        self._events = 0
        self._sums: dict[tuple[str, str], tuple[int, Decimal]] = {}
        self._sequence = 0
        self._chain = CHAIN_START

    def keys(self, told: Sequence[PlatformKey]) -> None:
        """The platform's keys, with the statements by which one follows another: what a trusted one introduces is trusted."""
        self._trusted = trusted_with(self._trusted, told)

    def span(self, span: Span) -> None:
        if self._spans:
            self._end_span()
            self._follows(span)
        if span.first == 1 and span.prev != CHAIN_START:
            raise Mismatch("the chain before the first event", CHAIN_START, span.prev, span.epoch, 1)
        self._spans.append(span)
        self._sequence, self._chain = span.first - 1, span.prev
        self._receipted = None

    def event(self, body: bytes) -> EventHead:
        """The next event of the span."""
        if not self._spans:
            raise Mismatch("the first part", "an epoch", "an event")
        epoch = self._spans[-1].epoch
        self._sequence += 1
        self._chain = chain_next(self._chain, body)
        try:
            head = decode_head(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise self.mismatch("the event", "what was stored", error) from None
        if head.sequence != str(self._sequence) or head.epoch != epoch:
            raise self.mismatch(
                "the event's place", f"{epoch}/{self._sequence}", f"{head.epoch[:64]}/{head.sequence[:32]}"
            )
        if not head.source.endswith(self._place):
            raise self.mismatch("the event's source", f"urn:...{self._place}", head.source)
        self._add(head)
        self._events += 1
        return head

    def chain(self, sequence: int, chain: bytes, by: str) -> None:
        """`by` (`the ledger`, `the export`) says that the chain stands there after event `sequence`, which is where we are."""
        if sequence != self._sequence:
            raise self.mismatch(f"the place of {by}", self._sequence, sequence)
        if chain != self._chain:
            raise self.mismatch(f"the chain of {by}", self._chain, chain)

    def receipt(self, receipt: Receipted) -> None:
        """Of the batch or heartbeat that ended where we are. After the first receipt of a span no event is without one."""
        self.chain(receipt.last, receipt.chain, "the receipt")
        if key_id(receipt.public) != receipt.key:
            raise self.mismatch("the key of the receipt", receipt.key, key_id(receipt.public))
        if self._trusted and receipt.key not in self._trusted:
            raise self.mismatch("the key of the receipt", " or ".join(sorted(self._trusted)), receipt.key)
        if not holds(self.site, self._spans[-1].epoch, receipt):
            raise self.mismatch("the signature of the receipt", f"one by {receipt.key}", receipt.signature)
        if self._receipted is not None and receipt.first > self._receipted + 1:
            raise self.mismatch(
                "the receipt", f"one for event {self._receipted + 1}", f"the next, from {receipt.first} on"
            )
        self._receipts += 1
        self._receipted = receipt.last
        self._keys.add(receipt.key)

    def result(self) -> Proved:
        if self._spans:
            self._end_span()
        return Proved(
            site=self.site,
            events=self._events,
            spans=self._spans,
            sums=self._summed(),
            receipts=self._receipts,
            receipted=self._receipted or 0,
            keys=sorted(self._keys),
        )

    def mismatch(self, what: str, expected: object, found: object) -> Mismatch:
        """One at the event where we are."""
        return Mismatch(what, expected, found, self._spans[-1].epoch if self._spans else "", self._sequence)

    def _summed(self) -> list[Sum]:
        return [
            Sum(meter=meter, unit=unit, events=events, quantity=f"{quantity:f}")
            for (meter, unit), (events, quantity) in sorted(self._sums.items())
        ]

    def _add(self, head: EventHead) -> None:
        key = (head.type, str(head.data.get("unit", "")))
        events, quantity = self._sums.get(key, (0, Decimal(0)))
        told = str(head.data.get("quantity"))
        if not QUANTITY.match(told):
            raise self.mismatch("the quantity", "an exact decimal", told)
        self._sums[key] = events + 1, _exact.add(quantity, Decimal(told))

    def _end_span(self) -> None:
        span = self._spans[-1]
        if self._sequence != span.last:
            raise self.mismatch("the last event of the epoch", span.last, self._sequence)
        if self._chain != span.chain:
            raise self.mismatch("the chain after the last event", self._chain, span.chain)

    def _follows(self, span: Span) -> None:
        before = self._spans[-1]
        for what, expected, found in (
            ("the epoch before", before.epoch, span.after_epoch),
            ("the last chain of the epoch before", before.chain, span.after_chain),
            ("the first event of the epoch", 1, span.first),
        ):
            if expected != found:
                raise Mismatch(what, expected, found, span.epoch, span.first)
