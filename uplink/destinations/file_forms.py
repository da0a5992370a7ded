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
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
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

FormName = Literal["csv", "jsonl", "parquet"]
OPENED_MAX_BYTES = 256 * 1024 * 1024
"""Of a file of ours that is read again. It was made of 16 MiB of events, and names there may be longer than ours; who can put
other files into the folder must not fill the memory."""


class FormUnreadable(Exception):
    """A file under one of our names does not hold what it should. The message says why."""


def _fits(_: Event) -> str:
    return ""


class Form(Struct, frozen=True):
    """`ids` raises FormUnreadable, also where a file ends in its midst. `unfit`: why an event cannot be said exactly, or
    nothing."""

    suffix: str
    write: Callable[[Sequence[Event]], bytes]
    ids: Callable[[bytes], Collection[str]]
    unfit: Callable[[Event], str] = _fits


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
    if not content.endswith(b"\r\n"):
        raise FormUnreadable("this is no CSV of ours, or ends in its midst")
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
    if not content.endswith(b"\n"):
        raise FormUnreadable("these are no JSON lines of ours, or they end in their midst")
    try:
        return {one.id for one in _identified.decode_lines(content)}
    except msgspec.DecodeError as error:
        raise FormUnreadable(f"these are no JSON lines of ours: {error}") from None


def _gzipped(form: Form) -> Form:
    return Form(
        suffix=f"{form.suffix}.gz",
        write=lambda events: gzip.compress(form.write(events), mtime=0),
        ids=lambda content: form.ids(_gunzipped(content)),
        unfit=form.unfit,
    )


def _gunzipped(content: bytes) -> bytes:
    try:
        with gzip.open(io.BytesIO(content)) as file:
            opened = file.read(OPENED_MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FormUnreadable(f"this is no gzip: {error}") from None
    if len(opened) > OPENED_MAX_BYTES:
        raise FormUnreadable("this is longer than any file of ours")
    return opened


TEXT_FORMS: dict[FormName, Form] = {
    "csv": Form(".csv", _csv, _csv_ids),
    "jsonl": Form(".jsonl", _jsonl, _jsonl_ids),
}


def form_called(name: FormName, compressed: bool) -> Form:
    """Raises ImportError where the library for it is not installed."""
    if name == "parquet":
        from uplink.destinations.parquet import parquet

        return parquet(compressed)
    return _gzipped(TEXT_FORMS[name]) if compressed else TEXT_FORMS[name]


class FileName(NamedTuple):
    """The positions that a file of ours begins and ends with, and its name."""

    first: int
    last: int
    name: str


class Shape:
    """Names and contents of one site's files in one form. Raises ImportError where the library for it is not installed."""

    def __init__(self, site: str, form: FormName, compressed: bool) -> None:
        self._site = re.sub(r"[^0-9A-Za-z-]", "-", site)
        self._form = form_called(form, compressed)
        own, suffix = re.escape(self._site), re.escape(self._form.suffix)
        self._pattern = re.compile(own + r"_[0-9-]{10}_([0-9]{12,})-([0-9]{12,})_[0-9a-f]{16}" + suffix)
        self._aside_pattern = re.compile(r"\." + own + r"(\.[0-9a-f]+)?" + suffix + r"\.part")

    def name(self, events: Sequence[Event]) -> str:
        """`SITE_DAY_FIRST-LAST_IDS.csv`: the day (UTC) of the first event."""
        ids = sha256("\n".join(event.id for event in events).encode()).hexdigest()[:16]
        first, last = events[0], events[-1]
        places = f"{first.position:012d}-{last.position:012d}"
        return f"{self._site}_{instant(first.time_ms)[:10]}_{places}_{ids}{self._form.suffix}"

    def files(self, names: Iterable[str], since: int) -> list[FileName]:
        """Those of `names` that are ours and end at position `since` or later."""
        ours = (FileName(int(m[1]), int(m[2]), name) for name in names if (m := self._pattern.fullmatch(name)))
        return [one for one in ours if one.last >= since]

    def aside(self, mark: str = "") -> str:
        """A name for what is not yet whole: hidden, and of none of the patterns that a reader looks for."""
        return f".{self._site}{f'.{mark}' if mark else ''}{self._form.suffix}.part"

    def is_aside(self, name: str) -> bool:
        return self._aside_pattern.fullmatch(name) is not None

    def content(self, events: Sequence[Event]) -> bytes:
        return self._form.write(events)

    def ids(self, content: bytes) -> Collection[str]:
        """Of the events in a file. Raises FormUnreadable."""
        return self._form.ids(content)

    def unfit(self, event: Event) -> str:
        """Why this form cannot say the event exactly, or nothing."""
        return self._form.unfit(event)
