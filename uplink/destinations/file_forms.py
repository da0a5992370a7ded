"""What files of events look like, whoever carries them: their names, and how a form is written and read again.

Laws
- A name is made of what is in the file (site, day, first and last position, the ids), so the same events make the same name.
- Quantities are the exact decimals as they are stored.
- In CSV no cell of text begins as a spreadsheet's formula does (OWASP, "CSV Injection"): such a one gets a `'` in front.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from hashlib import sha256
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from uplink.events import instant
from uplink.taker import Event, form, quantity_of

COLUMNS = ("id", "time", "source", "subject", "meter", "quantity", "unit", "corrects", "class", "country", "data")
"""`data`: all other attributes of the meter, as a JSON object."""
_OWN_COLUMN = ("quantity", "unit", "corrects", "class", "country")
FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r", "\n")

FormName = Literal["csv", "jsonl"]


class FormUnreadable(Exception):
    """A file under one of our names does not hold what it should. The message says why."""


class Form(Struct, frozen=True):
    """`ids` raises FormUnreadable."""

    write: Callable[[Sequence[Event]], bytes]
    ids: Callable[[bytes], Collection[str]]


def _csv(events: Sequence[Event]) -> bytes:
    """RFC 4180, with a header, in UTF-8."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(COLUMNS)
    rows.writerows(_cells(event) for event in events)
    return text.getvalue().encode()


def _cells(event: Event) -> Iterator[str]:
    data = event.data
    for value in (event.id, event.time, event.source, event.subject, event.type):
        yield harmless(value)
    quantity = str(data.get("quantity", ""))
    yield quantity if quantity_of(event) is not None else harmless(quantity)
    for key in _OWN_COLUMN[1:]:
        yield harmless(str(data.get(key, "")))
    yield msgspec.json.encode({key: value for key, value in data.items() if key not in _OWN_COLUMN}).decode()


def harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_BEGINS) else text


def _csv_ids(content: bytes) -> Collection[str]:
    try:
        return {row["id"].removeprefix("'") for row in csv.DictReader(io.StringIO(content.decode(), newline=""))}
    except (UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        raise FormUnreadable(f"this is no CSV of ours: {error}") from None


def _jsonl(events: Sequence[Event]) -> bytes:
    return b"".join(form(event) + b"\n" for event in events)


class _Identified(Struct):
    id: str


_identified = msgspec.json.Decoder(_Identified)


def _jsonl_ids(content: bytes) -> Collection[str]:
    try:
        return {one.id for one in _identified.decode_lines(content)}
    except msgspec.DecodeError as error:
        raise FormUnreadable(f"these are no JSON lines of ours: {error}") from None


FORMS: dict[FormName, Form] = {"csv": Form(_csv, _csv_ids), "jsonl": Form(_jsonl, _jsonl_ids)}


class FileName(NamedTuple):
    """The positions that a file of ours begins and ends with, and its name."""

    first: int
    last: int
    name: str


class Shape:
    """Names and contents of one site's files in one form."""

    def __init__(self, site: str, form: FormName, compressed: bool) -> None:
        self._site = re.sub(r"[^0-9A-Za-z-]", "-", site)
        self._form = FORMS[form]
        self._compressed = compressed
        self._suffix = f".{form}.gz" if compressed else f".{form}"
        self._pattern = re.compile(
            re.escape(self._site) + r"_[0-9-]{10}_([0-9]{12,})-([0-9]{12,})_[0-9a-f]{16}" + re.escape(self._suffix)
        )
        self.aside = f".{self._site}{self._suffix}.part"
        """What is not yet whole; one is enough, since one request is made at a time."""

    def name(self, events: Sequence[Event]) -> str:
        """`SITE_DAY_FIRST-LAST_IDS.csv`: the day (UTC) of the first event."""
        ids = sha256("\n".join(event.id for event in events).encode()).hexdigest()[:16]
        first, last = events[0], events[-1]
        return (
            f"{self._site}_{instant(first.time_ms)[:10]}_{first.position:012d}-{last.position:012d}_{ids}{self._suffix}"
        )

    def about(self, names: Sequence[str], events: Sequence[Event]) -> list[str]:
        """Those of `names` that may hold some of these events."""
        ours = (FileName(int(m[1]), int(m[2]), name) for name in names if (m := self._pattern.fullmatch(name)))
        return [one.name for one in ours if one.first <= events[-1].position and events[0].position <= one.last]

    def content(self, events: Sequence[Event]) -> bytes:
        written = self._form.write(events)
        return gzip.compress(written, mtime=0) if self._compressed else written

    def ids(self, content: bytes) -> Collection[str]:
        """Of the events in a file. Raises FormUnreadable."""
        try:
            return self._form.ids(gzip.decompress(content) if self._compressed else content)
        except (OSError, EOFError, zlib.error) as error:
            raise FormUnreadable(f"this is no gzip: {error}") from None
