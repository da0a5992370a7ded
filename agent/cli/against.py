"""What a ledger is held against: an earlier export of its site, or what the platform says that it has."""

from pathlib import Path

import msgspec
from msgspec import Struct

from uplink.export import AnotherFormat, check
from uplink.proof import Claim

_GZIP = b"\x1f\x8b"


class NotComparable(Exception):
    """The file is of another site, of another version, or neither of the two. The message says which."""


class _Receipt(Struct, frozen=True):
    last: int
    chain: bytes


class _Receipts(Struct, frozen=True):
    """The answer of `GET /v1/sites/{site}/receipts`."""

    site: str
    epoch: str
    receipts: list[_Receipt]


def claims_of(path: Path, site: str, trusted: frozenset[str]) -> list[Claim]:
    """`trusted`: as in `Proof`, for an export's receipts. Raises OSError, NotComparable, and Mismatch where an export does not
    prove itself."""
    with path.open("rb") as file:
        is_export = file.read(2) == _GZIP
        file.seek(0)
        if is_export:
            try:
                proved = check(file, trusted).proved
            except AnotherFormat as error:
                raise NotComparable(f"{path}: {error}") from None
            _same(path, proved.site, site)
            return [
                Claim(by=str(path), epoch=span.epoch, sequence=span.last, chain=span.chain) for span in proved.spans
            ]
        told = _receipts(path, file.read())
    _same(path, told.site, site)
    return [Claim(by=str(path), epoch=told.epoch, sequence=each.last, chain=each.chain) for each in told.receipts]


def _receipts(path: Path, content: bytes) -> _Receipts:
    try:
        return msgspec.json.decode(content, type=_Receipts)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise NotComparable(f"{path}: neither an export nor receipts of a platform: {error}") from None


def _same(path: Path, found: str, site: str) -> None:
    if found != site:
        raise NotComparable(f"{path} is of site {found}, not of {site}")
