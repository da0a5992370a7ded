"""The last head that this machine signed and the platform receipted: kept beside its key, outside of the ledger.

    last-head.json     in the folder of the identity

What only the ledger says can be cut off with the ledger. This, and what the platform says itself, is what a shortened ledger
can be held against: how far it reached, where its chain stood there, and that a receipt was given.

Law: it is written after the platform has answered, whole and durable, or not at all: it may be older than the ledger, never
newer.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from uplink.batch import Head
from uplink.durable import read_record
from uplink.identity import write_durably
from uplink.proof import Claim
from uplink.receipts import Receipted

FILE = "last-head.json"


class WitnessUnreadable(Exception):
    """There is a file, and it cannot be read. The message says why."""


class Witness(Struct, frozen=True, kw_only=True):
    """`end`, `end_chain`: the last event of the ledger as the head told it, and the chain there; 0 where there was none.
    `receipt` is of that head."""

    site: str
    epoch: str
    end: int
    end_chain: bytes
    receipt: Receipted

    def claims(self) -> list[Claim]:
        place, receipt = f"the last head, receipted {self.receipt.server_time}", self.receipt
        receipted = Claim(by=place, epoch=self.epoch, sequence=receipt.last, chain=receipt.chain, receipted=True)
        if not self.end:
            return [receipted]
        return [Claim(by=place, epoch=self.epoch, sequence=self.end, chain=self.end_chain), receipted]


def witness(site: str, head: Head, receipt: Receipted) -> Witness:
    return Witness(site=site, epoch=head.epoch, end=head.end, end_chain=head.end_chain, receipt=receipt)


def keep(folder: Path, last: Witness) -> None:
    """Raises OSError."""
    write_durably(folder / FILE, msgspec.json.format(msgspec.json.encode(last), indent=1) + b"\n")


def read(folder: Path) -> Witness | None:
    """Raises WitnessUnreadable."""
    return read_record(folder / FILE, Witness, WitnessUnreadable)
